"""What the pool has done for a study so far: epochs, results and failures by trial, and how busy its workers were."""

import time
from collections import defaultdict

from raysys.cluster.pool import FoldPool
from raysys.errors import FoldFailedError


class PoolWatch:
    """Reads the pool's events, once each.

    Args:
        pool: to watch.
        required: a trial without which there is no study.
        n_folds: of each trial.
    """

    def __init__(self, pool: FoldPool, *, required: str, n_folds: int) -> None:
        self._pool = pool
        self._required = required
        self._taken: dict[int, float] = {}
        self._busy = 0.0
        self._first: float | None = None
        self._last = 0.0
        self.epochs: dict[str, int] = defaultdict(int)
        """Trial -> epochs that its folds have done, in this command."""
        self.folds = 0
        """Folds that have a result."""
        self.began: float | None = None
        """`time.monotonic()` when the first fold was seen to start."""
        self._required_left = n_folds

    def poll(self, wait_seconds: float = 0.0) -> None:
        """Take note of what has happened since the last call.

        Raises:
            PoolError: the pool has no workers, or has ended.
            FoldFailedError: a fold of the required trial failed.
        """
        for event in self._pool.poll(wait_seconds):
            if event.key is None:
                continue
            trial, fold = event.key
            if event.kind == "taken":
                if self._first is None:
                    self._first, self.began = event.seconds, time.monotonic()
                self._taken[event.rank] = event.seconds
            elif event.kind == "epoch":
                self.epochs[trial] += 1
            elif event.rank in self._taken:
                self._busy += event.seconds - self._taken.pop(event.rank)
                self._last = event.seconds
            if event.kind == "done":
                self.folds += 1
                self._required_left -= trial == self._required
            if event.kind == "failed" and trial == self._required:
                reason = "; ".join(event.payload)
                raise FoldFailedError(f"fold {fold} of the {trial} configuration failed: {reason}")

    @property
    def has_required(self) -> bool:
        """Whether the required trial has all its folds."""
        return self._required_left == 0

    @property
    def span_seconds(self) -> float:
        """From the first fold's start to the last one's end."""
        return self._last - (self._first or 0.0) if self._last else 0.0

    @property
    def utilisation(self) -> float:
        """Share of the workers' time, from the first fold's start to the last one's end, in which they had a fold."""
        return self._busy / (self.span_seconds * self._pool.workers) if self._busy else 0.0
