"""The rules by which folds are handed to workers that may die, without Ray: who holds what, and what happens then.

A task is pending, leased, done or failed. A worker is a rank with a token of its own; a new token for a rank means that
the old worker is dead, and what it held goes back to the front.

    submit -> pending -> take -> leased -> accept -> done
                 ^                  |----> reject -> failed      (an exception inside the fold)
                 '---- hello -------'----> failed                (too many dead workers)

Ray Train replaces the whole group when one worker dies, so a dead token does not say whose fault it was. Two rules keep
innocent folds from being failed: a death counts only if the fold made no new epoch since its last lease, and a fold's
last attempt runs alone.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

TaskKey = tuple[str, int]
"""(trial, fold)."""


class Task(Protocol):
    """Anything with a key."""

    @property
    def key(self) -> TaskKey:
        """What identifies it."""
        ...


class StaleWorkerError(Exception):
    """The call comes from a worker that has been replaced."""


@dataclass
class _Entry:
    task: Task
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
        self._pending: deque[TaskKey] = deque()
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
            self._entries[task.key] = _Entry(task)
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
                self._pending.appendleft(key)
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

    def report(self, key: TaskKey, rank: int, token: str, epoch: int) -> tuple[bool, bool]:
        """A worker has finished an epoch.

        Returns:
            (whether this epoch is new, whether the worker shall go on).
        """
        entry = self._entries[key]
        if entry.holder != (rank, token):
            return False, False
        is_new = epoch > entry.epoch
        entry.epoch = max(entry.epoch, epoch)
        return is_new, key[0] not in self._cancelled

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

    def _next(self) -> TaskKey | None:
        leased = [key for key, entry in self._entries.items() if entry.holder is not None]
        if any(self._on_last_attempt(key) for key in leased):
            return None
        for key in self._pending:
            if not self._on_last_attempt(key):
                return key
        return self._pending[0] if self._pending and not leased else None
