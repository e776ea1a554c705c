"""Multi-way mapping model: label formats into one emotion space, and out of it.

    ratings in format s [d_s] -> label encoder: linear, LeakyReLU, linear -> emotion embedding e_s [dim]
    e_s -> label decoder of format t: e_s W_t, without bias -> logits of t's variables [d_t]

Buechel, Modersohn & Hahn 2023, "Emotion Embeddings", arXiv:2308.07871 (seeds/002), sections 3.1 and 3.2, after Buechel,
Modersohn & Hahn 2021 (EMNLP), "Towards Label-Agnostic Emotion Embeddings". The authors' code has two hidden layers of
128 values with dropout 0.2; one is the default here. A format is read as a modality with one frame of ratings in 0..1,
or of -1 where an item has none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from raysys.batches.padded import Layout, Padded
from raysys.models.output import ModelOutput, ModelSettings, check_sizes


@dataclass(frozen=True)
class MultiwayConfig(ModelSettings):
    """Sizes of the multi-way mapping model."""

    reads_dialogues: ClassVar = False
    reads: ClassVar = ("label formats",)
    reads_formats: ClassVar = True
    dim: int = 100
    """Width of the emotion space."""
    hidden: int = 128
    """Width of the label encoders' hidden layers."""
    hidden_layers: Literal[1, 2] = 1
    """Hidden layers of a label encoder; 2 in the authors' code."""
    dropout: float = 0.2
    """Share of hidden values dropped in training."""

    def __post_init__(self) -> None:
        check_sizes("multiway", self, counts=("dim", "hidden"))

    def build(
        self, modalities: Sequence[str], *, dims: Mapping[str, int], n_outputs: int
    ) -> "Multiway":
        """The untrained network; see `ModelSettings`."""
        return Multiway(self, modalities, dims=dims, n_outputs=n_outputs)


class Multiway(nn.Module):
    """Label encoders and decoders; the modalities are the formats.

    Its logits are those of every format's variables, decoded from the first format's embedding, then from the next
    one's: [batch, formats * variables]. Those of a format that an item is not rated in mean nothing.
    """

    def __init__(
        self,
        sizes: MultiwayConfig,
        modalities: Sequence[str],
        *,
        dims: Mapping[str, int],
        n_outputs: int,
    ) -> None:
        super().__init__()
        assert n_outputs == len(modalities) * sum(dims[m] for m in modalities)
        self.encoders = nn.ModuleDict({m: _LabelEncoder(dims[m], sizes) for m in modalities})
        self.decoders = nn.ModuleDict(
            {m: nn.Linear(sizes.dim, dims[m], bias=False) for m in modalities}
        )

    def forward(self, modalities: Mapping[str, Padded], layout: Layout | None) -> ModelOutput:
        """Logits, embedding (mean over the formats that an item is rated in) and the formats' own embeddings."""
        known, vectors = {}, {}
        for name, encoder in self.encoders.items():
            ratings = modalities[name].values[:, 0]
            known[name] = (ratings >= 0).all(dim=1)
            vectors[name] = encoder(ratings)
        logits = [
            decoder(vectors[source])
            for source in self.encoders
            for decoder in self.decoders.values()
        ]
        embedding = _mean(list(vectors.values()), list(known.values()))
        weights: dict[str, Any] = {name: one.weight for name, one in self.decoders.items()}
        return ModelOutput(torch.cat(logits, dim=1), embedding, vectors, weights=weights)


class _LabelEncoder(nn.Module):
    """Ratings in 0..1, spread to -2..2, into the space."""

    def __init__(self, variables: int, sizes: MultiwayConfig) -> None:
        super().__init__()
        self.widen = nn.Linear(variables, sizes.hidden)
        self.deepen = nn.ModuleList(
            nn.Linear(sizes.hidden, sizes.hidden) for _ in range(sizes.hidden_layers - 1)
        )
        self.dropout = nn.Dropout(sizes.dropout)
        self.narrow = nn.Linear(sizes.hidden, sizes.dim)

    def forward(self, ratings: Float[Tensor, "batch variable"]) -> Float[Tensor, "batch dim"]:
        """An emotion embedding an item."""
        hidden = nn.functional.leaky_relu(self.widen(4 * ratings - 2))
        for layer in self.deepen:
            hidden = nn.functional.leaky_relu(layer(self.dropout(hidden)))
        embedding: Tensor = self.narrow(self.dropout(hidden))
        return embedding


def _mean(
    vectors: Sequence[Float[Tensor, "batch dim"]], known: Sequence[Bool[Tensor, " batch"]]
) -> Float[Tensor, "batch dim"]:
    """Over those that are known; of items without any, zeros."""
    weights = torch.stack(list(known)).float()
    total = torch.einsum("fb,fbd->bd", weights, torch.stack(list(vectors)))
    return total / weights.sum(dim=0).clamp(min=1)[:, None]
