"""MultiEMO: each modality read in its dialogue's context, each fused with the others by cross-attention.

    frames or tokens -> linear, attention pooling -> vector of the utterance
    vectors of a dialogue -> DialogueRNN -> context vectors            (modalities in `context`)
    each modality queries the others, layer by layer -> fused vectors  (MultiAttn)
    concat -> linear z -> ReLU(linear) = embedding -> linear -> logits

Shi & Huang 2023, "MultiEMO: An Attention-Based Correlation-Aware Multimodal Fusion Framework for Emotion Recognition in
Conversations", ACL 2023, Eq. 1-16.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from raysys.config import ModelConfig, MultiemoConfig
from raysys.features.batch import Layout, Padded
from raysys.models.dialogue_rnn import DialogueRnn, reverse_turns, reversed_order
from raysys.models.output import ModelOutput


class Multiemo(nn.Module):
    """The whole network, for any one or more modalities.

    z = W_z (f_1 + ... concatenated) + b_z,   l = ReLU(W_l z + b_l),   logits = W l + b             (Eq. 13-16)

    z is what SWFC sees, l the embedding; the fused vectors f go to Soft-HGR. A single modality attends to itself. An
    utterance that comes as frames or tokens is pooled first, by a learnt attention; with one frame this is the paper's
    linear layer.
    """

    reads_dialogues = True

    def __init__(self, config: ModelConfig, *, dims: Mapping[str, int], n_classes: int) -> None:
        super().__init__()
        sizes, modalities = config.multiemo, config.modalities
        self.modalities = modalities
        self.pools = nn.ModuleDict({m: AttentionPool(dims[m], sizes.dim) for m in modalities})
        read = [m for m in modalities if m in sizes.context or not sizes.context]
        self.context = DialogueContext(read, sizes) if read else None
        self.fusion = nn.ModuleDict(
            {m: MultiAttn(len(modalities) - 1, sizes) for m in modalities if sizes.fusion}
        )
        self.dropout = nn.Dropout(sizes.dropout)
        self.contrast = nn.Linear(sizes.dim * len(modalities), sizes.dim)
        self.hidden = nn.Linear(sizes.dim, sizes.hidden)
        self.classify = nn.Linear(sizes.hidden, n_classes)

    def forward(self, modalities: Mapping[str, Padded], layout: Layout | None) -> ModelOutput:
        """Logits, embedding and fused vectors of every utterance of the batch's dialogues."""
        assert layout is not None
        vectors = {
            m: layout.arrange(pool(modalities[m].values, modalities[m].mask))
            for m, pool in self.pools.items()
        }
        if self.context is not None:
            vectors = self.context(vectors, layout)
        if self.fusion:
            vectors = {
                m: self.fusion[m](
                    vectors[m], [v for o, v in vectors.items() if o != m], layout.mask
                )
                for m in vectors
            }
        flat = {m: layout.flatten(states) for m, states in vectors.items()}
        z = self.contrast(self.dropout(torch.cat(list(flat.values()), dim=1)))
        embedding = torch.relu(self.hidden(z))
        return ModelOutput(self.classify(self.dropout(embedding)), embedding, flat, z)


class AttentionPool(nn.Module):
    """Linear, then a softmax-weighted mean over time with learnt scores."""

    def __init__(self, input_dim: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_dim, dim)
        self.score = nn.Linear(dim, 1)

    def forward(
        self, values: Float[Tensor, "batch time dim"], mask: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch out"]:
        """A vector an utterance."""
        states = self.linear(
            values[mask]
        )  # of real frames alone: most of a batch of texts is padding
        scores = states.new_full(mask.shape, -torch.inf)
        scores[mask] = self.score(torch.tanh(states)).squeeze(-1)
        weighted = states * scores.softmax(dim=1)[mask][:, None]
        blank = states.new_zeros(len(mask), states.shape[1])
        return blank.index_add(0, mask.nonzero()[:, 0], weighted)


class DialogueContext(nn.Module):
    """DialogueRNN of some modalities, forward or in both directions, side by side; the others pass unchanged.

    c = ReLU(W [e_forward; e_backward] + b),   with `residual` then Norm(u + c)
    """

    def __init__(self, modalities: Sequence[str], sizes: MultiemoConfig) -> None:
        super().__init__()
        self.names = list(modalities)
        self.both_ways = sizes.bidirectional
        directions = 2 if sizes.bidirectional else 1
        streams = directions * len(self.names)
        self.rnn = DialogueRnn(streams, dim=sizes.dim, state=sizes.state, dropout=sizes.dropout)
        self.merge = nn.ModuleDict(
            {m: nn.Linear(directions * sizes.state, sizes.dim) for m in self.names}
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
        merged = {
            m: torch.relu(self.merge[m](self.dropout(part)))
            for m, part in zip(self.names, states, strict=True)
        }
        for m, norm in self.norms.items():
            merged[m] = norm(vectors[m] + self.dropout(merged[m]))
        return {m: merged.get(m, vector) for m, vector in vectors.items()}

    def _read(self, inputs: Tensor, layout: Layout, lengths: Tensor) -> Tensor:
        """Emotion states by modality, directions side by side."""
        if not self.both_ways:
            states: Tensor = self.rnn(inputs, layout.speakers, layout.speakers)
            return states
        count = len(self.names)
        back = reverse_turns(inputs, lengths)
        order = reversed_order(lengths, layout.speakers.shape[1])
        speakers = torch.take_along_dim(layout.speakers, order, dim=1)
        states = self.rnn(torch.cat([inputs, back]), layout.speakers, speakers)
        return torch.cat([states[:count], reverse_turns(states[count:], lengths)], dim=-1)


class MultiAttn(nn.Module):
    """Layers in which a modality's turns query those of the other modalities, one after the other (Eq. 2-12).

    Each layer: for every other modality x <- Norm(x + Attention(x, other)), then x <- Norm(x + FeedForward(x)). All
    turns of a dialogue see each other. Without another modality the turns attend to their own.
    """

    def __init__(self, others: int, sizes: MultiemoConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(max(others, 1), sizes) for _ in range(sizes.layers))

    def forward(
        self,
        query: Float[Tensor, "dialogue turn dim"],
        others: Sequence[Float[Tensor, "dialogue turn dim"]],
        mask: Bool[Tensor, "dialogue turn"],
    ) -> Float[Tensor, "dialogue turn dim"]:
        """Fused vectors of the query's modality."""
        for layer in self.layers:
            query = layer(query, others or [query], mask)
        return query


class _Layer(nn.Module):
    def __init__(self, others: int, sizes: MultiemoConfig) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(_CrossAttention(sizes) for _ in range(others))
        self.norms = nn.ModuleList(nn.LayerNorm(sizes.dim) for _ in range(others + 1))
        self.widen = nn.Linear(sizes.dim, sizes.feedforward)
        self.narrow = nn.Linear(sizes.feedforward, sizes.dim)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, query: Tensor, others: Sequence[Tensor], mask: Tensor) -> Tensor:
        for attention, norm, other in zip(self.attentions, self.norms, others, strict=False):
            query = norm(query + self.dropout(attention(query, other, mask)))
        wide = torch.relu(self.widen(query))
        fused: Tensor = self.norms[-1](query + self.dropout(self.narrow(wide)))
        return fused


class _CrossAttention(nn.Module):
    """Softmax(Q K^T / sqrt(d)) V over the turns of a dialogue, in heads that together have the model's width."""

    def __init__(self, sizes: MultiemoConfig) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.query = nn.Linear(sizes.dim, sizes.dim)
        self.key_value = nn.Linear(sizes.dim, 2 * sizes.dim)
        self.project = nn.Linear(sizes.dim, sizes.dim)

    def forward(self, query: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        q = self._split(self.query(query))
        k, v = (self._split(half) for half in self.key_value(other).chunk(2, dim=-1))
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        joined: Tensor = self.project(seen.transpose(1, 2).flatten(2))
        return joined

    def _split(self, states: Tensor) -> Tensor:
        """[dialogue, turn, dim] -> [dialogue, head, turn, dim / heads]."""
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)
