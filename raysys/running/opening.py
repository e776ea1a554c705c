"""The one place where test predictions are opened: scores, groups, comparisons, and what is shown of them.

TrialOutcome -> open_trial -> TrialResult, exhibits
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from raysys.config import Config
from raysys.corpus.folds import FoldKey
from raysys.predicting.export import export_run
from raysys.predicting.table import answer_columns
from raysys.predictions import Predictions, read_predictions
from raysys.report.cost import cost_of
from raysys.report.groups import by_group
from raysys.report.page import svg
from raysys.report.pictures import draw
from raysys.report.results import Result, RunIds, TrialResult, write_result
from raysys.report.scores import (
    BaselineResult,
    FoldScores,
    GroupScores,
    OnTest,
    PartScores,
)
from raysys.report.statistics import (
    bootstrap_difference,
    mean_and_std,
    part_scores,
    seed_difference,
)
from raysys.report.utterances import PARQUET, predictions_files, predictions_table
from raysys.running.attention import show_attention
from raysys.running.plan import Plan
from raysys.running.reporting import write_report
from raysys.sealed import digests_of
from raysys.storage import Folder
from raysys.tasks.baseline import Baseline
from raysys.tasks.exhibits import Attention, Exhibit, File
from raysys.tasks.task import Task, shown
from raysys.tracking.command_log import CommandLog
from raysys.tracking.models import ModelLog
from raysys.training.bundle import load_bundle
from raysys.training.records import FoldResult
from raysys.trials.trial import TrialOutcome

RECORD = "similarity/average.json"
"""In a trial's folder: its matrices, which a later run takes as S."""


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
        baselines: the simple baselines, the one that tables show first.
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
    measured = task.show_aggregate(aggregate, plan.origin)
    write_files(folder, [*table, *measured])
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
        files=digests_of(folder, [PARQUET, *([RECORD] if folder.exists(RECORD) else [])]),
        groups=score_groups(plan, predictions),
        cost=cost_of(outcome.folds, plan.encoders, config.model.modalities),
        baselines=tuple(compare_baseline(plan, one, folds, opened, names) for one in baselines),
        seconds=dict(seconds),
        audit=plan.audit,
        mlflow=mlflow,
    )
    write_result(folder, result)
    maps = show_attention(plan, config, outcome.folds, opened)
    write_files(folder, maps)
    write_report(folder)
    exhibits = [
        *measured,
        *task.show_summary(summary, predictions, plan.corpus.name),
        *maps,
        *_show_model(task, outcome.folds),
        *table,
    ]
    return Opened(result, exhibits, opened)


def model_of(
    log: CommandLog, result: Result, config: Config, task: Task, folder: Folder
) -> ModelLog:
    """What a command has trained, for MLflow.

    Args:
        log: of the command.
        result: written already.
        config: of what was trained.
        task: what it predicts.
        folder: of the run.
    """
    return log.model(result, config, answer_columns(task), partial(export_run, folder))


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


def write_files(folder: Folder, shown: Sequence[Exhibit]) -> None:
    """What later commands read of what is shown, in the run folder too: predictions, matrices, attention maps."""
    for one in shown:
        if isinstance(one, Attention):
            place, name = one.path.removesuffix(".png").split("/", 1)
            (folder / place).write_bytes(f"{name.replace('/', '_')}.svg", svg(draw(one)).encode())
        if isinstance(one, File) and one.path == PARQUET:
            folder.write_bytes(one.path, one.content)
        if isinstance(one, File) and one.path == RECORD:
            place, name = one.path.rsplit("/", 1)
            (folder / place).write_json(name, one.content)


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
        baseline: a simple baseline.
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
    return BaselineResult(
        baseline.name,
        baseline.fitted_on,
        baseline.settings,
        over.mean,
        over.std,
        differences,
        compare_on_test(plan, opened, baseline.outputs, names),
    )


def compare_on_test(
    plan: Plan,
    opened: Mapping[FoldKey, Predictions],
    others: Sequence[np.ndarray],
    names: Sequence[str],
) -> OnTest | None:
    """Differences on the one test part over what was tested; None with several folds, or nothing to compare with.

    Args:
        plan: of the command.
        opened: test predictions, seed by seed.
        others: outputs of the other configuration on the same part, seed by seed.
        names: of the scores.
    """
    units = plan.tested_units
    if units is None or not others:
        return None
    parts = list(opened.values())
    ours, seed = [part.outputs for part in parts], plan.config.seed
    truth = parts[0].truth
    found = bootstrap_difference(plan.task, ours, others, truth, units, names=names, seed=seed)
    return OnTest(found, units.over)


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
