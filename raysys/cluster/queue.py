"""The queue actor: workers pull folds from it and report to it, drivers submit and read events.

All of a pool's traffic goes through here, as small messages; `raysys.cluster.leases` holds the rules. The actor takes
no CPU and dies with the pool.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import ray

from raysys.cluster.leases import LeaseBook, StaleWorkerError, TaskKey, Ticket, Verdict

CANCELLED = "cancelled"
"""Reason of a task that was dropped before it ended."""
EventKind = Literal["hello", "taken", "epoch", "paused", "done", "failed"]


@dataclass(frozen=True)
class Event:
    """Something that happened to a worker or a task, in the order in which it happened."""

    kind: EventKind
    key: TaskKey | None
    """Task; None for hello."""
    rank: int
    seconds: float
    """Wall clock of the queue, for differences."""
    payload: Any = None
    """epoch: what the fold reported; done: its result; failed: list of reasons; hello: process id."""


@dataclass(frozen=True)
class Pulled:
    """Answer to a pull."""

    verdict: Literal["task", "idle", "closed", "stale"]
    ticket: Any = None
    """A `Ticket`, with the verdict task."""


@dataclass
class _State:
    book: LeaseBook
    events: list[Event] = field(default_factory=list)
    closed: bool = False


class FoldQueue:
    """See the module; made into an actor by `start_queue`."""

    def __init__(self, max_attempts: int) -> None:
        self._state = _State(LeaseBook(max_attempts))
        self._shared: dict[str, list[ray.ObjectRef]] = {}
        self._changed = asyncio.Condition()

    async def share(self, key: str, references: list[ray.ObjectRef]) -> None:
        """Keep what tasks share, as a list of one reference; an empty one drops it."""
        self._shared[key] = references

    async def shared(self, key: str) -> list[ray.ObjectRef]:
        """What tasks share."""
        return self._shared[key]

    async def submit(self, tickets: Sequence[Ticket]) -> None:
        """Add tasks."""
        for ticket in tickets:
            self._state.book.submit(ticket)
        await self._notify()

    async def hello(self, rank: int, token: str, process_id: int) -> None:
        """A worker's loop starts."""
        failed = self._state.book.hello(rank, token)
        self._record("hello", None, rank, process_id)
        for key, history in failed.items():
            self._record("failed", key, rank, history)
        await self._notify()

    async def pull(self, rank: int, token: str, wait_seconds: float) -> Pulled:
        """The next task for a worker; waits a bounded time for one."""
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                ticket = self._state.book.take(rank, token)
            except StaleWorkerError:
                return Pulled("stale")
            if ticket is not None:
                self._record("taken", ticket.key, rank)
                await self._notify()
                return Pulled("task", ticket)
            if self._state.closed:
                return Pulled("closed")
            if not await self._wait_until(deadline):
                return Pulled("idle")

    async def epoch(self, key: TaskKey, rank: int, token: str, record: Any) -> Verdict:
        """An epoch of a task is over; the answer tells the worker what to do."""
        is_new, verdict = self._state.book.report(key, rank, token, record.epoch)
        if is_new:
            self._record("epoch", key, rank, record)
            await self._notify()
        return "stop" if self._state.closed else verdict

    async def hand_back(self, key: TaskKey, rank: int, token: str) -> None:
        """A paused task comes back; another worker, or this one, goes on with it later."""
        if self._state.book.hand_back(key, rank, token):
            self._record("paused", key, rank)
        else:
            self._record("failed", key, rank, [CANCELLED])
        await self._notify()

    async def done(self, key: TaskKey, rank: int, token: str, result: Any) -> None:
        """A task has its result; accepted once, from the worker that holds it."""
        if self._state.book.settle(key, rank, token):
            self._record("done", key, rank, result)
            await self._notify()

    async def failed(self, key: TaskKey, rank: int, token: str, reason: str) -> None:
        """A task raised inside its worker, which lives on."""
        if self._state.book.settle(key, rank, token):
            self._record("failed", key, rank, [reason])
            await self._notify()

    async def events(self, first: int, wait_seconds: float) -> list[Event]:
        """Events from number `first` on; waits a bounded time for one."""
        deadline = time.monotonic() + wait_seconds
        while len(self._state.events) <= first and await self._wait_until(deadline):
            pass
        return self._state.events[first:]

    async def cancel(self, trial: str) -> None:
        """Stop a trial's folds."""
        for key in self._state.book.cancel(trial):
            self._record("failed", key, -1, [CANCELLED])
        await self._notify()

    async def close(self, cancel: bool = False) -> None:
        """Let the workers' loops end: when no task is pending, or (cancel) after their current epoch."""
        if cancel:
            for trial in self._state.book.trials():
                self._state.book.cancel(trial)
        self._state.closed = True
        await self._notify()

    def _record(self, kind: EventKind, key: TaskKey | None, rank: int, payload: Any = None) -> None:
        self._state.events.append(Event(kind, key, rank, time.monotonic(), payload))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait_until(self, deadline: float) -> bool:
        """Wait for any change; False when the deadline has passed."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return False
        return True


def start_queue(max_attempts: int) -> Any:
    """Start the actor; it lives as long as the returned handle."""
    options = {"num_cpus": 0, "max_restarts": 0, "max_concurrency": 10_000}
    return ray.remote(FoldQueue).options(**options).remote(max_attempts)
