"""What a pool's queue knows, and a journal of the calls that changed it.

    call -> Ledger -> answer, events
       '--> Journal            a queue that starts again makes the same calls, and knows the same

The ledger reads no clock and draws nothing, so the calls alone decide it. A call that was answered is in the journal;
one that was not is made again by whoever waits for the answer, and changes nothing the second time.
"""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from raysys.cluster.leases import LeaseBook, Task, TaskKey, Ticket, Verdict

CANCELLED = "cancelled"
"""Reason of a task that was dropped before it ended."""
EventKind = Literal["hello", "gone", "taken", "epoch", "paused", "done", "failed"]


@dataclass(frozen=True)
class Event:
    """Something that happened to a worker or a task, in the order in which it happened."""

    kind: EventKind
    key: TaskKey | None
    """Task; None for hello and gone."""
    rank: int
    seconds: float
    """Monotonic clock of the queue's machine, for differences."""
    payload: Any = None
    """epoch: what the fold reported; done: its result; failed: list of reasons; hello: process id."""


class Ledger:
    """Tasks, workers and events of a pool; the first argument of every call is when it came.

    Args:
        max_attempts: see `LeaseBook`.
    """

    def __init__(self, max_attempts: int) -> None:
        self._book = LeaseBook(max_attempts)
        self.events: list[Event] = []
        self.closed = False

    @property
    def present(self) -> list[int]:
        """Ranks of the workers that are there."""
        return self._book.present

    def is_leaving(self, rank: int) -> bool:
        """See `LeaseBook.is_leaving`."""
        return self._book.is_leaving(rank)

    def submit(self, seconds: float, tickets: Sequence[Ticket]) -> None:
        """Add tasks."""
        for ticket in tickets:
            self._book.submit(ticket)

    def hello(self, seconds: float, rank: int, token: str, process_id: int) -> None:
        """A worker's loop starts; saying it twice changes nothing."""
        if self._book.knows(rank, token):
            return
        if rank in self._book.present:
            self._record("gone", seconds, rank)
        failed = self._book.hello(rank, token)
        self._record("hello", seconds, rank, payload=process_id)
        for key, history in failed.items():
            self._record("failed", seconds, rank, key, history)

    def lost(self, seconds: float, ranks: Sequence[int]) -> None:
        """Workers whose node or group is gone."""
        for rank in ranks:
            if self._book.lost(rank):
                self._record("gone", seconds, rank)

    def leave(self, seconds: float, ranks: Sequence[int]) -> None:
        """Workers whose node will be gone soon."""
        for rank in ranks:
            self._book.leave(rank)

    def take(self, seconds: float, rank: int, token: str) -> Task | None:
        """The next task for a worker, or None.

        Raises:
            StaleWorkerError: see `LeaseBook.take`.
        """
        ticket = self._book.take(rank, token)
        if ticket is not None:
            self._record("taken", seconds, rank, ticket.key)
        return ticket

    def epochs(
        self, seconds: float, key: TaskKey, rank: int, token: str, records: Sequence[Any]
    ) -> Verdict:
        """Epochs of a task are over, one or more; what the worker shall do after the last of them."""
        verdict: Verdict = "go"
        for record in records:
            is_new, verdict = self._book.report(key, rank, token, record.epoch)
            if is_new:
                self._record("epoch", seconds, rank, key, record)
        return "stop" if self.closed else verdict

    def hand_back(
        self, seconds: float, key: TaskKey, rank: int, token: str, untold: Sequence[Any]
    ) -> None:
        """A paused task comes back, after epochs; another worker, or this one, goes on with it later."""
        self.epochs(seconds, key, rank, token, untold)
        what = self._book.hand_back(key, rank, token)
        if what == "back":
            self._record("paused", seconds, rank, key)
        elif what == "dropped":
            self._record("failed", seconds, rank, key, [CANCELLED])

    def done(
        self,
        seconds: float,
        key: TaskKey,
        rank: int,
        token: str,
        untold: Sequence[Any],
        result: Any,
    ) -> None:
        """A task has its result, and epochs before it; accepted once, from the worker that holds it."""
        self.epochs(seconds, key, rank, token, untold)
        if self._book.settle(key, rank, token):
            self._record("done", seconds, rank, key, result)

    def failed(
        self,
        seconds: float,
        key: TaskKey,
        rank: int,
        token: str,
        untold: Sequence[Any],
        reason: str,
    ) -> None:
        """A task raised inside its worker, which lives on; after the epochs before."""
        self.epochs(seconds, key, rank, token, untold)
        if self._book.settle(key, rank, token):
            self._record("failed", seconds, rank, key, [reason])

    def cancel(self, seconds: float, trial: str) -> None:
        """Stop a trial's folds."""
        for key in self._book.cancel(trial):
            self._record("failed", seconds, -1, key, [CANCELLED])

    def close(self, seconds: float, cancel: bool) -> None:
        """Let the workers' loops end: when no task is pending, or (cancel) after their current epoch."""
        if cancel:
            for trial in sorted(self._book.trials()):
                self._book.cancel(trial)
        self.closed = True

    def _record(
        self,
        kind: EventKind,
        seconds: float,
        rank: int,
        key: TaskKey | None = None,
        payload: Any = None,
    ) -> None:
        self.events.append(Event(kind, key, rank, seconds, payload))


class Journal:
    """Calls in a file of the queue's own machine, which outlives its process, not the machine.

    Args:
        path: of the file; read by nobody but the queue that wrote it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")

    def replay(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """What was written; a call that was cut off by the end of the process is dropped."""
        self._file.seek(0)
        whole = 0
        while True:
            try:
                call = pickle.load(self._file)
            except (EOFError, pickle.UnpicklingError):
                self._file.truncate(whole)
                return
            whole = self._file.tell()
            yield call

    def write(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Add a call."""
        pickle.dump((name, arguments), self._file)
        self._file.flush()
