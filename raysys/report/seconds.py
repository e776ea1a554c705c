"""Where the wall time of a command went."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from raysys.training.task import FoldResult


@dataclass(frozen=True)
class Seconds:
    """Where the wall time of a cross-validation went."""

    total: float
    startup: float
    """From connecting to Ray to the first fold's start."""
    training: float
    """Sum over the folds."""
    overhead: float
    """First fold's start to last fold's end, less the best possible schedule of the training seconds."""
    efficiency: float
    """That schedule / that wall time."""
    workers: int


def account_seconds(
    results: Sequence[FoldResult], *, total: float, startup: float, wall: float, workers: int
) -> Seconds:
    """Compare the folds' wall time with the best possible schedule of their training seconds.

    Args:
        results: finished folds.
        total: seconds of the whole command.
        startup: seconds until the first fold started.
        wall: seconds from the first fold's start to the last one's end.
        workers: folds that could run at the same time.
    """
    durations = [result.seconds for result in results]
    ideal = best_makespan(durations, workers)
    efficiency = ideal / wall if wall > 0 else float("nan")
    return Seconds(total, startup, sum(durations), wall - ideal, efficiency, workers)


def best_makespan(durations: Sequence[float], workers: int) -> float:
    """Shortest time in which workers can do tasks of these durations, in the same unit.

    Exact up to 100 000 assignments; beyond, the lower bound max(mean load, longest task).
    """
    bound = max(sum(durations) / workers, max(durations, default=0.0))
    if workers >= len(durations) or workers ** len(durations) > 100_000:
        return bound
    loads = (
        max(sum(d for d, w in zip(durations, who, strict=True) if w == k) for k in range(workers))
        for who in itertools.product(range(workers), repeat=len(durations))
    )
    return min(loads)
