"""What every command that trains needs around its trials: Ray, one pool, the aggregation actor, the baselines."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console
from threadpoolctl import threadpool_limits

from raysys.background import Background
from raysys.cluster.aggregator import RunningAggregator, running_aggregator
from raysys.cluster.pool import STANDING, FoldPool
from raysys.cluster.session import ray_session
from raysys.cluster.sharing import marker_in
from raysys.cluster.worker import Work
from raysys.config import Config
from raysys.config.running import ClusterConfig
from raysys.encoders.encoder import own_frames
from raysys.running.gpu_share import idle_gpus, idle_together
from raysys.running.plan import Plan
from raysys.settings import require
from raysys.storage import resolve_folder
from raysys.tasks.baseline import Baseline, pool_over_time
from raysys.training.fold import run_fold, run_fold_together
from raysys.trials.trial import TrialOutcome

Scores = Sequence[Mapping[str, float]]
"""One dict a fold."""


class Baselines:
    """The simple baselines for every set of modalities and share of the train parts, fitted one after the other.

    Args:
        plan: data and folds.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._background = Background("baselines")
        self._found: dict[tuple[Any, ...], Future[list[Baseline]]] = {}

    def begin(self, config: Config) -> None:
        """Fit those on what a configuration reads and trains on, unless that has begun."""
        key = _key(config)
        if key not in self._found:
            self._found[key] = self._background.do(partial(self._fit, config))

    def of(self, config: Config, console: Console | None = None) -> list[Baseline]:
        """The one that tables show first; waits for them, and says so."""
        self.begin(config)
        found = self._found[_key(config)]
        if console is not None and not found.done():
            console.print(f"folds done; {self._plan.task.baseline_name} is still being tuned")
        return found.result()

    def _fit(self, config: Config) -> list[Baseline]:
        plan = self._plan
        features = {
            m: map(own_frames, plan.data.features[m])
            if m in plan.data.tops
            else plan.data.features[m]
            for m in config.model.modalities
        }
        choose, folds = plan.config.selects.name, plan.folds_of(config)
        with threadpool_limits(1):  # workers may have all other cores
            return plan.task.baselines(
                pool_over_time(features), plan.data.targets, folds, choose=choose
            )


def _key(config: Config) -> tuple[Any, ...]:
    """What baselines depend on."""
    training = config.training
    return config.model.modalities, training.share, training.share_of


@dataclass(frozen=True)
class Session:
    """Open for as long as a command has trials."""

    plan: Plan
    pool: FoldPool
    baselines: Baselines
    connecting: float
    """`time.monotonic()` before Ray was connected."""
    _aggregator: RunningAggregator

    def aggregate(self, outcome: TrialOutcome) -> Any:
        """What the test embeddings of a COMPLETE trial come to; None for tasks that have no such thing."""
        found = self._aggregator.summary({fold.key: fold.folder for fold in outcome.folds})
        measured: dict[int, list[Any]] = {}
        for fold in sorted(outcome.folds, key=lambda one: one.key):
            measured.setdefault(fold.fold, []).append(fold.measured)
        return self.plan.task.with_measured(found, measured)


def _work(together: int) -> Work:
    """What workers do that train so many folds at a time."""
    return run_fold if together == 1 else run_fold_together


@contextmanager
def open_session(plan: Plan, *, most_tasks: int) -> Iterator[Session]:
    """Connect to Ray and start the pool.

    Args:
        plan: what all trials share.
        most_tasks: folds that can be there at the same time; no more workers are started.

    Raises:
        PoolError: Ray cannot be reached.
    """
    config, connecting = plan.config, time.monotonic()
    together = config.training.together
    aggregation = plan.task.aggregation(config.similarity, config.seed, plan.speakers)
    runs = resolve_folder(config.storage.runs)
    with (
        ray_session(config.cluster),
        running_aggregator(aggregation) as aggregator,
        marker_in(runs) as marker,
    ):
        if note := idle_gpus(config) or idle_together(config):
            print(note, file=sys.stderr)
        lent: AbstractContextManager[FoldPool]
        stands = STANDING.get()
        if stands is not None and stands[0] == config.cluster:
            there = stands[1].together
            rule = f"{there} within standing_pool, or another pool: standing_pool(..., together=N)"
            require(together == there, "training.together", together, rule)
            lent = stands[1].lend(shared=plan.data)
        else:
            lent = FoldPool(
                _work(together),
                config.cluster,
                most_tasks=most_tasks,
                shared=plan.data,
                together=together,
                marker=marker,
            )
        with lent as pool:
            yield Session(plan, pool, Baselines(plan), connecting, aggregator)


@contextmanager
def standing_pool(config: ClusterConfig, *, together: int = 1) -> Iterator[None]:
    """One pool for all commands inside whose `cluster` settings are these: they start at once.

    For several commands in a row, as in raysys/PYTHON.md; Ray stays connected.

    Args:
        config: of the cluster and its workers.
        together: `training.together` of the commands inside.

    Raises:
        ConfigError: `cluster.gpus_per_fold` is auto, which is measured for each command's own folds.
        PoolError: Ray cannot be reached.
    """
    require(config.gpus_per_fold != "auto", "cluster.gpus_per_fold", "auto", "a number")
    with (
        ray_session(config),
        FoldPool(_work(together), config, most_tasks=sys.maxsize, together=together) as pool,
    ):
        token = STANDING.set((config, pool))
        try:
            yield
        finally:
            STANDING.reset(token)
