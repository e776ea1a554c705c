"""`jobs.predict`: from names on a command line to a table, a file, a picture."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress

from raysys.errors import ConfigError
from raysys.predicting.inputs import in_windows, read_inputs
from raysys.predicting.members import Ensemble, load_ensemble
from raysys.predicting.predict import Answer, dialogue_note, predict
from raysys.predicting.table import answers_table, check_out, records, scores_line, write_table
from raysys.report.tables import as_rich
from raysys.settings import require
from raysys.storage import resolve_folder


def predict_command(given: argparse.Namespace) -> int:
    """Predict, and say or write what was found.

    Args:
        given: arguments of `jobs.predict`.

    Returns:
        0, or 1 where a row could not be read.

    Raises:
        RaysysError: no such run or input, or nothing that its model reads.
    """
    console = Console()
    require(0 <= given.threshold <= 1, "--threshold", given.threshold, "from 0 to 1")
    if given.out:
        check_out(given.out)
    if (given.step is not None or given.picture) and given.window is None:
        raise ConfigError("--step and --picture go with --window SECONDS")
    ensemble = load_ensemble(given.run, resolve_folder(given.runs), fold=given.fold)
    rows = read_inputs(given.inputs, given.text, columns=_columns(given.columns))
    unheard: dict[str, str] = {}
    if given.window is not None:
        step = given.window / 2 if given.step is None else given.step
        rows, unheard = in_windows(rows, seconds=given.window, step=step)
    if note := dialogue_note(ensemble, rows):
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    answers: list[Answer] = []
    with Progress(console=console, transient=True, disable=len(rows) < 50) as bar:
        task = bar.add_task("predicting", total=len(rows))
        answers += predict(ensemble, rows, told=lambda count: bar.advance(task, count))
    found = list(records(ensemble, answers, threshold=given.threshold))
    found += [{"utterance": name, "members": 0, "note": why} for name, why in unheard.items()]
    bad = [one for one in found if not one["members"]]
    if given.out:
        write_table(given.out, found)
        console.print(f"{len(found)} rows in {given.out}", highlight=False, markup=False)
    else:
        whole = [
            row for row in found if "confidence" in row or ensemble.task.name != "classification"
        ]
        console.print(as_rich(answers_table(ensemble, whole)))
    if given.picture:
        over_time(ensemble, found).savefig(Path(given.picture).expanduser(), dpi=120)
    for line in filter(None, [scores_line(ensemble, answers)]):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    for one in bad[:10]:
        console.print(f"not read     {one['note']}", soft_wrap=True, markup=False, highlight=False)
    if len(bad) > 10:
        console.print(f"             and {len(bad) - 10} more", markup=False, highlight=False)
    return 1 if bad else 0


def _columns(given: str) -> Mapping[str, str]:
    if not given:
        return {}
    try:
        found = yaml.safe_load(given)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"--columns is {given}, but must be as {{audio: file, text: words}}")
    return {str(ours): str(theirs) for ours, theirs in found.items()}


def over_time(ensemble: Ensemble, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Probabilities over the seconds of the first recording that was cut into stretches.

    Args:
        ensemble: of a classification.
        rows: records with start and end.

    Raises:
        ConfigError: nothing was cut.
    """
    cut = [row for row in rows if row.get("start") is not None and row["members"]]
    if not cut or ensemble.task.name != "classification":
        raise ConfigError("--picture draws the probabilities of audio that --window has cut")
    first = cut[0]["utterance"].rsplit(" ", 1)[0]
    own = [row for row in cut if row["utterance"].rsplit(" ", 1)[0] == first]
    middle = [(row["start"] + row["end"]) / 2 for row in own]
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    for name in ensemble.task.outputs:
        axes.plot(middle, [row[f"p_{name}"] for row in own], marker="o", markersize=3, label=name)
    axes.set_ylim(0, 1)
    axes.set_xlabel("seconds (middle of each stretch)")
    axes.set_ylabel("probability")
    axes.set_title(first, fontsize=10)
    axes.legend(ncols=4, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
