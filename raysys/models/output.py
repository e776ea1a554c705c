"""What every model returns, and how one is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from raysys.config import ModelConfig


@dataclass(frozen=True)
class ModelOutput:
    """A forward pass over a batch."""

    logits: Float[Tensor, "batch class"]
    """Before the softmax."""
    embedding: Float[Tensor, "batch dim"]
    """The vector before the last linear layer: what class representatives are means of."""
    vectors: Mapping[str, Float[Tensor, "batch _"]]
    """Modality -> its vector: before fusion, or fused with the others where the model does that first."""
    contrast: Float[Tensor, "batch _"] | None = None
    """What SWFC sees; None is the embedding."""


@runtime_checkable
class ModelBuilder(Protocol):
    """Makes an untrained model whose forward takes `Batch.modalities`, `Batch.layout` and returns a `ModelOutput`."""

    @property
    def reads_dialogues(self) -> bool:
        """Whether its batches must be whole dialogues, with their layout."""
        ...

    def __call__(
        self, config: ModelConfig, *, dims: Mapping[str, int], n_classes: int
    ) -> nn.Module:
        """Build it.

        Args:
            config: sizes.
            dims: modality -> width of its frames.
            n_classes: number of emotions.
        """
        ...
