"""What a loss is to the objective: a weighted term added to the main one.

Its settings are a class in its own module and a base of `raysys.losses.LossConfig`, so their names stay short
(`loss.mu1`, `loss.tau`). Such a class has `check()`; that of a weighted term also `weight`, the name of its weight (0
leaves the term out), and `term(class_counts)`, which makes the loss from the counts of the train part's classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from raysys.batches.batch import Batch
from raysys.models.output import ModelOutput

Mode = Literal["official", "paper"]
Term = Callable[[ModelOutput, Batch], Float[Tensor, ""]]
"""From a model's output and a batch to a scalar."""


@dataclass(frozen=True)
class ModeConfig:
    """Shared by the losses of MultiEMO (Shi & Huang 2023)."""

    mode: Mode = "official"
    """SWFC and Soft-HGR as in the authors' code (official) or as in their equations (paper)."""
