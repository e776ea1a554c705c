"""An ablation: a list of configurations over one pool, each evaluated as a cross-validation is.

Config -> variants -> Trials -> outcomes -> a result a trial -> means, differences, next to the paper's numbers

Nothing is chosen here: every variant's test part is read once, when its training is over. A variant that fails is
named, and the others are reported.
"""

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rich.console import Console

from raysys.cluster.session import ray_kept
from raysys.config import Config
from raysys.config.names import folder_name
from raysys.corpus.folds import FoldKey, fold_of_group
from raysys.errors import FoldFailedError
from raysys.predictions import Predictions
from raysys.report.ablation import ablation_pictures, compare_variants, recommend
from raysys.report.results import (
    AblationResult,
    RunIds,
    TrialResult,
    write_result,
)
from raysys.report.scores import Difference, OnTest
from raysys.report.statistics import mean_and_std
from raysys.report.terminal import print_result
from raysys.report.view import TrialsView
from raysys.running.command import Command, carry_out
from raysys.running.opening import Opened, compare_on_test, open_trial
from raysys.running.plan import Plan
from raysys.running.reporting import write_report
from raysys.running.runner import TrialRunner
from raysys.running.session import Scores, Session, open_session
from raysys.running.sources import ListSource
from raysys.running.variants import make_ablation
from raysys.storage import Folder
from raysys.tasks.exhibits import Exhibit
from raysys.tasks.task import shown
from raysys.tracking.client import ui_command
from raysys.tracking.command_log import CommandLog
from raysys.trials.trial import Trial, TrialOutcome

_TABLE_WIDTH = 140


@ray_kept()
def ablate(config: Config, *, resume: bool | None, console: Console) -> AblationResult:
    """Run every variant and compare them.

    Args:
        config: everything; `ablation` lists the variants.
        resume: go on with the latest unfinished run of the same identity; None: where there is one.
        console: for progress and report.

    Raises:
        RaysysError: bad input (before any worker starts), lost workers, or folds that failed.
    """
    begun = time.monotonic()
    plan, trials = make_ablation(config)

    return carry_out(
        plan,
        kind="ablation",
        resume=resume,
        console=console,
        begun=begun,
        work=partial(_work, trials),
    )


def _work(trials: Sequence[Trial], command: Command) -> AblationResult:
    ended = _run(command, trials)
    result = _report(command, ended)
    if ended.failed:  # so the run is not finished, and --resume tries these again
        ui = ui_command(command.log.uri)
        print_result(command.console, result, folder=command.folder.path(), ui=ui)
        raise FoldFailedError(f"{len(ended.failed)} trial(s) failed: {ended.failed[0]}")
    return result


@dataclass
class _Ended:
    """What is left when all trials have ended."""

    results: dict[str, TrialResult] = field(default_factory=dict)
    """Variant -> its result; those that failed are left out."""
    failed: list[str] = field(default_factory=list)
    """A line a trial that failed."""
    opened: dict[str, Mapping[FoldKey, Predictions]] = field(default_factory=dict)
    """Variant -> its test predictions, where there is one test part, on which variants are compared."""
    baseline: Scores = ()
    """On the modalities of the first variant that is left."""


def _run(command: Command, trials: Sequence[Trial]) -> _Ended:
    """The part that needs Ray."""
    plan, folder, log = command.plan, command.folder, command.log
    n_folds, seeds, ended = len(plan.folds), plan.config.training.seeds, _Ended()
    with open_session(plan, most_tasks=len(trials) * n_folds * seeds) as session:
        for trial in trials:
            session.baselines.begin(trial.config)
        view = TrialsView(
            command.console,
            plan.config.compared,
            total=len(trials),
            n_folds=n_folds,
            seeds=seeds,
            workers=session.pool.workers,
        )
        runner = TrialRunner(session.pool, folder, n_folds=n_folds, listeners=[view, log])
        with view:
            for outcome in runner.run(ListSource(trials)):
                if outcome.state == "FAILED":
                    ended.failed.append(f"{outcome.name}, {outcome.reason}")
                else:
                    opened = _open(session, outcome, folder, log)
                    ended.results[outcome.name] = opened.result
                    if plan.tested_units is not None:  # else nothing asks for them
                        ended.opened[outcome.trial.variant] = opened.predictions
        whole = [trial for trial in trials if trial.name in ended.results]
        if not whole:
            raise FoldFailedError(f"no variant has all its folds: {ended.failed[0]}")
        ended.results = {trial.variant: ended.results[trial.name] for trial in whole}
        first = whole[0]
        ended.baseline = session.baselines.of(first.config)[0].test
    return ended


def _open(session: Session, outcome: TrialOutcome, folder: Folder, log: CommandLog) -> Opened:
    """A trial has all its folds: its matrix, its scores, its run."""
    plan, config = session.plan, outcome.trial.config
    opened = open_trial(
        plan,
        outcome,
        kind="trial",
        aggregate=session.aggregate(outcome),
        baselines=session.baselines.of(config),
        seconds={"training": sum(outcome.seconds)},
        mlflow=RunIds(log.experiment_id, log.run_id),
        folder=folder / outcome.name,
    )
    log.trial_result(outcome.name, opened.result, [*opened.shown, *plan.show_balance(config)])
    log.close(outcome)
    return opened


def _report(command: Command, ended: _Ended) -> AblationResult:
    """Compare the variants and write down what was found."""
    plan, folder, log = command.plan, command.folder, command.log
    ablation, names = plan.config.ablation, [m.name for m in shown(plan.task.metrics)]
    comparable = ablation.has_published(plan.config.corpus.name)
    group = ablation.published_test if comparable else ""
    result = AblationResult(
        task=plan.task.name,
        corpus=plan.corpus.name,
        metric=plan.config.compared.name,
        source=ablation.source if comparable else "",
        published_test=f"{plan.config.folds.groups} {group}" if group else "",
        selected_on=ablation.selected_on,
        seeds=plan.config.training.seeds,
        n_folds=len(plan.folds),
        variants=compare_variants(
            plan.config,
            ended.results,
            plan.folds,
            on_test=lambda one, other: _on_test(plan, ended, one, other),
            alike=fold_of_group(plan.folds, plan.corpus, plan.config.folds, group)
            if group
            else None,
        ),
        failed=tuple(ended.failed),
        recommended=recommend(plan.config.compared, ended.results, plan.folds),
        baseline=mean_and_std(ended.baseline, names),
        baseline_difference={
            name: Difference(-found.mean, -found.high, -found.low)
            for name, found in next(iter(ended.results.values())).baselines[0].difference.items()
        },
        seconds={"total": time.monotonic() - command.begun},
        audit=plan.audit,
        mlflow=RunIds(log.experiment_id, log.run_id),
    )
    write_result(folder, result)
    pictures = [*ablation_pictures(result, ablation.curve), *_beside(plan, ended)]
    write_report(folder, pictures=pictures)
    paper = Console(file=io.StringIO(), width=_TABLE_WIDTH, record=True)
    print_result(paper, result, folder=folder.path(), ui=ui_command(log.uri))
    log.ablation_result(result, paper.export_text(), pictures)
    return result


def _on_test(plan: Plan, ended: _Ended, one: str, other: str) -> OnTest | None:
    """One variant - another on the one test part; None with several folds."""
    if not ended.opened:
        return None
    names = [metric.name for metric in shown(plan.task.metrics)]
    others = [part.outputs for part in ended.opened[other].values()]
    return compare_on_test(plan, ended.opened[one], others, names)


def _beside(plan: Plan, ended: _Ended) -> list[Exhibit]:
    """What the columns of every line show side by side."""
    rows: dict[str, dict[str, Any]] = {}
    for cell in plan.config.ablation.cells:
        if cell.column and cell.name in ended.results:
            rows.setdefault(cell.variant, {})[cell.column] = ended.results[cell.name].summary
    return [
        exhibit
        for row, one in rows.items()
        for exhibit in plan.task.show_beside(row, one, folder_name(row))
    ]
