"""What every command that trains needs around its trials: Ray, one pool, the aggregation actor, the baselines.

Plan -> Session: pool, aggregation, baselines;   TrialOutcome -> open_trial -> result, what is shown of it
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits

from raysys.background import Background
from raysys.cluster.aggregator import RunningAggregator, running_aggregator
from raysys.cluster.pool import STANDING, FoldPool
from raysys.cluster.session import ray_session
from raysys.config.running import ClusterConfig
from raysys.corpus.folds import FoldKey
from raysys.encoders.encoder import own_frames
from raysys.experiments.attention import show_attention
from raysys.experiments.plan import Plan
from raysys.predictions import Predictions, read_predictions
from raysys.report.cost import cost_of
from raysys.report.groups import by_group
from raysys.report.results import RunIds, TrialResult, write_result
from raysys.report.scores import (
    BaselineResult,
    Difference,
    FoldScores,
    GroupScores,
    PartScores,
)
from raysys.report.statistics import (
    bootstrap_difference,
    mean_and_std,
    part_scores,
    seed_difference,
)
from raysys.report.utterances import PARQUET, predictions_files, predictions_table
from raysys.sealed import digests_of
from raysys.storage import Folder
from raysys.tasks.baseline import Baseline, pool_over_time
from raysys.tasks.exhibits import Exhibit, File
from raysys.tasks.resampling import Over
from raysys.tasks.task import Task, shown
from raysys.training.bundle import load_bundle
from raysys.training.fold import run_fold
from raysys.training.records import FoldResult
from raysys.trials.trial import TrialOutcome

Scores = Sequence[Mapping[str, float]]
"""One dict a fold."""


class Baselines:
    """The simple rivals for every set of modalities, fitted one after the other beside the folds.

    Args:
        plan: data and folds.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._background = Background("baselines")
        self._found: dict[tuple[str, ...], Future[list[Baseline]]] = {}

    def begin(self, modalities: tuple[str, ...]) -> None:
        """Fit them, unless that has begun."""
        if modalities not in self._found:
            self._found[modalities] = self._background.do(partial(self._fit, modalities))

    def of(self, modalities: tuple[str, ...], console: Console | None = None) -> list[Baseline]:
        """The one that tables show first; waits for them, and says so."""
        self.begin(modalities)
        if console is not None and not self._found[modalities].done():
            console.print(f"folds done; {self._plan.task.baseline_name} is still being tuned")
        return self._found[modalities].result()

    def _fit(self, modalities: tuple[str, ...]) -> list[Baseline]:
        plan = self._plan
        features = {
            m: map(own_frames, plan.data.features[m])
            if m in plan.data.tops
            else plan.data.features[m]
            for m in modalities
        }
        choose = plan.config.selects.name
        with threadpool_limits(1):  # workers may have all other cores
            return plan.task.baselines(
                pool_over_time(features), plan.data.targets, plan.folds, choose=choose
            )


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
    aggregation = plan.task.aggregation(config.similarity, config.seed, plan.speakers)
    with ray_session(config.cluster), running_aggregator(aggregation) as aggregator:
        lent: AbstractContextManager[FoldPool]
        stands = STANDING.get()
        if stands is not None and stands[0] == config.cluster:
            lent = stands[1].lend(shared=plan.data)
        else:
            lent = FoldPool(
                run_fold,
                config.cluster,
                most_tasks=most_tasks,
                shared=plan.data,
            )
        with lent as pool:
            yield Session(plan, pool, Baselines(plan), connecting, aggregator)


@contextmanager
def standing_pool(config: ClusterConfig) -> Iterator[None]:
    """One pool for all commands inside whose `cluster` settings are these: they start at once.

    For several commands in a row, as in raysys/README.md; Ray stays connected.

    Args:
        config: of the cluster and its workers.
    """
    with (
        ray_session(config),
        FoldPool(run_fold, config, most_tasks=sys.maxsize) as pool,
    ):
        token = STANDING.set((config, pool))
        try:
            yield
        finally:
            STANDING.reset(token)


@dataclass(frozen=True)
class Opened:
    """A trial whose test predictions have been scored."""

    result: TrialResult
    shown: list[Exhibit]
    predictions: Mapping[FoldKey, Predictions]


def open_trial(
    plan: Plan,
    outcome: TrialOutcome,
    *,
    kind: Literal["cross_validation", "trial"],
    aggregate: Any,
    baselines: Sequence[Baseline],
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
        baselines: the simple rivals, the one that tables show first.
        seconds: where the time went.
        mlflow: where it is logged.
        folder: of the trial.
    """
    task, config, seeds = plan.task, outcome.trial.config, outcome.trial.seeds
    opened, baseline = open_test(plan, outcome.folds), baselines[0].test
    names = [metric.name for metric in shown(task.metrics)]
    first = next(iter(opened.values()))
    known = task.score(first.outputs, first.truth)
    scored = [metric.name for metric in task.metrics if metric.name in known]
    val_names = list(dict.fromkeys((*names, config.selects.name)))
    folds = {
        one.key: _score_fold(task, one, opened[one.key], baseline[one.fold], val_names)
        for one in outcome.folds
    }
    over = _score_parts(folds, scored, names, val_names)
    predictions = list(opened.values())
    summary = task.summary(
        predictions,
        plan.test_speakers * len(seeds),
        aggregate,
        baseline,
        targets=plan.data.targets,
        rows=plan.test_rows(len(seeds)),
    )
    table = predictions_files(predictions_table(task, plan.corpus, plan.folds, opened))
    write_files(folder, table)
    result = TrialResult(
        kind=kind,
        task=task.name,
        corpus=plan.corpus.name,
        model=config.model.title,
        select=config.selects.name,
        keep=config.training.keep,
        seeds=tuple(seeds),
        folds=tuple(folds.values()),
        mean={part: scores.mean for part, scores in over.items()},
        std={part: scores.std for part, scores in over.items()},
        seed_std={part: over[part].seed_std for part in ("val", "test")},
        ensemble=score_ensemble(task, opened, names) if len(seeds) > 1 else None,
        summary=summary,
        files=digests_of(folder, [PARQUET]),
        groups=score_groups(plan, predictions),
        cost=cost_of(outcome.folds, plan.encoders, config.model.modalities),
        baselines=tuple(compare_baseline(plan, one, folds, opened, names) for one in baselines),
        seconds=dict(seconds),
        audit=plan.audit,
        mlflow=mlflow,
    )
    write_result(folder, result)
    exhibits = [
        *task.show_aggregate(aggregate, plan.origin),
        *task.show_summary(summary, predictions, plan.corpus.name),
        *show_attention(plan, config, outcome.folds, opened),
        *_show_model(task, outcome.folds),
        *table,
    ]
    return Opened(result, exhibits, opened)


def score_groups(plan: Plan, predictions: Sequence[Predictions]) -> tuple[GroupScores, ...]:
    """Scores by the columns of the corpus.

    Args:
        plan: of the command.
        predictions: of every fold's test part, seed by seed.
    """
    seeds = len(predictions) // len(plan.folds)
    return by_group(
        plan.task,
        plan.corpus,
        plan.test_rows(seeds),
        np.concatenate([part.outputs for part in predictions]),
        np.concatenate([part.truth for part in predictions]),
        columns=plan.config.tracking.groups,
        seed=plan.config.seed,
    )


def write_files(folder: Folder, files: Sequence[File]) -> None:
    """Those of a report that are Parquet, in the run folder too."""
    for one in files:
        if isinstance(one.content, bytes):
            folder.write_bytes(one.path, one.content)


def compare_baseline(
    plan: Plan,
    baseline: Baseline,
    folds: Mapping[FoldKey, FoldScores],
    opened: Mapping[FoldKey, Predictions],
    names: Sequence[str],
) -> BaselineResult:
    """A baseline's scores, and what the model is above it on the same folds.

    Args:
        plan: of the command.
        baseline: a simple rival.
        folds: the model's scores, of every training.
        opened: its test predictions.
        names: of the scores to keep.
    """
    over = mean_and_std(baseline.test, names)
    seeds, numbers = (sorted(set(column)) for column in zip(*folds, strict=True))
    differences = {}
    for name in names:
        own = np.array([[folds[seed, k].test[name] for k in numbers] for seed in seeds])
        other = np.broadcast_to([one[name] for one in baseline.test], own.shape)
        differences[name] = seed_difference(own, other, folds=plan.folds)
    over_units = compare_on_test(plan, opened, baseline.outputs, names)
    return BaselineResult(
        baseline.name,
        baseline.fitted_on,
        baseline.settings,
        over.mean,
        over.std,
        differences,
        *over_units,
    )


def compare_on_test(
    plan: Plan,
    opened: Mapping[FoldKey, Predictions],
    others: Sequence[np.ndarray],
    names: Sequence[str],
) -> tuple[dict[str, Difference], Over | None]:
    """Differences on the one test part over what was tested, and what that is; nothing with several folds.

    Args:
        plan: of the command.
        opened: test predictions, seed by seed.
        others: outputs of the other configuration on the same part, seed by seed.
        names: of the scores.
    """
    units = plan.tested_units
    if units is None or not others:
        return {}, None
    parts = list(opened.values())
    ours, seed = [part.outputs for part in parts], plan.config.seed
    truth = parts[0].truth
    found = bootstrap_difference(plan.task, ours, others, truth, units, names=names, seed=seed)
    return found, units.over


def _show_model(task: Task, folds: Sequence[FoldResult]) -> list[Exhibit]:
    """What the first fold's model looks like, where the task shows that."""
    return task.show_model(load_bundle(Folder(folds[0].folder)).model) if task.shows_model else []


def _score_parts(
    folds: Mapping[FoldKey, FoldScores],
    scored: Sequence[str],
    names: Sequence[str],
    val_names: Sequence[str],
) -> dict[str, PartScores]:
    """Scores of each part over all folds: on test all, of the others those in tables."""
    return {
        "val": part_scores({key: fold.val for key, fold in folds.items()}, val_names),
        "test": part_scores({key: fold.test for key, fold in folds.items()}, scored),
        "baseline": part_scores({key: fold.baseline for key, fold in folds.items()}, names),
    }


def _score_fold(
    task: Task,
    fold: FoldResult,
    test: Predictions,
    baseline: Mapping[str, float],
    val_names: Sequence[str],
) -> FoldScores:
    return FoldScores(
        fold.fold,
        fold.seed,
        fold.epochs,
        fold.best_epoch,
        {name: fold.val[name] for name in val_names},
        task.score(test.outputs, test.truth),
        dict(baseline),
        dict(fold.calibrated),
    )


def open_test(plan: Plan, folds: Sequence[FoldResult]) -> dict[FoldKey, Predictions]:
    """Read stored test predictions.

    Raises:
        StorageError: they are missing or damaged.
    """
    return {fold.key: read_predictions(Folder(fold.folder), plan.task.stored) for fold in folds}


def score_ensemble(
    task: Task, opened: Mapping[FoldKey, Predictions], names: Sequence[str]
) -> PartScores:
    """Scores of each fold's outputs averaged over its seeds."""
    scores = {}
    for fold in sorted({fold for _, fold in opened}):
        parts = [part for (_, k), part in sorted(opened.items()) if k == fold]
        outputs = np.mean([part.outputs for part in parts], axis=0)
        scores[0, fold] = task.score(outputs, parts[0].truth)
    return part_scores(scores, names)
