"""What every command that trains needs around its trials: Ray, one pool, the aggregation actor, the baselines.

Plan -> Session: runner (-> outcomes), finish (outcome -> opened result)
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from rich.console import Console

from raysys.background import Background
from raysys.cluster.aggregator import RunningAggregator, running_aggregator
from raysys.cluster.pool import FoldPool
from raysys.cluster.session import ray_session
from raysys.config.running import ClusterConfig
from raysys.experiments.plan import Plan
from raysys.predictions import Predictions, read_predictions
from raysys.report.results import FoldScores, RunIds, TrialResult, write_result
from raysys.report.statistics import mean_and_std
from raysys.storage import Folder
from raysys.tasks.baseline import pool_over_time
from raysys.tasks.exhibits import Exhibit
from raysys.tasks.task import shown
from raysys.training.arithmetic import warm_up
from raysys.training.fold import run_fold
from raysys.training.records import FoldResult
from raysys.trials.trial import TrialOutcome

Scores = Sequence[Mapping[str, float]]
"""One dict a fold."""
_STANDING: ContextVar[tuple[ClusterConfig, FoldPool] | None] = ContextVar("pool", default=None)
"""What `standing_pool` opened, and for which settings."""


class Baselines:
    """The simple rival for every set of modalities, fitted one after the other beside the folds.

    Args:
        plan: data and folds.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._background = Background("baselines")
        self._scores: dict[tuple[str, ...], Future[list[dict[str, float]]]] = {}

    def begin(self, modalities: tuple[str, ...]) -> None:
        """Fit it, unless that has begun."""
        if modalities not in self._scores:
            self._scores[modalities] = self._background.do(partial(self._fit, modalities))

    def of(self, modalities: tuple[str, ...], console: Console | None = None) -> Scores:
        """Test scores, one dict a fold; waits for them, and says so."""
        self.begin(modalities)
        if console is not None and not self._scores[modalities].done():
            console.print(f"folds done; {self._plan.task.baseline_name} is still being fitted")
        return self._scores[modalities].result()

    def _fit(self, modalities: tuple[str, ...]) -> list[dict[str, float]]:
        plan = self._plan
        pooled = pool_over_time({m: plan.data.features[m] for m in modalities})
        return [plan.task.baseline(pooled, plan.data.targets, fold) for fold in plan.folds]


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
        return self._aggregator.summary(
            outcome.name, {fold.fold: fold.folder for fold in outcome.folds}
        )

    def forget(self, trial: str) -> None:
        """Nobody will ask for the aggregate of a trial."""
        self._aggregator.drop(trial)


@contextmanager
def open_session(plan: Plan, folder: Folder, *, most_tasks: int) -> Iterator[Session]:
    """Connect to Ray and start the pool.

    Args:
        plan: what all trials share.
        folder: of the run.
        most_tasks: folds that can be there at the same time; no more workers are started.

    Raises:
        PoolError: Ray cannot be reached.
    """
    config, connecting = plan.config, time.monotonic()
    aggregation = plan.task.aggregation(config.similarity, config.seed)
    with ray_session(config.cluster), running_aggregator(aggregation) as aggregator:
        lent: AbstractContextManager[FoldPool]
        stands = _STANDING.get()
        if stands is not None and stands[0] == config.cluster:
            lent = stands[1].lend(shared=plan.data, deliver=aggregator.deliver)
        else:
            lent = FoldPool(
                run_fold,
                config.cluster,
                folder=folder / ".pool",
                most_tasks=most_tasks,
                shared=plan.data,
                deliver=aggregator.deliver,
                warm_up=warm_up,
            )
        with lent as pool:
            yield Session(plan, pool, Baselines(plan), connecting, aggregator)


@contextmanager
def standing_pool(config: ClusterConfig, folder: Folder) -> Iterator[None]:
    """One pool for all commands inside whose `cluster` settings are these: they start at once.

    For notebooks, and for several commands in a row; Ray stays connected.

    Args:
        config: of the cluster and its workers.
        folder: for Ray Train's own state.
    """
    with (
        ray_session(config),
        FoldPool(run_fold, config, folder=folder, most_tasks=sys.maxsize, warm_up=warm_up) as pool,
    ):
        token = _STANDING.set((config, pool))
        try:
            yield
        finally:
            _STANDING.reset(token)


@dataclass(frozen=True)
class Opened:
    """A trial whose test predictions have been scored."""

    result: TrialResult
    shown: list[Exhibit]


def open_trial(
    plan: Plan,
    outcome: TrialOutcome,
    *,
    kind: Literal["cross_validation", "trial"],
    aggregate: Any,
    baseline: Scores,
    seconds: Mapping[str, float],
    mlflow: RunIds,
    folder: Folder,
) -> Opened:
    """Open the test predictions of a COMPLETE trial, once, and write result.json.

    Args:
        plan: of the command.
        outcome: the trial.
        kind: of the result.
        aggregate: see `Session.aggregate`.
        baseline: its test scores, one dict a fold.
        seconds: where the time went.
        mlflow: where it is logged.
        folder: of the trial.
    """
    task, config = plan.task, outcome.trial.config
    predictions = open_test(plan, outcome.folds)
    names = [metric.name for metric in shown(task.metrics)]
    selected = config.selects.name
    val_names = list(dict.fromkeys((*names, selected)))
    folds = tuple(
        FoldScores(
            one.fold,
            one.epochs,
            one.best_epoch,
            {name: one.val[name] for name in val_names},
            task.score(part.outputs, part.truth),
            dict(simple),
        )
        for one, part, simple in zip(outcome.folds, predictions, baseline, strict=True)
    )
    over = {
        "val": mean_and_std([fold.val for fold in folds], val_names),
        "test": mean_and_std([fold.test for fold in folds], names),
        "baseline": mean_and_std([fold.baseline for fold in folds], names),
    }
    summary = task.summary(predictions, plan.test_speakers, aggregate)
    result = TrialResult(
        kind=kind,
        task=task.name,
        corpus=plan.corpus.name,
        model=config.model.title,
        select=selected,
        folds=folds,
        mean={part: both.mean for part, both in over.items()},
        std={part: both.std for part, both in over.items()},
        summary=summary,
        seconds=dict(seconds),
        audit=plan.audit,
        mlflow=mlflow,
    )
    write_result(folder, result)
    exhibits = [
        *task.show_aggregate(aggregate, plan.origin),
        *task.show_summary(summary, predictions, plan.corpus.name),
    ]
    return Opened(result, exhibits)


def open_test(plan: Plan, folds: Sequence[FoldResult]) -> list[Predictions]:
    """Read stored test predictions.

    Raises:
        StorageError: they are missing or damaged.
    """
    return [read_predictions(Folder(fold.folder), plan.task.stored) for fold in folds]
