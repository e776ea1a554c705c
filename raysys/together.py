"""Folds that one process trains together: what several of them come to is done at once for all of these.

    fold 0   pooling --.                   .-- fusion, losses --.                .-- Adam
    fold 1   pooling --+-- DialogueRNN x 3 --+-- fusion, losses --+-- gradients x 3 --+-- Adam
    fold 2   pooling --'                   '-- fusion, losses --'                '-- Adam

A loop of small products takes a GPU as long as starting them does, however wide they are: that of many folds, whose
weights stand side by side, takes little longer than that of one. Wang et al. 2021, "Horizontally Fused Training Array",
MLSys, arXiv:2102.02344, join whole models so.

Each fold has a thread, where the code runs that trains it alone; one thread runs at a time. It goes on until it comes
to something that others could do with it (`jointly`), where the next one's turn is; when all have come to something,
what most of them wait for is done. Random numbers are each fold's own: they are those of a fold alone.
"""

import copy
import itertools
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

Own = TypeVar("Own")
Made = TypeVar("Made")
_PATIENCE = 1000
"""Joint works of others for which one waits at most, that fewer folds could do together."""


@dataclass(eq=False)
class _Seat:
    """A fold among those of this process."""

    number: int
    kind: Hashable = None
    """What it waits for: folds that wait for the same do it together."""
    own: Any = None
    """Its part of that."""
    since: int = 0
    """Works that had been done when it began to wait."""
    party: Sequence["_Seat"] = ()
    """For whom it does what it waited for, in the order of their numbers; empty where another one did it."""
    made: Any = None
    error: BaseException | None = None


_SEAT: ContextVar[_Seat | None] = ContextVar("seat", default=None)


def is_seated() -> bool:
    """Whether what this thread comes to may be done with others."""
    return _SEAT.get() is not None


@contextmanager
def seated() -> Iterator[None]:
    """Train a fold together with those of this process' other threads that are seated; waits for its turn."""
    with _TABLE.seat() as seat:
        token = _SEAT.set(seat)
        try:
            yield
        finally:
            _SEAT.reset(token)


@contextmanager
def alone() -> Iterator[None]:
    """What a seated fold comes to inside is done for it alone, and no other fold's turn comes: for what is measured."""
    token = _SEAT.set(None)
    try:
        yield
    finally:
        _SEAT.reset(token)


def jointly(work: Callable[[Sequence[Own]], Sequence[Made]], own: Own, *, like: Hashable) -> Made:
    """What a work makes of one's own part, done at once for all seated folds that have come to it.

    Args:
        work: a function of a module, from the parts of one or more folds to what is made of each. It draws no random
            numbers.
        own: this fold's part.
        like: parts of equal `like` can be done together.

    Raises:
        whatever the work raises, for each of the folds.
    """
    seat = _SEAT.get()
    if seat is None:
        return work([own])[0]
    modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    made: Made = _TABLE.meet(seat, work, own, (work, like, modes))
    return made


@dataclass
class _Table:
    """Whose turn it is."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    """Held to change whose turn it is, and to wait for it."""
    numbers: Iterator[int] = field(default_factory=itertools.count)
    ready: deque[_Seat] = field(default_factory=deque)
    """Those that can go on."""
    waiting: list[_Seat] = field(default_factory=list)
    """Those that have come to something, in the order in which they came."""
    turn: _Seat | None = None
    done: int = 0
    """Works so far."""

    @contextmanager
    def seat(self) -> Iterator[_Seat]:
        seat = _Seat(next(self.numbers))
        with self.changed:
            self.ready.append(seat)
            if self.turn is None:
                self._pass_on()
            self._await(seat)
        try:
            yield seat
        finally:
            with self.changed:
                self._pass_on()

    def meet(self, seat: _Seat, work: Callable[..., Any], own: Any, kind: Hashable) -> Any:
        seat.kind, seat.own, seat.since = kind, own, self.done
        random = _random_state()
        with self.changed:
            self.waiting.append(seat)
            self._pass_on()
            self._await(seat)
        _set_random_state(random)
        if seat.party:
            self._do(work, seat)
        made, error = seat.made, seat.error
        seat.own = seat.made = seat.error = None
        if error is not None:
            raise error
        return made

    def _do(self, work: Callable[..., Any], leader: _Seat) -> None:
        """Do what a party waits for, in the thread of one of them."""
        party, leader.party = leader.party, ()
        try:
            for seat, made in zip(party, work([seat.own for seat in party]), strict=True):
                seat.made = made
        except (
            BaseException
        ) as error:  # raised in every thread: each fold makes of it what it would alone
            for seat in party:
                seat.error = copy.copy(error)
        with self.changed:
            self.done += 1
            self.ready.extend(seat for seat in party if seat is not leader)

    def _await(self, seat: _Seat) -> None:
        self.changed.wait_for(lambda: self.turn is seat)

    def _pass_on(self) -> None:
        """The next one's turn; where nobody can go on, that of a party's first."""
        if self.ready:
            self.turn = self.ready.popleft()
        elif self.waiting:
            party = self._largest_party()
            self.waiting = [seat for seat in self.waiting if seat not in party]
            self.turn = party[0]
            party[0].party = party
        else:
            self.turn = None
        self.changed.notify_all()

    def _largest_party(self) -> list[_Seat]:
        """Those that can do most together, the longest waiting of equals; nobody waits for ever."""
        first = self.waiting[0]
        kinds = {seat.kind: None for seat in self.waiting}
        parties = [[seat for seat in self.waiting if seat.kind == kind] for kind in kinds]
        impatient = self.done - first.since > _PATIENCE
        largest = parties[0] if impatient else max(parties, key=len)
        return sorted(largest, key=lambda seat: seat.number)


_TABLE = _Table()


def _random_state() -> list[Tensor]:
    """That of the CPU, and of the GPU where one is used."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else states


def _set_random_state(states: Sequence[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state)
