"""How busy a pool's workers are."""

import time
from collections.abc import Iterable

from raysys.cluster.ledger import Event


class PoolClock:
    """Takes a pool's events and adds up the time for which there were workers, and for which they had a fold.

    Args:
        present: ranks of the workers that are there already.
    """

    def __init__(self, present: Iterable[int] = ()) -> None:
        self._present = set(present)
        self._busy: set[int] = set()
        self._at = 0.0
        self._there = self._worked = 0.0
        self._span = self._there_then = self._worked_then = 0.0
        self._first: float | None = None
        self.began: float | None = None
        """`time.monotonic()` when the first fold was seen to start."""

    def take(self, event: Event) -> None:
        """The next event."""
        if self._first is not None:
            passed = event.seconds - self._at
            self._there += passed * len(self._present | self._busy)
            self._worked += passed * len(self._busy)
        self._at = event.seconds
        if event.kind == "hello":
            self._present.add(event.rank)
        elif event.kind == "gone":
            self._present.discard(event.rank)
            self._busy.discard(event.rank)
        elif event.kind == "taken":
            if self._first is None:
                self._first, self.began = event.seconds, time.monotonic()
            self._busy.add(event.rank)
        elif event.kind in ("done", "failed", "paused") and event.rank in self._busy:
            self._busy.discard(event.rank)
            self._span = event.seconds - (self._first or 0.0)
            self._there_then, self._worked_then = self._there, self._worked

    @property
    def span_seconds(self) -> float:
        """From the first fold's start to the last one's end."""
        return self._span

    @property
    def workers(self) -> float:
        """Mean number of workers that were there in that time."""
        return self._there_then / self._span if self._span else float(len(self._present))

    @property
    def utilisation(self) -> float:
        """Share of the workers' time, from the first fold's start to the last one's end, in which they had a fold."""
        return self._worked_then / self._there_then if self._there_then else 0.0
