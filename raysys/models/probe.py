"""Probe: what a frozen encoder knows, by a linear layer on it.

    frames [time, layers x dim] -> softmax-weighted sum over layers [time, dim] -> mean, deviation over time [2 dim]
    all modalities side by side = embedding -> linear -> logits

Yang et al. 2021, "SUPERB: Speech processing Universal PERformance Benchmark", arXiv:2105.01051, whose emotion task
pools means alone; deviations over time are those of x-vectors (Snyder et al. 2018).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from raysys.batches.padded import Layout, Padded
from raysys.errors import ConfigError
from raysys.models.output import ModelOutput, ModelSettings, check_sizes
from raysys.settings import require

_WEIGHED = ("audio", "text")
_LEAST = 1e-5
"""Added to a variance, whose root has no slope at 0."""


@dataclass(frozen=True)
class ProbeConfig(ModelSettings):
    """A linear layer on learnt weights over an encoder's layers."""

    reads_dialogues: ClassVar = False
    audio_layers: int = 1
    """Layers that stand side by side in the audio features: how many features.audio_transformers.layers names."""
    text_layers: int = 1
    """Layers that stand side by side in the text features: how many features.transformers.layers names."""
    dropout: float = 0.0
    """Share of pooled values dropped in training."""

    def __post_init__(self) -> None:
        check_sizes("probe", self, counts=("audio_layers", "text_layers"))

    def layers_of(self, modality: str) -> int:
        """Layers side by side in a modality's frames."""
        return {"audio": self.audio_layers, "text": self.text_layers}.get(modality, 1)

    def check_layers(self, modality: str, count: int) -> None:
        """As many as it weighs; see `ModelSettings`."""
        if modality in _WEIGHED:
            given = self.layers_of(modality)
            rule = f"{count}, the layers that its encoder gives"
            require(given == count, f"model.probe.{modality}_layers", given, rule)

    def build(
        self, modalities: Sequence[str], *, dims: Mapping[str, int], n_outputs: int
    ) -> "Probe":
        """The untrained network; see `ModelSettings`.

        Raises:
            ConfigError: frames cannot be so many layers side by side.
        """
        for modality in modalities:
            count, dim = self.layers_of(modality), dims[modality]
            if dim % count:
                raise ConfigError(
                    f"model.probe.{modality}_layers is {count}, but {modality} features are {dim} wide: set it to the "
                    "number of layers that the encoder's `layers` names"
                )
        return Probe(self, modalities, dims=dims, n_outputs=n_outputs)


class Probe(nn.Module):
    """See the module."""

    def __init__(
        self,
        sizes: ProbeConfig,
        modalities: Sequence[str],
        *,
        dims: Mapping[str, int],
        n_outputs: int,
    ) -> None:
        super().__init__()
        self.layers = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(sizes.layers_of(m))) for m in modalities}
        )
        width = sum(2 * dims[m] // sizes.layers_of(m) for m in modalities)
        self.dropout = nn.Dropout(sizes.dropout)
        self.classify = nn.Linear(width, n_outputs)

    def forward(self, modalities: Mapping[str, Padded], layout: Layout | None) -> ModelOutput:
        """Logits, embedding and modality vectors of a batch."""
        vectors = {
            m: _pool(_mix(modalities[m].values, weights), modalities[m].mask)
            for m, weights in self.layers.items()
        }
        embedding = torch.cat(list(vectors.values()), dim=1)
        return ModelOutput(self.classify(self.dropout(embedding)), embedding, vectors)


def _mix(
    values: Float[Tensor, "batch time wide"], weights: Float[Tensor, " layer"]
) -> Float[Tensor, "batch time dim"]:
    apart = values.unflatten(2, (len(weights), -1))
    mixed: Tensor = (apart * weights.softmax(dim=0)[:, None]).sum(dim=2)
    return mixed


def _pool(
    values: Float[Tensor, "batch time dim"], mask: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch statistic"]:
    """Mean and deviation over real frames."""
    there = mask[:, :, None].to(values.dtype)
    counts = there.sum(dim=1)
    mean = (values * there).sum(dim=1) / counts
    variance = ((values - mean[:, None]) ** 2 * there).sum(dim=1) / counts
    return torch.cat([mean, (variance + _LEAST).sqrt()], dim=1)
