"""MultiEMO: each modality read in its dialogue's context, each fused with the others by cross-attention.

    frames or tokens -> linear, attention pooling -> vector of the utterance
    vectors of a dialogue -> DialogueRNN -> context vectors            (modalities in `context`)
    each modality queries the others, layer by layer -> fused vectors  (MultiAttn, `fusion`)
    concat -> linear z -> ReLU(linear) = embedding -> linear -> logits

Shi & Huang 2023, "MultiEMO: An Attention-Based Correlation-Aware Multimodal Fusion Framework for Emotion Recognition in
Conversations", ACL 2023, Eq. 1-16.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from raysys.batches.padded import Layout, Padded
from raysys.models.dialogue_rnn import DialogueRnn, read_dialogues, reverse_turns, reversed_order
from raysys.models.layers import AttentionPool
from raysys.models.output import ModelOutput, ModelSettings, check_sizes
from raysys.settings import require

_ORDER = ("text", "audio", "video", "image")
"""Which of the other modalities a modality queries first (MultiAttn_text: audio, video; _audio: text, video; _visual:
text, audio); images are not the paper's."""


@dataclass(frozen=True)
class MultiemoConfig(ModelSettings):
    """Sizes of MultiEMO; the defaults are those of the authors' script for IEMOCAP, but for dropout."""

    reads_dialogues: ClassVar = True
    idle: ClassVar[Mapping[str, Mapping[str, tuple[Any, ...]]]] = {
        **{name: {"fusion": (False,)} for name in ("layers", "heads", "feedforward")},
        **{name: {"context": ((),)} for name in ("state", "bidirectional", "project", "residual")},
    }
    dim: int = 256
    """Width of the utterance vectors and of the attention."""
    state: int = 256
    """Width of DialogueRNN's global, party and emotion states."""
    context: tuple[Literal["audio", "text", "video", "image"], ...] = (
        "audio",
        "text",
        "video",
        "image",
    )
    """Modalities that DialogueRNN reads, of those that the model has; [] for none."""
    bidirectional: bool = True
    """Read dialogues in both directions; otherwise an utterance's context is what came before it."""
    project: bool = True
    """Linear layer between DialogueRNN's states and the context vectors. The authors' code has none for MELD, where
    only one direction is read; then state must equal dim."""
    residual: bool = False
    """Add an utterance's own vector to its context vector and normalise the sum. Ours, not the paper's."""
    fusion: bool = True
    """Fuse modalities by cross-attention (MultiAttn); without it their vectors are only concatenated."""
    layers: int = 6
    """Layers of cross-attention."""
    heads: int = 4
    """Attention heads a layer, together as wide as dim, which they must divide."""
    feedforward: int = 1024
    """Width of the feed-forward layers."""
    hidden: int = 256
    """Width of l (Eq. 15), the embedding; the authors' code has twice dim for MELD."""
    dropout: float = 0.1
    """Share of values dropped in training; 0 in the authors' script."""

    def __post_init__(self) -> None:
        counts = ("dim", "state", "layers", "heads", "feedforward", "hidden")
        check_sizes("multiemo", self, counts=counts, width="dim")
        if self.context and not self.project:
            rule = "false where model.multiemo.project is false"
            require(not self.bidirectional, "model.multiemo.bidirectional", True, rule)
            rule = f"model.multiemo.dim ({self.dim}) where model.multiemo.project is false"
            require(self.state == self.dim, "model.multiemo.state", self.state, rule)

    def why_apart(self, modalities: Sequence[str]) -> str:
        """Without DialogueRNN there is no loop; see `ModelSettings`."""
        if set(self.context) & set(modalities):
            return ""
        return (
            "model.multiemo.context names no modality that it reads, so that it has no DialogueRNN"
        )

    def build(
        self, modalities: Sequence[str], *, dims: Mapping[str, int], n_outputs: int
    ) -> "Multiemo":
        """The untrained network; see `ModelSettings`."""
        return Multiemo(self, modalities, dims=dims, n_outputs=n_outputs)


class Multiemo(nn.Module):
    """The whole network, for any one or more modalities.

    z = W_z (f_1 + ... concatenated) + b_z,   l = ReLU(W_l z + b_l),   logits = W l + b             (Eq. 13-16)

    z is what SWFC sees, l the embedding; the fused vectors f go to Soft-HGR. An utterance that comes as frames or
    tokens is pooled first, by a learnt attention; with one frame this is the paper's linear layer. The paper does not
    say what MultiAttn is for a single modality: here its turns attend to each other.
    """

    def __init__(
        self,
        sizes: MultiemoConfig,
        modalities: Sequence[str],
        *,
        dims: Mapping[str, int],
        n_outputs: int,
    ) -> None:
        super().__init__()
        self.pools = nn.ModuleDict({m: AttentionPool(dims[m], sizes.dim) for m in modalities})
        read = [m for m in modalities if m in sizes.context]
        self.context = DialogueContext(read, sizes) if read else None
        self.fusion = nn.ModuleDict(
            {m: MultiAttn(max(len(modalities) - 1, 1), sizes) for m in modalities if sizes.fusion}
        )
        self.dropout = nn.Dropout(sizes.dropout)
        self.contrast = nn.Linear(sizes.dim * len(modalities), sizes.dim)
        self.hidden = nn.Linear(sizes.dim, sizes.hidden)
        self.classify = nn.Linear(sizes.hidden, n_outputs)

    def forward(self, modalities: Mapping[str, Padded], layout: Layout | None) -> ModelOutput:
        """Logits, embedding and fused vectors of every utterance of the batch's dialogues."""
        assert layout is not None
        vectors = {
            m: layout.arrange(pool(modalities[m].frames, modalities[m].mask))
            for m, pool in self.pools.items()
        }
        if self.context is not None:
            vectors = self.context(vectors, layout)
        if self.fusion:
            vectors = {
                m: self.fusion[m](vector, self._others(m, vectors), layout.mask)
                for m, vector in vectors.items()
            }
        flat = {m: layout.flatten(states) for m, states in vectors.items()}
        z = self.contrast(self.dropout(torch.cat(list(flat.values()), dim=1)))
        embedding = torch.relu(self.hidden(z))
        return ModelOutput(self.classify(self.dropout(embedding)), embedding, flat, z)

    @staticmethod
    def _others(modality: str, vectors: Mapping[str, Tensor]) -> list[Tensor]:
        """What a modality queries, in turn."""
        return [vectors[m] for m in _ORDER if m in vectors and m != modality] or [vectors[modality]]


class DialogueContext(nn.Module):
    """DialogueRNN of some modalities, forward or in both directions, side by side; the others pass unchanged.

    c = ReLU(W [e_forward; e_backward] + b),   with `residual` then Norm(u + c);   without `project`, c = ReLU(e)
    """

    def __init__(self, modalities: Sequence[str], sizes: MultiemoConfig) -> None:
        super().__init__()
        self.names = list(modalities)
        self.both_ways = sizes.bidirectional
        directions = 2 if sizes.bidirectional else 1
        streams = directions * len(self.names)
        self.rnn = DialogueRnn(streams, dim=sizes.dim, state=sizes.state, dropout=sizes.dropout)
        self.merge = nn.ModuleDict(
            {m: nn.Linear(directions * sizes.state, sizes.dim) for m in self.names if sizes.project}
        )
        self.norms = nn.ModuleDict(
            {m: nn.LayerNorm(sizes.dim) for m in self.names if sizes.residual}
        )
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(
        self, vectors: Mapping[str, Float[Tensor, "dialogue turn dim"]], layout: Layout
    ) -> dict[str, Float[Tensor, "dialogue turn dim"]]:
        """Context vectors of every turn."""
        lengths = layout.mask.sum(dim=1)
        inputs = torch.stack([vectors[m] for m in self.names])
        states = self._read(inputs, layout, lengths)
        merged = {}
        for m, state in zip(self.names, states, strict=True):
            own = self.dropout(state)
            merged[m] = torch.relu(self.merge[m](own) if m in self.merge else own)
        for m, norm in self.norms.items():
            merged[m] = norm(vectors[m] + self.dropout(merged[m]))
        return {m: merged.get(m, vector) for m, vector in vectors.items()}

    def _read(self, inputs: Tensor, layout: Layout, lengths: Tensor) -> Tensor:
        """Emotion states by modality, directions side by side."""
        count = len(self.names)
        speakers = layout.speakers.expand(count, -1, -1)
        if not self.both_ways:
            return read_dialogues(self.rnn, inputs, speakers, n_parties=layout.n_parties)
        back = reverse_turns(inputs, lengths)
        order = reversed_order(lengths, layout.speakers.shape[1])
        speakers_back = torch.take_along_dim(layout.speakers, order, dim=1)
        who = torch.cat([speakers, speakers_back.expand(count, -1, -1)])
        states = read_dialogues(
            self.rnn, torch.cat([inputs, back]), who, n_parties=layout.n_parties
        )
        return torch.cat([states[:count], reverse_turns(states[count:], lengths)], dim=-1)


class MultiAttn(nn.Module):
    """One of MultiAttn_text, _audio and _visual: layers in which a modality's turns query those of the others.

    All turns of a dialogue see each other. The others are context vectors c in every layer: only the query changes.

    Args:
        others: how many modalities are queried, one after the other.
        sizes: of the layers.
    """

    def __init__(self, others: int, sizes: MultiemoConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MultiAttnLayer(others, sizes) for _ in range(sizes.layers))

    def forward(
        self,
        query: Float[Tensor, "dialogue turn dim"],
        others: Sequence[Float[Tensor, "dialogue turn dim"]],
        mask: Bool[Tensor, "dialogue turn"],
    ) -> Float[Tensor, "dialogue turn dim"]:
        """Fused vectors of the query's modality."""
        for layer in self.layers:
            query = layer(query, others, mask)
        return query


class MultiAttnLayer(nn.Module):
    """A layer j of MultiAttn (Eq. 2-12), here for text, which queries audio, then video.

    f' = Norm(f_{j-1} + Attention(f_{j-1}, c_audio)),   f'' = Norm(f' + Attention(f', c_video)),
    f_j = Norm(f'' + W_2 ReLU(W_1 f'' + b_1) + b_2)
    """

    def __init__(self, others: int, sizes: MultiemoConfig) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(CrossAttention(sizes) for _ in range(others))
        self.norms = nn.ModuleList(nn.LayerNorm(sizes.dim) for _ in range(others))
        self.widen = nn.Linear(sizes.dim, sizes.feedforward)
        self.narrow = nn.Linear(sizes.feedforward, sizes.dim)
        self.last_norm = nn.LayerNorm(sizes.dim)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(
        self,
        query: Float[Tensor, "dialogue turn dim"],
        others: Sequence[Float[Tensor, "dialogue turn dim"]],
        mask: Bool[Tensor, "dialogue turn"],
    ) -> Float[Tensor, "dialogue turn dim"]:
        """The query's next vectors."""
        for attention, norm, other in zip(self.attentions, self.norms, others, strict=True):
            query = norm(query + self.dropout(attention(query, other, mask)))
        wide = torch.relu(self.widen(query))
        fused: Tensor = self.last_norm(query + self.dropout(self.narrow(wide)))
        return fused


class CrossAttention(nn.Module):
    """W [head_1; ...; head_H] + b,   head = Softmax(Q K^T / sqrt(d)) V   (Eq. 2-4).

    Q is a linear map of the query's turns, K and V of the other modality's; each head is d = dim / H wide, so that all
    have the model's width together, as in the authors' code. Unlike there, padding is masked.
    """

    def __init__(self, sizes: MultiemoConfig) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.query = nn.Linear(sizes.dim, sizes.dim)
        self.key_value = nn.Linear(sizes.dim, 2 * sizes.dim)
        self.project = nn.Linear(sizes.dim, sizes.dim)

    def forward(
        self,
        query: Float[Tensor, "dialogue turn dim"],
        other: Float[Tensor, "dialogue turn dim"],
        mask: Bool[Tensor, "dialogue turn"],
    ) -> Float[Tensor, "dialogue turn dim"]:
        """For every turn what it finds in the other modality's turns of its dialogue."""
        q = self._split(self.query(query))
        k, v = (self._split(half) for half in self.key_value(other).chunk(2, dim=-1))
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        joined: Tensor = self.project(seen.transpose(1, 2).flatten(2))
        return joined

    def _split(
        self, states: Float[Tensor, "dialogue turn dim"]
    ) -> Float[Tensor, "dialogue head turn part"]:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)
