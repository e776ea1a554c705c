"""What a loss is to the objective: a weighted term beside the main one.

Its settings are a class in its own module and a base of `raysys.losses.LossConfig`, so their names stay short
(`loss.mu1`, `loss.tau`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from jaxtyping import Float
from torch import Tensor

from raysys.batches.batch import Batch
from raysys.models.output import ModelOutput

Mode = Literal["official", "paper"]
Term = Callable[[ModelOutput, Batch], Float[Tensor, ""]]
"""From a model's output and a batch to a scalar."""


class TermConfig(Protocol):
    """Settings of a term, which make it."""

    weight: ClassVar[str]
    """Which of them is its weight in the objective; 0 leaves the term out."""

    def term(self, class_counts: Float[Tensor, " class"]) -> Term:
        """The loss.

        Args:
            class_counts: utterances of every class (or stratum) in the train part.
        """
        ...


@dataclass(frozen=True)
class ModeConfig:
    """Shared by the losses of MultiEMO (Shi & Huang 2023)."""

    mode: Mode = "official"
    """SWFC and Soft-HGR as in the authors' code (official) or as in their equations (paper)."""
