"""Where the wall time of a command went."""

import itertools
from collections.abc import Sequence


def account_seconds(
    durations: Sequence[float], *, total: float, startup: float, wall: float, workers: int
) -> dict[str, float]:
    """Compare the folds' wall time with the best possible schedule of their training seconds.

    Args:
        durations: training seconds of each fold, in this command.
        total: seconds of the whole command.
        startup: seconds from connecting to Ray to the first fold's start.
        wall: seconds from the first fold's start to the last one's end.
        workers: folds that could run at the same time.

    Returns:
        total, startup, training (sum over the folds), overhead (wall less the best schedule), efficiency (that
        schedule / wall; NaN where no fold was left to train), workers.
    """
    ideal = best_makespan(durations, workers)
    trained = wall > 0 and sum(durations) > 0
    return {
        "total": total,
        "startup": startup,
        "training": sum(durations),
        "overhead": wall - ideal,
        "efficiency": ideal / wall if trained else float("nan"),
        "workers": workers,
    }


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
