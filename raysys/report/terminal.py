"""A finished command in the terminal: what its kind has to show, then audit, folder and MLflow."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console, RenderableType

from raysys.corpus.finding import Finding
from raysys.report.ablation import ablation_lines
from raysys.report.cost import cost_line
from raysys.report.groups import group_tables
from raysys.report.headline import inputs_for, sentence
from raysys.report.results import (
    AblationResult,
    RefitResult,
    Result,
    StudyResult,
    TrialResult,
)
from raysys.report.study import study_lines
from raysys.report.tables import Line, as_rich, baseline_table, score_table, spread
from raysys.tasks import TASKS
from raysys.tasks.task import shown


def print_result(
    console: Console,
    result: Result,
    *,
    folder: str,
    ui: str,
    view: str = "",
    reads: Sequence[str] = (),
) -> None:
    """Print a result.

    Args:
        console: where.
        result: of any kind.
        folder: path of the run folder.
        ui: the command that opens the MLflow UI.
        view: link to the runs of this kind in it; empty for none.
        reads: modalities of the model.
    """
    for line in result_lines(result):
        show: RenderableType = line if isinstance(line, str) else as_rich(line)
        console.print(show, soft_wrap=isinstance(line, str), markup=False)
    print_audit(console, result.audit)
    console.print(f"run folder   {folder}", soft_wrap=True, markup=False)
    if isinstance(result, StudyResult):
        console.print(f"best config  {folder}/best.yaml", soft_wrap=True, markup=False)
    console.print(f"report       {folder}/report.html", soft_wrap=True, markup=False)
    console.print(f"MLflow       {ui}", soft_wrap=True, markup=False)
    if view:
        console.print(f"             {view}", soft_wrap=True, markup=False)
    console.print(f"result       {sentence(result)}", soft_wrap=True, markup=False, style="bold")
    console.print(f"next         {_next(result, folder, reads)}", soft_wrap=True, markup=False)


def _next(result: Result, folder: str, reads: Sequence[str]) -> str:
    """What people do with such a run."""
    if isinstance(result, AblationResult):
        return f"{_python()} -m jobs.compare {folder}/VARIANT {folder}/VARIANT"
    if TASKS[result.task].reads_formats:
        return f"{_python()} -m jobs.report {folder}"
    return f"{_python()} -m jobs.predict {folder}{inputs_for(reads)}"


def _python() -> str:
    """What starts this Python in the user's shell: its path, unless the environment is active."""
    found = shutil.which("python")
    here = Path(sys.executable)  # a link, whose folder says which environment it is of
    return "python" if found and Path(found).parent == here.parent else str(here)


def print_audit(console: Console, findings: Sequence[Finding]) -> None:
    """One line a finding of the leak audit."""
    for finding in findings or [Finding("note", "nothing", "the leak audit found nothing")]:
        style = "yellow" if finding.level == "warning" else "dim"
        line = f"audit        {finding.level}: {finding.message}"
        console.print(line, style=style, soft_wrap=True, markup=False)


def result_lines(result: Result) -> Iterator[Line]:
    """Tables and lines of a result of any kind."""
    if isinstance(result, TrialResult):
        return _trial_lines(result)
    if isinstance(result, RefitResult):
        return _refit_lines(result)
    return ablation_lines(result) if isinstance(result, AblationResult) else study_lines(result)


def _refit_lines(result: RefitResult) -> Iterator[str]:
    seeds = f"{len(result.seeds)} seeds" if len(result.seeds) > 1 else f"seed {result.seeds[0]}"
    yield (
        f"trained      {result.model} on all {result.utterances} utterances of {result.corpus}, {result.epochs} "
        f"epochs, {seeds}"
    )
    known = [metric for metric in shown(result.metrics) if metric.name in result.expected.mean]
    scores = ", ".join(
        f"{m.title} {spread(m, result.expected.mean, result.expected.std)}" for m in known
    )
    yield f"expected     {scores}: the test scores of {result.source}; this model was never tested itself"
    if result.cost:
        yield cost_line(result.cost)


def _calibrated(result: TrialResult) -> Iterator[str]:
    """What was fitted on val parts to make outputs mean what they say."""
    for name in result.folds[0].calibrated:
        values = [fold.calibrated[name] for fold in result.folds]
        mean = sum(values) / len(values)
        yield (
            f"{name:<12} {mean:.2f}, fitted on each fold's val part ({min(values):.2f} to {max(values):.2f}); the "
            "probabilities above are with it"
        )


def _trial_lines(result: TrialResult) -> Iterator[Line]:
    yield score_table(result)
    if len(result.seeds) > 1:
        yield "note         the tables below count each test utterance once per seed"
    if result.baselines:
        yield baseline_table(result)
    yield from result.summary.tables()
    yield from group_tables(result.groups, result.metrics)
    yield from _calibrated(result)
    seconds = result.seconds
    if result.kind == "trial":  # one of several beside each other
        return
    yield (
        f"time         {seconds['total']:.0f} s: start-up {seconds['startup']:.1f} s, folds "
        f"{seconds['training']:.1f} s in all, {seconds['workers']:.0f} at a time, overhead "
        f"{seconds['overhead']:.1f} s"
    )
    if result.cost:
        yield cost_line(result.cost)
    if seconds["efficiency"] == seconds["efficiency"]:
        yield (
            f"efficiency   {seconds['efficiency']:.2f}: what a schedule of the folds, the longest first, would take, "
            "divided by what they took"
        )
