"""What a trial costs besides its folds: one fold pool for all trials, against a trainer started in each.

Both sides do the same trivial folds on the same cores of a local Ray, one trial after the other:

    pool    submit 5 folds, wait for 5 results                 (raysys.cluster.pool)
    nested  a Tune trial that fits a Ray Train trainer         (the pattern of Ray's hyperparameter guide)

Seconds are from the end of one trial to the end of the next, from the third trial on. Then a whole study, with Tune,
Optuna, journal and MLflow, over folds that sleep for a second: what it takes beyond the folds, and how busy the workers
are (`raysys.benchmarks.sleepy_study`).
"""

import os
import time
from typing import Any

import ray.train
import ray.tune
from ray.train import BackendConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from rich.console import Console

from raysys.benchmarks import sleepy_study
from raysys.benchmarks.sleep import Sleep
from raysys.cluster.nodes import slots
from raysys.cluster.pool import FoldPool
from raysys.cluster.session import ray_session
from raysys.config.running import ClusterConfig
from raysys.storage import Folder
from raysys.tasks.classification import Classification
from raysys.training.records import FoldResult, FoldTask

_FOLDS = 5
_FIRST_COUNTED = 2
_POOL_TRIALS = 30
_NESTED_TRIALS = 5
_TRIAL_CPUS = 0.01
_TUNE = {
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",  # below it, a trial that ends slowly hangs Tuner.fit
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}
"""Environment of the side that Ray's guide describes, whose trials are Tune's."""
_SLEEP = Sleep(epochs=10, epoch_seconds=0.1, stored=Classification.stored)


def trivial_work(task: FoldTask, shared: None, on_epoch: Any) -> FoldResult:
    """What every real fold needs, its imports, and nothing else."""
    import raysys.training.fold  # noqa: F401

    return FoldResult(task.trial, task.fold, 0, 0, {}, (), "")


def measure(console: Console, folder: Folder) -> dict[str, Any]:
    """Run both sides.

    Args:
        console: for progress.
        folder: scratch space.

    Returns:
        Seconds per trial of both sides and their ratio (nested / pool).
    """
    os.environ.update(_TUNE)
    with ray_session(ClusterConfig()):
        cores = slots(ClusterConfig())
        console.print(f"pool: {_POOL_TRIALS} trials of {_FOLDS} trivial folds on {cores} workers")
        pool = _per_trial(_pool_ends(cores))
        console.print(f"nested: {_NESTED_TRIALS} trials of the same folds, a trainer in each")
        nested = _per_trial(_nested_ends(folder / "nested", cores))
        study = sleepy_study.measure(
            console, folder / "study", ClusterConfig(workers=cores), trials=12, sleep=_SLEEP
        )
    return {
        "workers": cores,
        "pool_seconds_per_trial": pool,
        "nested_seconds_per_trial": nested,
        "ratio": nested / pool,
        "study_overhead_seconds_per_trial": study.overhead_seconds,
        "study_worker_utilisation": study.utilisation,
    }


def _per_trial(ends: list[float]) -> float:
    """Mean seconds a trial, from the third on."""
    return (ends[-1] - ends[_FIRST_COUNTED - 1]) / (len(ends) - _FIRST_COUNTED)


def _pool_ends(cores: int) -> list[float]:
    ends: list[float] = []
    config = ClusterConfig(workers=cores)
    with FoldPool(trivial_work, config, most_tasks=cores) as pool:
        events = pool.events()
        for trial in range(_POOL_TRIALS):
            pool.submit([FoldTask(str(trial), fold, None, "") for fold in range(_FOLDS)])
            left = _FOLDS
            while left:
                left -= sum(event.kind == "done" for event in next(events))
            ends.append(time.monotonic())
    return ends


def _nested_ends(folder: Folder, cores: int) -> list[float]:
    place = folder.path()

    def trial(config: dict[str, Any]) -> None:
        def train(settings: dict[str, Any]) -> None:
            rank = ray.train.get_context().get_world_rank()
            for fold in range(rank, _FOLDS, cores):
                trivial_work(FoldTask("", fold, None, ""), None, None)

        cpus = 1 - _TRIAL_CPUS  # the trial's own actor needs a place besides its workers
        DataParallelTrainer(
            train,
            train_loop_config={},
            backend_config=BackendConfig(),
            scaling_config=ScalingConfig(num_workers=cores, resources_per_worker={"CPU": cpus}),
            run_config=ray.train.RunConfig(name=f"nested-{time.time_ns()}", storage_path=place),
        ).fit()
        ray.tune.report({"ended": time.time()})

    results = ray.tune.Tuner(
        ray.tune.with_resources(trial, {"CPU": _TRIAL_CPUS}),
        tune_config=ray.tune.TuneConfig(
            num_samples=_NESTED_TRIALS, max_concurrent_trials=1, reuse_actors=True
        ),
        run_config=ray.tune.RunConfig(name="nested", storage_path=place, verbose=0),
    ).fit()
    return sorted(float(result.metrics["ended"]) for result in results)
