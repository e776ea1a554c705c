"""Where the wall time of a command went."""

import heapq
from collections.abc import Sequence


def account_seconds(
    durations: Sequence[float],
    *,
    total: float,
    startup: float,
    wall: float,
    workers: int,
    apart: bool = True,
) -> dict[str, float]:
    """Compare the folds' wall time with a good schedule of their training seconds, the longest first.

    Args:
        durations: training seconds of each fold, in this command.
        total: seconds of the whole command.
        startup: seconds from connecting to Ray to the first fold's start.
        wall: seconds from the first fold's start to the last one's end.
        workers: folds that could run at the same time.
        apart: no fold's seconds hold those of others, as they do of folds that one process trains together.

    Returns:
        total, startup, training (sum over the folds), overhead (wall less that schedule), efficiency (that
        schedule / wall, at most 1; NaN where no fold was left to train, or not `apart`), workers.
    """
    ideal = schedule_seconds(durations, workers)
    trained = apart and wall > 0 and sum(durations) > 0
    return {
        "total": total,
        "startup": startup,
        "training": sum(durations),
        "overhead": max(0.0, wall - ideal),
        "efficiency": min(1.0, ideal / wall) if trained else float("nan"),
        "workers": workers,
    }


def schedule_seconds(durations: Sequence[float], workers: int) -> float:
    """Time in which workers do tasks of these durations, the longest first, in the same unit.

    Graham 1969 ("Bounds on multiprocessing timing anomalies", SIAM Journal on Applied Mathematics 17): at most 4/3 of
    the shortest possible time.
    """
    loads = [0.0] * workers
    for duration in sorted(durations, reverse=True):
        heapq.heapreplace(loads, loads[0] + duration)
    return max(loads)
