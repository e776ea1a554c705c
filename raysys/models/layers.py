"""Parts that several models are made of: they take padded sequences with masks, and see real frames alone."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional


class AttentionPool(nn.Module):
    """Linear, then a softmax-weighted mean over time with learnt scores.

    Args:
        input_dim: width of the frames.
        dim: width of the vector.
    """

    def __init__(self, input_dim: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_dim, dim)
        self.score = nn.Linear(dim, 1)

    def forward(
        self, frames: Float[Tensor, "frame dim"], mask: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch out"]:
        """A vector an utterance.

        Args:
            frames: real frames of all utterances, one after the other: most of a batch of texts would be padding.
            mask: True where an utterance has a frame.
        """
        states = self.linear(frames)
        # The number of frames is known: a GPU need not be waited for to count them, as an index by `mask` would.
        places = torch.nonzero_static(mask, size=len(frames)).unbind(dim=1)
        blank = states.new_full(mask.shape, -torch.inf)
        scores = blank.index_put(places, self.score(torch.tanh(states)).squeeze(-1))
        weighted = states * scores.softmax(dim=1)[places][:, None]
        return states.new_zeros(len(mask), states.shape[1]).index_add(0, places[0], weighted)


def real_frames(
    values: Float[Tensor, "batch time dim"], mask: Bool[Tensor, "batch time"], total: int
) -> Float[Tensor, "frame dim"]:
    """Frames whose mask is True, one after the other; a GPU need not be waited for to count them.

    Args:
        values: of a batch.
        mask: True where there is a frame.
        total: how many there are.
    """
    return values[torch.nonzero_static(mask, size=total).unbind(dim=1)]


class AttentionBlock(nn.Module):
    """What a sequence finds in another, or in itself (Vaswani et al. 2017, arXiv:1706.03762, section 3).

    x' = Norm(x + MultiHead(x, other, other)),   Norm(x' + W_2 ReLU(W_1 x' + b_1) + b_2)

    Args:
        dim: width of both sequences.
        heads: of the attention; must divide `dim`.
        feedforward: width between W_1 and W_2.
        dropout: share of values dropped in training.
    """

    def __init__(self, dim: int, heads: int, *, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.widen = nn.Linear(dim, feedforward)
        self.narrow = nn.Linear(feedforward, dim)
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        states: Float[Tensor, "batch time dim"],
        other: Float[Tensor, "batch place dim"],
        other_mask: Bool[Tensor, "batch place"],
        *,
        changes: Float[Tensor, "batch 4 dim"] | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """The sequence's next states.

        Args:
            states: of the sequence.
            other: what it queries; every row must have a real place.
            other_mask: which places are real.
            changes: what is added to scale and shift of the first norm, then of the second.
        """
        found, _ = self.attention(
            states, other, other, key_padding_mask=~other_mask, need_weights=False
        )
        states = self._norm(0, states + self.dropout(found), changes)
        wide = self.dropout(torch.relu(self.widen(states)))
        return self._norm(1, states + self.dropout(self.narrow(wide)), changes)

    def _norm(
        self,
        which: int,
        states: Float[Tensor, "batch time dim"],
        changes: Float[Tensor, "batch 4 dim"] | None,
    ) -> Float[Tensor, "batch time dim"]:
        norm: nn.LayerNorm = self.norms[which]  # type: ignore[assignment]
        normed: Tensor = norm(states)
        if changes is None:
            return normed
        scale, shift = changes[:, 2 * which, None], changes[:, 2 * which + 1, None]
        plain = functional.layer_norm(states, norm.normalized_shape, eps=norm.eps)
        return normed + scale * plain + shift


def masked_max(
    values: Float[Tensor, "batch time dim"], mask: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch dim"]:
    """Largest value over the time steps whose mask is True; each row must have one."""
    return values.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)


def masked_mean(
    values: Float[Tensor, "batch time dim"], mask: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch dim"]:
    """Mean over the time steps whose mask is True; each row must have one."""
    weights = mask / mask.sum(dim=1, keepdim=True)
    return torch.einsum("bt,btd->bd", weights.to(values.dtype), values)


def last_step(
    values: Float[Tensor, "batch time dim"], mask: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch dim"]:
    """The last time step whose mask is True; frames come first, padding after them."""
    return values[torch.arange(len(values), device=values.device), mask.sum(dim=1) - 1]
