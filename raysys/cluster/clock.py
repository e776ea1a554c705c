"""How busy a pool's workers are."""

import time

from raysys.cluster.queue import Event


class PoolClock:
    """Takes a pool's events and adds up the time for which workers had a fold."""

    def __init__(self) -> None:
        self._taken: dict[int, float] = {}
        self._busy = 0.0
        self._first: float | None = None
        self._last = 0.0
        self.began: float | None = None
        """`time.monotonic()` when the first fold was seen to start."""

    def take(self, event: Event) -> None:
        """The next event."""
        if event.kind == "taken":
            if self._first is None:
                self._first, self.began = event.seconds, time.monotonic()
            self._taken[event.rank] = event.seconds
        elif event.kind in ("done", "failed", "paused") and event.rank in self._taken:
            self._busy += event.seconds - self._taken.pop(event.rank)
            self._last = event.seconds

    @property
    def span_seconds(self) -> float:
        """From the first fold's start to the last one's end."""
        return self._last - (self._first or 0.0) if self._last else 0.0

    def utilisation(self, workers: int) -> float:
        """Share of the workers' time, from the first fold's start to the last one's end, in which they had a fold."""
        return self._busy / (self.span_seconds * workers) if self._busy else 0.0
