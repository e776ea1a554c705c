"""Bimodal attention: text and audio states query each other, and self-attention reads what both have found.

    states [time, d_m] -> linear -> [time, dim]                      each modality
    text queries audio, audio queries text                           multi-head cross-attention
    both in one sequence -> self-attention layers -> pooling = embedding [dim] -> linear -> logits

Elabd & Jaf 2024, "A Simple Attention-Based Mechanism for Bimodal Emotion Classification", arXiv:2407.00134, on states
of BERT and of the Audio Spectrogram Transformer.

Chosen here, since the summary that we have does not say it: residual connections and norms around each attention, as in
a transformer; one block of cross-attention; a learnt softmax over the sequence as pooling. Positions are not added
again: pretrained states carry their own. The paper has two modalities; with three, each queries the others in turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from raysys.batches.padded import Layout, Padded
from raysys.models.layers import AttentionBlock, AttentionPool, masked_mean, real_frames
from raysys.models.output import ModelOutput, ModelSettings, check_sizes
from raysys.settings import require

Fusion = Literal["cross_attention", "sequence", "concatenation", "average", "gate"]
_IN_ONE_SEQUENCE = ("cross_attention", "sequence")


@dataclass(frozen=True)
class BimodalAttentionConfig(ModelSettings):
    """Sizes of BimodalAttention, and what stands in for its parts."""

    reads_dialogues: ClassVar = False
    dim: int = 256
    """Width to which the states are projected, and of the embedding."""
    heads: int = 8
    """Attention heads of a layer; must divide dim."""
    feedforward: int = 1024
    """Width of the feed-forward layers."""
    layers: int = 2
    """Self-attention layers; 0 for none."""
    fusion: Fusion = "cross_attention"
    """cross_attention; sequence: the modalities only stand in one sequence; concatenation, average (learnt weights) or
    gate (Arevalo et al. 2017, arXiv:1702.01992, Eq. 1): each is pooled for itself, and its vectors are joined so."""
    dropout: float = 0.1
    """Share of values dropped in training."""

    def __post_init__(self) -> None:
        check_sizes("bimodal_attention", self, counts=("dim", "heads", "feedforward"), width="dim")
        require(self.layers >= 0, "model.bimodal_attention.layers", self.layers, "0 or more")

    def attends(self, modalities: Sequence[str]) -> bool:
        """Whether modalities are fused by cross-attention."""
        return len(modalities) > 1 and self.fusion == "cross_attention"

    def build(
        self, modalities: Sequence[str], *, dims: Mapping[str, int], n_outputs: int
    ) -> "BimodalAttention":
        """The untrained network; see `ModelSettings`."""
        return BimodalAttention(self, modalities, dims=dims, n_outputs=n_outputs)


class BimodalAttention(nn.Module):
    """The whole network; a modality alone keeps the self-attention."""

    def __init__(
        self,
        sizes: BimodalAttentionConfig,
        modalities: Sequence[str],
        *,
        dims: Mapping[str, int],
        n_outputs: int,
    ) -> None:
        super().__init__()
        self.project = nn.ModuleDict({m: nn.Linear(dims[m], sizes.dim) for m in modalities})
        self.norms = nn.ModuleDict({m: nn.LayerNorm(sizes.dim) for m in modalities})
        self.dropout = nn.Dropout(sizes.dropout)
        self.cross = nn.ModuleDict()
        if sizes.fusion == "cross_attention":
            self.cross.update({m: _Querying(m, modalities, sizes) for m in modalities})
        joined = sizes.fusion in _IN_ONE_SEQUENCE
        self.readers = nn.ModuleDict(
            {name: _Reader(sizes) for name in (["sequence"] if joined else modalities)}
        )
        self.join = _Join(sizes, modalities) if not joined else None
        self.classify = nn.Linear(sizes.dim, n_outputs)

    def forward(self, modalities: Mapping[str, Padded], layout: Layout | None) -> ModelOutput:
        """Logits, embedding and modality vectors of a batch; each utterance by itself, whatever the layout."""
        given = {m: modalities[m] for m in self.project}
        states = {
            m: self.dropout(self.norms[m](project(given[m].values)))
            for m, project in self.project.items()
        }
        masks = {m: padded.mask for m, padded in given.items()}
        states |= {m: querying(states, masks) for m, querying in self.cross.items()}
        if self.join is not None:
            read = {m: self.readers[m](states[m], masks[m], given[m].total) for m in states}
            vectors = {m: vector for m, (vector, _) in read.items()}
            embedding = self.join(vectors)
        else:
            together, mask = torch.cat(list(states.values()), 1), torch.cat(list(masks.values()), 1)
            total = sum(padded.total for padded in given.values())
            embedding, seen = self.readers["sequence"](together, mask, total)
            parts = seen.split([one.shape[1] for one in masks.values()], dim=1)
            vectors = {
                m: masked_mean(part, masks[m]) for m, part in zip(states, parts, strict=True)
            }
        return ModelOutput(self.classify(self.dropout(embedding)), embedding, vectors)

    def attentions(self) -> Mapping[tuple[str, str], Sequence[nn.MultiheadAttention]]:
        """(querying modality, queried modality) -> the attention between them."""
        return {
            (m, other): [block.attention]
            for m, querying in self.cross.items()
            if isinstance(querying, _Querying)
            for other, block in querying.blocks.items()
            if isinstance(block, AttentionBlock)
        }


class _Querying(nn.Module):
    """A modality queries the others, one after the other."""

    def __init__(
        self, modality: str, modalities: Sequence[str], sizes: BimodalAttentionConfig
    ) -> None:
        super().__init__()
        self.modality = modality
        self.blocks = nn.ModuleDict({m: _block(sizes) for m in modalities if m != modality})

    def forward(
        self,
        states: Mapping[str, Float[Tensor, "batch _ dim"]],
        masks: Mapping[str, Bool[Tensor, "batch _"]],
    ) -> Float[Tensor, "batch time dim"]:
        """Its next states."""
        own = states[self.modality]
        for other, block in self.blocks.items():
            own = block(own, states[other], masks[other])
        return own


class _Reader(nn.Module):
    """Self-attention layers over a sequence, then its vector."""

    def __init__(self, sizes: BimodalAttentionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_block(sizes) for _ in range(sizes.layers))
        self.pool = AttentionPool(sizes.dim, sizes.dim)

    def forward(
        self, states: Float[Tensor, "batch time dim"], mask: Bool[Tensor, "batch time"], total: int
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch time dim"]]:
        """The vector, and the states from which it was taken, of so many real frames in `total`."""
        for layer in self.layers:
            states = layer(states, states, mask)
        return self.pool(real_frames(states, mask, total), mask), states


class _Join(nn.Module):
    """Vectors of modalities -> one: concatenated, averaged with learnt weights, or gated.

    gate:  h_m = tanh(W_m v_m),  z_m = sigmoid(U_m [v_1; ...]),  h = z_1 * h_1 + ...
    """

    def __init__(self, sizes: BimodalAttentionConfig, modalities: Sequence[str]) -> None:
        super().__init__()
        together, kind = sizes.dim * len(modalities), sizes.fusion
        self.concatenated = nn.Linear(together, sizes.dim) if kind == "concatenation" else None
        self.weights = nn.Parameter(torch.zeros(len(modalities))) if kind == "average" else None
        gates = modalities if kind == "gate" else ()
        self.hidden = nn.ModuleDict({m: nn.Linear(sizes.dim, sizes.dim) for m in gates})
        self.gates = nn.ModuleDict({m: nn.Linear(together, sizes.dim) for m in gates})

    def forward(
        self, vectors: Mapping[str, Float[Tensor, "batch dim"]]
    ) -> Float[Tensor, "batch dim"]:
        """The joint vector."""
        together = torch.cat(list(vectors.values()), dim=1)
        if self.concatenated is not None:
            joint: Tensor = self.concatenated(together)
            return joint
        stacked = torch.stack(list(vectors.values()))
        if self.weights is not None:
            return torch.einsum("m,mbd->bd", self.weights.softmax(dim=0), stacked)
        gated = [
            torch.sigmoid(self.gates[m](together)) * torch.tanh(self.hidden[m](vector))
            for m, vector in vectors.items()
        ]
        return torch.stack(gated).sum(dim=0)


def _block(sizes: BimodalAttentionConfig) -> AttentionBlock:
    return AttentionBlock(
        sizes.dim, sizes.heads, feedforward=sizes.feedforward, dropout=sizes.dropout
    )
