"""The rules by which folds are handed to workers that may die, without Ray: who holds what, and what happens then.

A task is pending, leased, done or failed. A worker is a rank with a token of its own; a new token for a rank means that
the old worker is dead, and what it held goes back to the front.

    submit -> pending -> take -> leased -> settle -> done or failed   (a result, or an exception inside the fold)
                 ^                  |
                 |---- hand_back ---|          (at a milestone, while folds of its trial are behind; its node leaves)
                 |---- lost --------|          (its node is gone)
                 '---- hello -------'----> failed         (too many dead workers)

A worker's death counts against its fold only if the fold made no new epoch since its last lease; that of a node never.

With fewer workers than folds, a trial's mean over its folds would be known only when its last fold runs, too late to
stop anything. So a fold that reaches a milestone makes room for those of its trial that are pending and behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

TaskKey = tuple[str, Any]
"""(trial, which of its tasks); the latter can be sorted, such as (seed, fold)."""
Verdict = Literal["go", "pause", "stop"]
"""What a worker shall do after an epoch: go on, hand the fold back for a while, or stop it for good."""


class Task(Protocol):
    """Anything with a key, and perhaps milestones."""

    @property
    def key(self) -> TaskKey:
        """What identifies it."""
        ...

    @property
    def milestones(self) -> Sequence[int]:
        """Epochs at which it waits for the others of its trial."""
        ...


@dataclass(frozen=True)
class Ticket:
    """A task as the queue sees it: what is in it concerns the workers alone."""

    key: TaskKey
    milestones: tuple[int, ...]
    content: bytes
    """The task, pickled."""
    shared: str
    """What it shares with others: a key of `FoldQueue.share`."""


class StaleWorkerError(Exception):
    """The call comes from a worker that has been replaced."""


@dataclass
class _Entry:
    task: Task
    order: int
    """When its trial was first submitted."""
    holder: tuple[int, str] | None = None
    epoch: int = 0
    """Epochs reported so far, by any worker."""
    epoch_at_lease: int = 0
    returned: bool = False
    """Whether a worker lost it, so that it is first in the line."""
    history: list[str] = field(default_factory=list)
    """Why workers lost it, since its last new epoch."""


class LeaseBook:
    """State of all tasks of a pool.

    Args:
        max_attempts: workers that may die on a task, without progress between, before it fails.
    """

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts
        self._entries: dict[TaskKey, _Entry] = {}
        self._pending: list[TaskKey] = []
        self._trial_order: dict[str, int] = {}
        self._tokens: dict[int, str] = {}
        self._held: dict[tuple[int, str], TaskKey] = {}
        self._leaving: set[int] = set()
        self._settled: set[TaskKey] = set()
        self._cancelled: set[str] = set()

    @property
    def open_count(self) -> int:
        """Tasks that are pending or leased."""
        return len(self._entries) - len(self._settled)

    def submit(self, task: Task) -> None:
        """Add a task; one that is known already is ignored."""
        if task.key not in self._entries:
            order = self._trial_order.setdefault(task.key[0], len(self._trial_order))
            self._entries[task.key] = _Entry(task, order)
            self._pending.append(task.key)

    def hello(self, rank: int, token: str) -> dict[TaskKey, list[str]]:
        """A worker's loop starts. Its dead predecessor's tasks go back, or fail.

        Returns:
            The tasks that have now failed, with their history.
        """
        old = self._tokens.get(rank)
        self._tokens[rank] = token
        key = self._held.get((rank, old)) if old and old != token else None
        if key is None:
            return {}
        entry = self._release(key)
        if entry.epoch > entry.epoch_at_lease:
            entry.history.clear()
        entry.history.append(f"worker {rank} died after epoch {entry.epoch}")
        if len(entry.history) >= self._max_attempts:
            self._settled.add(key)
            return {key: entry.history}
        self._give_back(key)
        return {}

    def lost(self, rank: int) -> bool:
        """A worker is gone, by no fault of its fold, which goes back; whether it was known."""
        token = self._tokens.pop(rank, None)
        self._leaving.discard(rank)
        key = self._held.get((rank, token)) if token else None
        if key is not None:
            self._release(key)
            self._give_back(key)
        return token is not None

    def leave(self, rank: int) -> None:
        """A worker's node will be gone soon: it hands its fold back after the epoch, and takes no other."""
        self._leaving.add(rank)

    def is_leaving(self, rank: int) -> bool:
        """Whether `leave` was said of it."""
        return rank in self._leaving

    def knows(self, rank: int, token: str) -> bool:
        """Whether this is the rank's present worker."""
        return self._tokens.get(rank) == token

    @property
    def present(self) -> list[int]:
        """Ranks of the workers that are there."""
        return list(self._tokens)

    def take(self, rank: int, token: str) -> Task | None:
        """Lease the next task to a worker, or None when there is none for it now.

        A worker that holds one gets it again: it has not heard the answer.

        Raises:
            StaleWorkerError: the worker has been replaced, or its node is gone.
        """
        if self._tokens.get(rank) != token:
            raise StaleWorkerError(f"rank {rank} has another token")
        key = self._held.get((rank, token))
        if key is not None:
            return self._entries[key].task
        if not self._pending or rank in self._leaving:
            return None
        key = min(self._pending, key=self._rank)
        self._pending.remove(key)
        entry = self._entries[key]
        entry.holder, entry.returned = (rank, token), False
        entry.epoch_at_lease = entry.epoch
        self._held[rank, token] = key
        return entry.task

    def report(self, key: TaskKey, rank: int, token: str, epoch: int) -> tuple[bool, Verdict]:
        """A worker has finished an epoch.

        Returns:
            (whether this epoch is new, what the worker shall do).
        """
        entry = self._entries[key]
        if entry.holder != (rank, token):
            return False, "stop"
        is_new = epoch > entry.epoch
        entry.epoch = max(entry.epoch, epoch)
        if key[0] in self._cancelled:
            return is_new, "stop"
        waits = is_new and epoch in entry.task.milestones and self._is_ahead(key, epoch)
        return is_new, "pause" if waits or rank in self._leaving else "go"

    def hand_back(
        self, key: TaskKey, rank: int, token: str
    ) -> Literal["back", "dropped", "ignored"]:
        """A worker gives back a fold that was told to pause.

        Returns:
            back: it is pending; dropped: it has been cancelled meanwhile; ignored: the worker no longer holds it.
        """
        entry = self._entries[key]
        if entry.holder != (rank, token):
            return "ignored"
        self._release(key)
        if key[0] in self._cancelled:
            self._settled.add(key)
            return "dropped"
        entry.history.clear()
        self._pending.append(key)
        return "back"

    def settle(self, key: TaskKey, rank: int, token: str) -> bool:
        """A worker has a result or a failure for a task; False when it no longer holds it, or it is settled."""
        entry = self._entries[key]
        if key in self._settled or entry.holder != (rank, token):
            return False
        self._release(key)
        self._settled.add(key)
        return True

    def cancel(self, trial: str) -> list[TaskKey]:
        """Drop a trial's pending tasks, and let its leased ones stop at their next epoch.

        Returns:
            The tasks that were dropped.
        """
        self._cancelled.add(trial)
        dropped = [key for key in self._pending if key[0] == trial]
        for key in dropped:
            self._pending.remove(key)
            self._settled.add(key)
        return dropped

    def trials(self) -> set[str]:
        """All trials that were ever submitted."""
        return {trial for trial, _ in self._entries}

    def _release(self, key: TaskKey) -> _Entry:
        entry = self._entries[key]
        if entry.holder is not None:
            del self._held[entry.holder]
        entry.holder = None
        return entry

    def _give_back(self, key: TaskKey) -> None:
        self._entries[key].returned = True
        self._pending.append(key)

    def _is_ahead(self, key: TaskKey, epoch: int) -> bool:
        """Whether a fold of the same trial is pending and has done fewer epochs."""
        return any(
            other[0] == key[0] and self._entries[other].epoch < epoch for other in self._pending
        )

    def _rank(self, key: TaskKey) -> tuple[bool, int, int, Any]:
        """Folds that workers lost first, then the earliest trial, and of it the fold that is furthest behind."""
        entry = self._entries[key]
        return not entry.returned, entry.order, entry.epoch, key[1]
