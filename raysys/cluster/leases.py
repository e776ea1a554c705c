"""The rules by which folds are handed to workers that may die, without Ray: who holds what, and what happens then.

A task is pending, leased, done or failed. A worker is a rank with a token of its own; a new token for a rank means that
the old worker is dead, and what it held goes back to the front.

    submit -> pending -> take -> leased -> settle -> done or failed   (a result, or an exception inside the fold)
                 ^                  |
                 |---- hand_back ---|                     (at a milestone, while folds of its trial are behind)
                 '---- hello -------'----> failed         (too many dead workers)

Ray Train replaces the whole group when one worker dies, so a dead token does not say whose fault it was. Two rules keep
innocent folds from being failed: a death counts only if the fold made no new epoch since its last lease, and a fold's
last attempt runs alone.

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
    """The task, and who delivers its result, pickled."""
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
        self._tokens[rank] = token
        failed: dict[TaskKey, list[str]] = {}
        for key, entry in self._entries.items():
            if entry.holder is None or entry.holder[0] != rank or entry.holder[1] == token:
                continue
            entry.holder = None
            if entry.epoch > entry.epoch_at_lease:
                entry.history.clear()
            entry.history.append(f"worker {rank} died after epoch {entry.epoch}")
            if len(entry.history) >= self._max_attempts:
                self._settled.add(key)
                failed[key] = entry.history
            else:
                self._pending.append(key)
        return failed

    def take(self, rank: int, token: str) -> Task | None:
        """Lease the next task to a worker, or None when there is none for it now.

        Raises:
            StaleWorkerError: the worker has been replaced.
        """
        if self._tokens.get(rank) != token:
            raise StaleWorkerError(f"rank {rank} has another token")
        key = self._next()
        if key is None:
            return None
        self._pending.remove(key)
        entry = self._entries[key]
        entry.holder = (rank, token)
        entry.epoch_at_lease = entry.epoch
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
        return is_new, "pause" if waits else "go"

    def hand_back(self, key: TaskKey, rank: int, token: str) -> bool:
        """A worker gives back a fold that was told to pause; False when it has been cancelled meanwhile."""
        entry = self._entries[key]
        if entry.holder != (rank, token):
            return True
        entry.holder = None
        if key[0] in self._cancelled:
            self._settled.add(key)
            return False
        entry.history.clear()
        self._pending.append(key)
        return True

    def settle(self, key: TaskKey, rank: int, token: str) -> bool:
        """A worker has a result or a failure for a task; False when it no longer holds it, or it is settled."""
        entry = self._entries[key]
        if key in self._settled or entry.holder != (rank, token):
            return False
        entry.holder = None
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

    def _on_last_attempt(self, key: TaskKey) -> bool:
        deaths = len(self._entries[key].history)
        return 0 < deaths == self._max_attempts - 1

    def _is_ahead(self, key: TaskKey, epoch: int) -> bool:
        """Whether a fold of the same trial is pending and has done fewer epochs."""
        return any(
            other[0] == key[0] and self._entries[other].epoch < epoch for other in self._pending
        )

    def _next(self) -> TaskKey | None:
        """Folds returned by dead workers first, then the earliest trial, and of it the fold that is furthest behind."""
        leased = [key for key, entry in self._entries.items() if entry.holder is not None]
        if any(self._on_last_attempt(key) for key in leased):
            return None
        free = [key for key in self._pending if not self._on_last_attempt(key)]
        if free:
            return min(free, key=self._rank)
        return self._pending[0] if self._pending and not leased else None

    def _rank(self, key: TaskKey) -> tuple[bool, int, int, Any]:
        entry = self._entries[key]
        return not entry.history, entry.order, entry.epoch, key[1]
