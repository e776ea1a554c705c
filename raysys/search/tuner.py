"""One search over the fold pool: Tune runs trial functions, Optuna proposes, ASHA stops, callbacks keep the books."""

import logging
import math
import tempfile
import time
from types import SimpleNamespace
from typing import Any

import ray.tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from raysys.cluster.pool import FoldPool
from raysys.config import SearchConfig
from raysys.search.callbacks import StudyCallback
from raysys.search.journal import TrialRecord
from raysys.search.searcher import StudySearcher, direction
from raysys.search.trial import FIRST, Round, run_trial

_TRIAL_CPUS = 0.001
"""Of a trial's actor, beside the pool's workers."""


class Deadline(ray.tune.Stopper):  # type: ignore[misc]
    """Stops trials at their first report after a time.

    Args:
        deadline: of `time.monotonic()`; None never stops.
    """

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to stop a trial that has not reported its last point."""
        late = self._deadline is not None and time.monotonic() > self._deadline
        return late and not result["final"]

    def stop_all(self) -> bool:
        """Never: each trial is stopped by its own report, so that its end is recorded."""
        return False


def run_trials(
    pool: FoldPool,
    searcher: StudySearcher,
    callback: StudyCallback,
    shared: Round,
    config: SearchConfig,
    *,
    max_epochs: int,
    records: list[TrialRecord],
    deadline: float | None,
) -> None:
    """Run the trials that the searcher has left.

    Args:
        pool: that does their folds.
        searcher: proposes.
        callback: keeps the books.
        shared: what the trials share.
        config: scheduler and concurrency.
        max_epochs: most epochs that a trial can have.
        records: trials of the round that have ended before, for the scheduler.
        deadline: of `time.monotonic()`, after which trials are stopped.

    Raises:
        PoolError: the pool has no workers, or has ended.
    """
    if not searcher.left:
        return
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    trainable = ray.tune.with_parameters(run_trial, queue=pool.queue, shared=shared)
    with tempfile.TemporaryDirectory() as place:
        ray.tune.Tuner(
            ray.tune.with_resources(trainable, {"CPU": _TRIAL_CPUS}),
            tune_config=ray.tune.TuneConfig(
                search_alg=searcher,
                scheduler=_scheduler(config, max_epochs, records),
                num_samples=searcher.left,
                max_concurrent_trials=concurrency(config, pool.workers, shared.n_folds),
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.config["trial"]),
            ),
            run_config=ray.tune.RunConfig(
                name="round",
                storage_path=place,
                verbose=0,
                callbacks=[callback],
                stop=Deadline(deadline),
            ),
        ).fit()


def concurrency(config: SearchConfig, workers: int, n_folds: int) -> int:
    """Trials in flight: enough that no worker waits while one trial's last folds train."""
    return config.concurrency or math.ceil(workers / n_folds) + 1


def milestones(config: SearchConfig, max_epochs: int) -> tuple[int, ...]:
    """Epochs of ASHA's rungs, below the last epoch."""
    if config.scheduler == "none":
        return ()
    rungs = []
    epoch = config.grace_epochs
    while epoch < max_epochs:
        rungs.append(epoch)
        epoch *= config.reduction_factor
    return tuple(rungs)


def most_epochs(searched: dict[str, Any], max_epochs: int, n_folds: int) -> int:
    """Epochs that the folds of a trial with these values can do at most."""
    return int(searched.get("training.max_epochs", max_epochs)) * n_folds


def _scheduler(config: SearchConfig, max_epochs: int, records: list[TrialRecord]) -> TrialScheduler:
    """ASHA, told of the trials that had ended: its own state does not outlive a command."""
    if not milestones(config, max_epochs):
        return FIFOScheduler()
    first = config.objectives[0]
    scheduler = ASHAScheduler(
        time_attr="epoch",
        metric=FIRST,
        mode=direction(first)[:3],
        max_t=max_epochs,
        grace_period=config.grace_epochs,
        reduction_factor=config.reduction_factor,
    )
    for record in records:
        stub = SimpleNamespace(trial_id=f"before/{record.name}")
        scheduler.on_trial_add(None, stub)
        for point in record.curve:
            result = {"epoch": point.epoch, FIRST: point.objectives[first]}
            scheduler.on_trial_result(None, stub, result)
    return scheduler
