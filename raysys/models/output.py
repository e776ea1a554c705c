"""What every model returns, and how one is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from raysys.settings import require


@dataclass(frozen=True)
class ModelOutput:
    """A forward pass over a batch."""

    logits: Float[Tensor, "batch output"]
    """What the head says, as the task reads it: before a softmax, or standardised values."""
    embedding: Float[Tensor, "batch dim"]
    """The vector before the last linear layer: what class representatives are means of."""
    vectors: Mapping[str, Float[Tensor, "batch _"]]
    """Modality -> its vector: before fusion, or fused with the others where the model does that first."""
    contrast: Float[Tensor, "batch _"] | None = None
    """What SWFC sees; None is the embedding."""
    weights: Mapping[str, Float[Tensor, "variable dim"]] | None = None
    """Label format -> weight vectors of its decoder, of a model that has such."""


@dataclass(frozen=True)
class ModelSettings:
    """Settings of a model, which make it; a base without fields, since the command line takes plain dataclasses."""

    reads_dialogues: ClassVar[bool] = False
    """Whether its batches must be whole dialogues, with their layout."""
    reads: ClassVar[tuple[str, ...]] = ("audio", "text", "video", "image")
    """Modalities that it can read."""
    reads_formats: ClassVar[bool] = False
    """Whether it reads ratings in label formats instead: the corpus' tables are then its modalities."""
    fits_at_once: ClassVar[bool] = False
    """Whether it is fitted to classes in one epoch, by its own objective; its model is then `Fitted`."""

    def check_layers(self, modality: str, count: int) -> None:
        """Refuse another number of an encoder's layers side by side than the model weighs.

        Args:
            modality: that it reads.
            count: layers side by side in its frames.

        Raises:
            ConfigError: it weighs another number.
        """

    def attends(self, modalities: Sequence[str]) -> bool:
        """Whether places of one modality attend to those of another; its model then has `attentions`."""
        return False

    def why_apart(self, modalities: Sequence[str]) -> str:
        """Why nothing would be gained by training folds together (`raysys.together`); empty where something is.

        Args:
            modalities: that it reads.
        """
        return (
            "its layers are few launches each, and what PyTorch loops over or draws inside its kernels (an LSTM, "
            "attention's dropout) is done for one model at a time (--cluster.gpus_per_fold auto, or a fraction, puts "
            "folds in several processes on a GPU)"
        )

    def build(
        self, modalities: Sequence[str], *, dims: Mapping[str, int], n_outputs: int
    ) -> nn.Module:
        """An untrained model whose forward takes `Batch.modalities` and `Batch.layout` and returns a `ModelOutput`.

        Args:
            modalities: that it reads.
            dims: modality -> width of its frames.
            n_outputs: width of the head.
        """
        raise TypeError(f"{type(self).__name__} does not say how it is built")


def check_sizes(
    name: str,
    settings: Any,
    *,
    counts: Sequence[str],
    width: str = "",
    shares: Sequence[str] = ("dropout",),
) -> None:
    """The rules that hold for the sizes of every model.

    Args:
        name: of the model.
        settings: of it.
        counts: settings that are at least 1.
        width: the setting that `heads` must divide; empty where there is none.
        shares: settings in [0, 1).

    Raises:
        ConfigError: one does not hold.
    """
    for count in counts:
        value = getattr(settings, count)
        require(value >= 1, f"model.{name}.{count}", value, ">= 1")
    for share in shares:
        value = getattr(settings, share)
        require(0 <= value < 1, f"model.{name}.{share}", value, "in [0, 1)")
    if width:
        dim, heads = getattr(settings, width), settings.heads
        rule = f"a divisor of model.{name}.{width} ({dim})"
        require(dim % heads == 0, f"model.{name}.heads", heads, rule)
