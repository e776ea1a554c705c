"""MAT: transformer layers on each modality, those on audio modulated by the text.

    text [token, d_T] -> LSTM -> self-attention layers -> states x -> attention reduction -> v_T
    audio [frame, d_A] -> LSTM -> layers of self-attention and of attention to x -> attention reduction -> v_A
    Norm(v_T + v_A) = embedding -> linear -> logits

Delbrouck, Tits & Dupont 2020, "Modulated Fusion using Transformer for Linguistic-Acoustic Emotion Recognition",
NLP Beyond Text, 1-10, arXiv:2010.02057. The paper has two ways to modulate, both here: in MAT (modulated attention) the
audio's layers query the text; in MNT (modulated normalisation) the text's vector shifts and scales their norms. The
sizes are those of the authors' command for IEMOCAP. Their words are GloVe's; here they are any text states. The paper
says nothing of a modality alone: it keeps its own layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from raysys.batches.padded import Layout, Padded
from raysys.models.layers import AttentionBlock
from raysys.models.output import ModelOutput, ModelSettings, check_sizes


@dataclass(frozen=True)
class MatConfig(ModelSettings):
    """Sizes of MAT, and how it modulates; the defaults are the authors' for IEMOCAP."""

    reads_dialogues: ClassVar = False
    reads: ClassVar = ("audio", "text")
    hidden: int = 512
    """Units of the LSTMs and width of the layers."""
    heads: int = 4
    """Attention heads of a layer; must divide hidden."""
    feedforward: int = 1024
    """Width of the feed-forward layers."""
    layers: int = 2
    """Layers of each modality."""
    modulation: Literal["attention", "normalisation"] = "attention"
    """What the text changes in the audio's layers: attention (MAT) or normalisation (MNT)."""
    dropout: float = 0.1
    """Share of values dropped inside the layers in training."""
    head_dropout: float = 0.5
    """Share of values dropped before the last linear layer in training."""

    def __post_init__(self) -> None:
        counts = ("hidden", "heads", "feedforward", "layers")
        check_sizes("mat", self, counts=counts, width="hidden", shares=("dropout", "head_dropout"))

    def attends(self, modalities: Sequence[str]) -> bool:
        """The audio to the text."""
        return len(modalities) > 1 and self.modulation == "attention"

    @property
    def vector_dim(self) -> int:
        """Width of a modality's vector, and of the embedding: the authors' in MAT and MNT."""
        return 2 * self.hidden if self.modulation == "attention" else self.hidden

    def build(self, modalities: Sequence[str], *, dims: Mapping[str, int], n_outputs: int) -> "Mat":
        """The untrained network; see `ModelSettings`."""
        return Mat(self, modalities, dims=dims, n_outputs=n_outputs)


class Mat(nn.Module):
    """The whole network."""

    def __init__(
        self,
        sizes: MatConfig,
        modalities: Sequence[str],
        *,
        dims: Mapping[str, int],
        n_outputs: int,
    ) -> None:
        super().__init__()
        self.names = sorted(modalities, reverse=True)  # text first: it modulates the audio
        self.lstms = nn.ModuleDict(
            {m: nn.LSTM(dims[m], sizes.hidden, batch_first=True) for m in self.names}
        )
        second = _AttendingLayer if sizes.modulation == "attention" else _NormedLayer
        kinds = dict(zip(self.names, (_PlainLayer, second), strict=False))
        self.layers = nn.ModuleDict(
            {m: _Layers([kind(sizes) for _ in range(sizes.layers)]) for m, kind in kinds.items()}
        )
        self.reductions = nn.ModuleDict({m: AttentionReduction(sizes) for m in self.names})
        self.norm = nn.LayerNorm(sizes.vector_dim)
        self.dropout = nn.Dropout(sizes.head_dropout)
        self.classify = nn.Linear(sizes.vector_dim, n_outputs)

    def forward(self, modalities: Mapping[str, Padded], layout: Layout | None) -> ModelOutput:
        """Logits, embedding and modality vectors of a batch; each utterance by itself, whatever the layout."""
        vectors: dict[str, Tensor] = {}
        first: _Read | None = None
        for m in self.names:
            mask = modalities[m].mask
            states, _ = self.lstms[m](modalities[m].values)
            states = self.layers[m](states, mask, first)
            vectors[m] = self.reductions[m](states, mask)
            first = _Read(states, mask, vectors[m])
        embedding = self.norm(torch.stack(list(vectors.values())).sum(dim=0))
        return ModelOutput(self.classify(self.dropout(embedding)), embedding, vectors)

    def attentions(self) -> Mapping[tuple[str, str], Sequence[nn.MultiheadAttention]]:
        """(querying modality, queried modality) -> the attention between them, layer by layer."""
        return {
            (m, self.names[0]): layers.across
            for m, layers in self.layers.items()
            if isinstance(layers, _Layers) and layers.across
        }


@dataclass(frozen=True)
class _Read:
    """A modality that has been read, for the layers that it modulates."""

    states: Float[Tensor, "batch time dim"]
    mask: Bool[Tensor, "batch time"]
    vector: Float[Tensor, "batch out"]


class _Layers(nn.Module):
    """One layer after the other."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    @property
    def across(self) -> list[nn.MultiheadAttention]:
        """The attention to another modality, where the layers have one."""
        return [one.across.attention for one in self.layers if isinstance(one, _AttendingLayer)]

    def forward(self, states: Tensor, mask: Tensor, first: _Read | None) -> Tensor:
        """The last layer's states [batch, time, hidden]."""
        for layer in self.layers:
            states = layer(states, mask, first)
        return states


class _PlainLayer(nn.Module):
    """A transformer layer."""

    def __init__(self, sizes: MatConfig) -> None:
        super().__init__()
        self.block = _block(sizes)

    def forward(self, states: Tensor, mask: Tensor, first: _Read | None) -> Tensor:
        """The next states [batch, time, hidden]."""
        following: Tensor = self.block(states, states, mask)
        return following


class _AttendingLayer(nn.Module):
    """Modulated attention: self-attention, then attention to the first modality, then the feed-forward part."""

    def __init__(self, sizes: MatConfig) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(
            sizes.hidden, sizes.heads, dropout=sizes.dropout, batch_first=True
        )
        self.norm = nn.LayerNorm(sizes.hidden)
        self.dropout = nn.Dropout(sizes.dropout)
        self.across = _block(sizes)

    def forward(self, states: Tensor, mask: Tensor, first: _Read | None) -> Tensor:
        """The next states [batch, time, hidden]."""
        assert first is not None
        found, _ = self.own(states, states, states, key_padding_mask=~mask, need_weights=False)
        states = self.norm(states + self.dropout(found))
        following: Tensor = self.across(states, first.states, first.mask)
        return following


class _NormedLayer(nn.Module):
    """Modulated normalisation: the first modality's vector changes scales and shifts of a transformer layer's norms."""

    def __init__(self, sizes: MatConfig) -> None:
        super().__init__()
        self.block = _block(sizes)
        self.changes = nn.Linear(sizes.vector_dim, 4 * sizes.hidden)

    def forward(self, states: Tensor, mask: Tensor, first: _Read | None) -> Tensor:
        """The next states [batch, time, hidden]."""
        assert first is not None
        changes = self.changes(first.vector).unflatten(-1, (4, -1))
        following: Tensor = self.block(states, states, mask, changes=changes)
        return following


class AttentionReduction(nn.Module):
    """softmax(W_2 ReLU(W_1 x)) over time, the mean of x that it weighs, then a linear layer."""

    def __init__(self, sizes: MatConfig) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(sizes.hidden, sizes.feedforward),
            nn.ReLU(),
            nn.Dropout(sizes.dropout),
            nn.Linear(sizes.feedforward, 1),
        )
        self.merge = nn.Linear(sizes.hidden, sizes.vector_dim)

    def forward(
        self, states: Float[Tensor, "batch time dim"], mask: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch out"]:
        """A vector an utterance."""
        scores = self.score(states).squeeze(-1).masked_fill(~mask, -torch.inf)
        vector: Tensor = self.merge(torch.einsum("bt,btd->bd", scores.softmax(dim=1), states))
        return vector


def _block(sizes: MatConfig) -> AttentionBlock:
    return AttentionBlock(
        sizes.hidden, sizes.heads, feedforward=sizes.feedforward, dropout=sizes.dropout
    )
