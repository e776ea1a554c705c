"""MCSAN: in each modality cross-attention and self-attention side by side, joined by a gate.

    states [time, d_m] -> linear -> [time, dim]                          each modality m
    inter = cross-attention blocks, m queries the other                  what lies between the modalities
    intra = self-attention blocks over m                                 what lies in the modality
    g = sigmoid(W [inter; intra] + b),  g * inter + (1 - g) * intra -> attention pooling -> v_m [dim]
    concat of v_m -> ReLU(linear) = embedding [dim] -> linear -> logits

Sun, Liu, Tao & Lian 2021, "Multimodal Cross- and Self-Attention Network for Speech Emotion Recognition", ICASSP,
4275-4279. We had its abstract: two modalities, parallel cross- and self-attention modules that guide a modality by the
other and spread information within it. Chosen here: sizes, the gate that joins both (as wide as the states), and the
pooling. The abstract says nothing of a modality alone: it keeps its self-attention.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from raysys.batches.padded import Layout, Padded
from raysys.models.layers import AttentionBlock, AttentionPool, real_frames
from raysys.models.output import ModelOutput, ModelSettings, check_sizes


@dataclass(frozen=True)
class McsanConfig(ModelSettings):
    """Sizes of MCSAN."""

    reads_dialogues: ClassVar = False
    reads: ClassVar = ("audio", "text")
    dim: int = 128
    """Width of the states and of the embedding."""
    heads: int = 4
    """Attention heads of a block; must divide dim."""
    feedforward: int = 512
    """Width of the feed-forward layers."""
    layers: int = 1
    """Blocks of cross-attention, and of self-attention, in each modality."""
    dropout: float = 0.1
    """Share of values dropped in training."""

    def __post_init__(self) -> None:
        check_sizes("mcsan", self, counts=("dim", "heads", "feedforward", "layers"), width="dim")

    def attends(self, modalities: Sequence[str]) -> bool:
        """Whether there are several modalities, which are fused by cross-attention."""
        return len(modalities) > 1

    def build(
        self, modalities: Sequence[str], *, dims: Mapping[str, int], n_outputs: int
    ) -> "Mcsan":
        """The untrained network; see `ModelSettings`."""
        return Mcsan(self, modalities, dims=dims, n_outputs=n_outputs)


class Mcsan(nn.Module):
    """The whole network."""

    def __init__(
        self,
        sizes: McsanConfig,
        modalities: Sequence[str],
        *,
        dims: Mapping[str, int],
        n_outputs: int,
    ) -> None:
        super().__init__()
        self.other = dict(zip(modalities, reversed(modalities), strict=True))
        self.project = nn.ModuleDict({m: nn.Linear(dims[m], sizes.dim) for m in modalities})
        self.dropout = nn.Dropout(sizes.dropout)
        alone = len(modalities) == 1
        self.streams = nn.ModuleDict({m: _Stream(sizes, alone=alone) for m in modalities})
        self.fuse = nn.Linear(sizes.dim * len(modalities), sizes.dim)
        self.classify = nn.Linear(sizes.dim, n_outputs)

    def forward(self, modalities: Mapping[str, Padded], layout: Layout | None) -> ModelOutput:
        """Logits, embedding and modality vectors of a batch; each utterance by itself, whatever the layout."""
        given = {
            m: Padded.like(modalities[m], self.dropout(project(modalities[m].values)))
            for m, project in self.project.items()
        }
        vectors = {m: stream(given[m], given[self.other[m]]) for m, stream in self.streams.items()}
        joined = self.dropout(torch.cat(list(vectors.values()), dim=1))
        embedding = torch.relu(self.fuse(joined))
        return ModelOutput(self.classify(self.dropout(embedding)), embedding, vectors)

    def attentions(self) -> Mapping[tuple[str, str], Sequence[nn.MultiheadAttention]]:
        """(querying modality, queried modality) -> the attention between them, block by block."""
        return {
            (m, self.other[m]): stream.across
            for m, stream in self.streams.items()
            if isinstance(stream, _Stream) and stream.across
        }


class _Stream(nn.Module):
    """One modality, read with the other."""

    def __init__(self, sizes: McsanConfig, *, alone: bool) -> None:
        super().__init__()
        self.inter, self.intra = (
            nn.ModuleList(
                AttentionBlock(
                    sizes.dim, sizes.heads, feedforward=sizes.feedforward, dropout=sizes.dropout
                )
                for _ in range(count)
            )
            for count in (0 if alone else sizes.layers, sizes.layers)
        )
        self.gate = None if alone else nn.Linear(2 * sizes.dim, sizes.dim)
        self.pool = AttentionPool(sizes.dim, sizes.dim)

    @property
    def across(self) -> list[nn.MultiheadAttention]:
        """The attention to the other modality, block by block."""
        return [block.attention for block in self.inter if isinstance(block, AttentionBlock)]

    def forward(self, own: Padded, other: Padded) -> Float[Tensor, "batch dim"]:
        """Its vector."""
        inter, intra = own.values, own.values
        for block in self.inter:
            inter = block(inter, other.values, other.mask)
        for block in self.intra:
            intra = block(intra, intra, own.mask)
        if self.gate is not None:
            share = torch.sigmoid(self.gate(torch.cat([inter, intra], dim=-1)))
            intra = share * inter + (1 - share) * intra
        vector: Tensor = self.pool(real_frames(intra, own.mask, own.total), own.mask)
        return vector
