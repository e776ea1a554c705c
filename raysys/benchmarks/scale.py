"""Many workers and many trials on one machine: workers that sleep their epochs, everything else real.

What a study costs besides its training must stay small, and grow no faster than the number of its trials.
"""

import os
from typing import Any

from rich.console import Console

from raysys.benchmarks.sleep import Sleep
from raysys.benchmarks.sleepy_study import Measured
from raysys.benchmarks.sleepy_study import measure as measure_study
from raysys.cluster.session import ray_session
from raysys.config.running import ClusterConfig
from raysys.storage import Folder
from raysys.tasks.classification import Classification

_SLEEP = Sleep(epochs=10, epoch_seconds=1.0, stored=Classification.stored)
_STUDIES = ((16, 50), (64, 100), (64, 1000))
"""Workers and trials; the last two show how a study grows. On two cores, what 64 workers say each second fills
the machine: what the first one shows is nearer to a cluster, whose workers have machines of their own."""


def measure(console: Console, folder: Folder) -> dict[str, Any]:
    """Run the studies, the small one first.

    Args:
        console: for progress.
        folder: scratch space.

    Returns:
        For each: utilisation of the workers, share of a core that queue, aggregation actor and driver took, their
        memory, seconds a trial, and how many of the machine's cores were busy, also while all workers wait; and the
        last one's figures as multiples of the one's before, where the number of trials is ten times as large.
    """
    found: list[Measured] = []
    # Ray Train asks every worker whether it is well: here all of them would answer on one machine, every second.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "10")
    for workers, trials in _STUDIES:
        cluster = ClusterConfig(workers=workers, cpus_per_fold=0.01)
        scratch = folder / f"{workers}_{trials}"
        with ray_session(cluster):
            found.append(measure_study(console, scratch, cluster, trials=trials, sleep=_SLEEP))
            console.print(figures(found[-1]))
    names = [f"{workers} workers, {trials} trials" for workers, trials in _STUDIES]
    small, large = found[-2:]
    return {
        **dict(zip(names, map(figures, found), strict=True)),
        "growth": {
            "trials": large.trials / small.trials,
            "span": large.span_seconds / small.span_seconds,
            **{
                f"cpu_{name}": large.cpu_seconds[name] / small.cpu_seconds[name]
                for name in small.cpu_seconds
            },
            **{
                f"memory_{name}": large.memory_mb[name] / small.memory_mb[name]
                for name in small.memory_mb
            },
        },
    }


def figures(one: Measured) -> dict[str, Any]:
    """Figures of one study, rounded."""
    return {
        "utilisation": round(one.utilisation, 3),
        "overhead_seconds_per_trial": round(one.overhead_seconds, 3),
        "share_of_a_core": {
            name: round(seconds / one.span_seconds, 4) for name, seconds in one.cpu_seconds.items()
        },
        "memory_mb": {name: round(megabytes) for name, megabytes in one.memory_mb.items()},
        "cores_busy": round(one.cores_busy, 2),
        "cores_busy_while_workers_wait": round(one.cores_waiting, 2),
    }
