"""DialogueRNN: who said what, turn by turn, for several streams at once.

    inputs [stream, dialogue, turn, dim], speakers [dialogue, turn] -> states [stream, dialogue, turn, state]

A stream is one modality read in one direction; each has its own weights. Python loops over turns and nothing else:
dialogues and streams go through side by side, and what does not depend on the loop (the inputs' part of every gate) is
computed before it in one product. Emotion states have a loop of their own, after that of global and party states, so
that all party states are such an input. A launch of the loop costs the same however many streams it has, so folds that
are trained together (`raysys.together`) read their dialogues in one loop over the streams of all.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from raysys.together import is_seated, jointly


class StreamedGru(nn.Module):
    """GRU cells of several streams, with their input split into what is known before the loop and what is not.

        r, z = sigmoid(W x + U h + b),   n = tanh(W_n x + b_n + r * (U_n h + c_n)),   h' = (1 - z) n + z h

    Args:
        streams: number of cells with weights of their own.
        known: width of the input that is known before the loop.
        looped: width of the input that is not; 0 for none.
        state: width of h.
    """

    def __init__(self, streams: int, *, known: int, looped: int, state: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(state)

        def weights(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))

        self.from_known = weights(streams, known, 3 * state)
        self.known_bias = weights(streams, 1, 3 * state)
        self.from_looped = weights(streams, looped, 3 * state) if looped else None
        self.from_state = weights(streams, state, 3 * state)
        self.state_bias = weights(streams, 1, 3 * state)

    def before(
        self, inputs: Float[Tensor, "stream dialogue turn dim"]
    ) -> Float[Tensor, "turn stream dialogue gates"]:
        """The known inputs' part of the gates, for all turns."""
        streams, dialogues, turns, dim = inputs.shape
        flat = inputs.reshape(streams, dialogues * turns, dim)
        gates = torch.baddbmm(self.known_bias, flat, self.from_known)
        return gates.reshape(streams, dialogues, turns, -1).permute(2, 0, 1, 3).contiguous()

    def forward(
        self,
        gates: Float[Tensor, "stream dialogue gates"],
        state: Float[Tensor, "stream dialogue state"],
        looped: Float[Tensor, "stream dialogue looped"] | None = None,
    ) -> Float[Tensor, "stream dialogue state"]:
        """The next state; `gates` come from `before`."""
        if looped is not None and self.from_looped is not None:
            gates = torch.baddbmm(gates, looped, self.from_looped)
        inner = torch.baddbmm(self.state_bias, state, self.from_state)
        r, z, n = gates.chunk(3, dim=-1)
        r_inner, z_inner, n_inner = inner.chunk(3, dim=-1)
        new = torch.tanh(n + torch.sigmoid(r + r_inner) * n_inner)
        return torch.lerp(new, state, torch.sigmoid(z + z_inner))


class Noise(NamedTuple):
    """What states are multiplied by in training, drawn before the loops: 0, or 1 / (1 - dropout)."""

    first: Float[Tensor, "turn 2 stream dialogue state"]
    """For global and party states."""
    second: Float[Tensor, "turn stream dialogue state"]
    """For emotion states."""


class DialogueRnn(nn.Module):
    """Global, party and emotion states of every turn, one direction a stream.

        g_t = GRU(g_{t-1}, [u_t, q_{s(t)}]),   c_t = attention over g_1 .. g_{t-1}
        q_{s(t)} = GRU(q_{s(t)}, [u_t, c_t]),  e_t = GRU(e_{t-1}, q_{s(t)})

    Majumder et al. 2019 (DialogueRNN, AAAI, arXiv:1811.00405), Eq. 1-7, with the simple attention of the authors' code
    (softmax over turns of a learnt projection of g) as in MultiEMO, and without listener states. s(t) is the speaker of
    turn t; the other parties keep their state. A turn sees earlier turns only.

    Args:
        streams: modalities times directions.
        dim: width of the inputs.
        state: width of g, q and e.
        dropout: share of values of each new state that is dropped in training.
    """

    def __init__(self, streams: int, *, dim: int, state: int, dropout: float) -> None:
        super().__init__()
        self.state = state
        self.global_cell = StreamedGru(streams, known=dim, looped=state, state=state)
        self.party_cell = StreamedGru(streams, known=dim, looped=state, state=state)
        self.emotion_cell = StreamedGru(streams, known=state, looped=0, state=state)
        bound = 1 / math.sqrt(state)
        self.attention = nn.Parameter(torch.empty(streams, state, 1).uniform_(-bound, bound))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        inputs: Float[Tensor, "stream dialogue turn dim"],
        speakers: Int64[Tensor, "stream dialogue turn"],
        *,
        n_parties: int | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, "stream dialogue turn state"]:
        """Emotion states e of every turn; those of padding turns, at the end of a dialogue, mean nothing.

        Args:
            inputs: utterance vectors.
            speakers: who speaks, as numbers from 0; a stream that reads backwards has them backwards.
            n_parties: speakers of a dialogue at most; None counts them, for which a GPU must be waited for.
            noise: drawn before by `draw`; None draws in the loops, the same.
        """
        streams, dialogues, turns, _ = inputs.shape
        # unbind, since a slice a turn would fill a gradient of all turns each
        for_global = self.global_cell.before(inputs).unbind()
        for_party = self.party_cell.before(inputs).unbind()
        count = int(speakers.max()) + 1 if n_parties is None else n_parties
        known = torch.arange(count, device=inputs.device)
        speaks = (speakers[..., None] == known).to(inputs.dtype).unbind(dim=2)
        blank = inputs.new_zeros(streams, dialogues, self.state)
        parties = inputs.new_zeros(streams, dialogues, speaks[0].shape[-1], self.state)
        drops = (
            [self.dropout] * (2 * turns) if noise is None else _applied(noise.first.flatten(0, 1))
        )
        overall, history = blank, _History(blank)
        spoken = []
        for turn in range(turns):
            who = speaks[turn][..., None]
            own = (parties * who).sum(dim=2)
            context = history.read()
            overall = drops[2 * turn](self.global_cell(for_global[turn], overall, own))
            history.add(overall, torch.bmm(overall, self.attention))
            own = drops[2 * turn + 1](self.party_cell(for_party[turn], own, context))
            parties = torch.lerp(parties, own[:, :, None].expand_as(parties), who)
            spoken.append(own)
        for_emotion = self.emotion_cell.before(torch.stack(spoken, dim=2)).unbind()
        drops = [self.dropout] * turns if noise is None else _applied(noise.second)
        emotion, states = blank, []
        for turn in range(turns):
            emotion = drops[turn](self.emotion_cell(for_emotion[turn], emotion))
            states.append(emotion)
        return torch.stack(states, dim=2)

    def draw(self, inputs: Float[Tensor, "stream dialogue turn dim"]) -> Noise | None:
        """What the loops over some inputs would draw, in their order; None where nothing is dropped.

        Args:
            inputs: see `forward`.
        """
        if not self.training or not self.dropout.p:
            return None
        streams, dialogues, turns, _ = inputs.shape
        ones = inputs.new_ones(streams, dialogues, self.state)
        first = torch.stack([self.dropout(ones) for _ in range(2 * turns)])
        return Noise(
            first.unflatten(0, (turns, 2)), torch.stack([self.dropout(ones) for _ in range(turns)])
        )


def read_dialogues(
    rnn: DialogueRnn,
    inputs: Float[Tensor, "stream dialogue turn dim"],
    speakers: Int64[Tensor, "stream dialogue turn"],
    *,
    n_parties: int | None,
) -> Float[Tensor, "stream dialogue turn state"]:
    """What `rnn` says; folds that are trained together loop once, over the streams of all.

    Args:
        rnn: of this fold.
        inputs: see `DialogueRnn.forward`.
        speakers: likewise.
        n_parties: likewise.
    """
    if not is_seated():
        states: Tensor = rnn(inputs, speakers, n_parties=n_parties)
        return states
    asked = _Asked(rnn, inputs, speakers, n_parties, rnn.draw(inputs))
    return jointly(_read, asked, like=(inputs.shape[-1], rnn.state, asked.noise is None))


@dataclass(frozen=True)
class _Asked:
    """A network and the dialogues that it reads."""

    rnn: DialogueRnn
    inputs: Float[Tensor, "stream dialogue turn dim"]
    speakers: Int64[Tensor, "stream dialogue turn"]
    n_parties: int | None
    noise: Noise | None


def _read(asked: Sequence[_Asked]) -> list[Tensor]:
    """States of each, by one loop: weights stand side by side, fewer dialogues and turns are filled up."""
    dialogues = max(one.inputs.shape[1] for one in asked)
    turns = max(one.inputs.shape[2] for one in asked)
    known = [one.n_parties for one in asked if one.n_parties is not None]
    noise = None
    drawn = [one.noise for one in asked if one.noise is not None]
    if drawn:
        noise = Noise(
            torch.cat([_filled(one.first, {0: turns, 3: dialogues}) for one in drawn], dim=2),
            torch.cat([_filled(one.second, {0: turns, 2: dialogues}) for one in drawn], dim=1),
        )
    size = {1: dialogues, 2: turns}
    weights = [dict(one.rnn.named_parameters()) for one in asked]
    together = functional_call(
        asked[0].rnn,
        {name: torch.cat([own[name] for own in weights]) for name in weights[0]},
        (
            torch.cat([_filled(one.inputs, size) for one in asked]),
            torch.cat([_filled(one.speakers, size) for one in asked]),
        ),
        {"n_parties": max(known) if len(known) == len(asked) else None, "noise": noise},
    )
    apart = together.split([len(one.inputs) for one in asked])
    return [
        states[:, : one.inputs.shape[1], : one.inputs.shape[2]]
        for one, states in zip(asked, apart, strict=True)
    ]


def _filled(values: Tensor, size: Mapping[int, int]) -> Tensor:
    """With zeros at the ends of some dimensions.

    Args:
        values: of any shape.
        size: dimension -> length.
    """
    ends = [(0, size.get(k, length) - length) for k, length in enumerate(values.shape)]
    return functional.pad(values, [end for both in reversed(ends) for end in both])


def _applied(noise: Float[Tensor, "step stream dialogue state"]) -> list[Callable[..., Tensor]]:
    """Step by step, what a new state is multiplied by."""
    return [own.mul for own in noise.unbind()]


class _History:
    """Softmax-weighted mean of all vectors so far, kept as a running sum instead of a growing list.

    Weights are exponentials of scores less the largest score so far, so they neither overflow nor vanish together.
    """

    def __init__(self, blank: Float[Tensor, "stream dialogue state"]) -> None:
        self._total = blank
        self._weight = blank[..., :1]
        self._largest: Tensor | None = None

    def read(self) -> Float[Tensor, "stream dialogue state"]:
        """The mean; zeros before the first vector."""
        if self._largest is None:
            return self._total
        return self._total / self._weight

    def add(
        self,
        vectors: Float[Tensor, "stream dialogue state"],
        scores: Float[Tensor, "stream dialogue 1"],
    ) -> None:
        """Take the next turn's."""
        if self._largest is None:
            self._largest = scores.detach()
        largest = torch.maximum(self._largest, scores.detach())
        keep, new = torch.exp(self._largest - largest), torch.exp(scores - largest)
        self._total = self._total * keep + vectors * new
        self._weight = self._weight * keep + new
        self._largest = largest


def reverse_turns(
    values: Float[Tensor, "*stream dialogue turn dim"], lengths: Int64[Tensor, " dialogue"]
) -> Float[Tensor, "*stream dialogue turn dim"]:
    """Each dialogue's real turns in reverse order; padding stays at the end."""
    order = reversed_order(lengths, values.shape[-2])
    return torch.take_along_dim(values, order[..., None].expand(*values.shape), dim=-2)


def reversed_order(
    lengths: Int64[Tensor, " dialogue"], turns: int
) -> Int64[Tensor, "dialogue turn"]:
    """Where each turn of the reversed dialogues comes from."""
    turn = torch.arange(turns, device=lengths.device)
    last = lengths[:, None] - 1
    return torch.where(turn <= last, last - turn, turn)
