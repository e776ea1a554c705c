"""A finished cross-validation in the terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from raysys.training.metrics import METRICS

TITLES = {"wa": "WA", "ua": "UA", "weighted_f1": "F1"}
"""How tables head the metrics; F1 is weighted."""
_LETTERS = 4
"""Of an emotion's name, over its column of confusions."""
_SPEAKERS = 10
"""Shown, those with the most utterances; the others are in result.json."""


def print_result(console: Console, result: Mapping[str, Any], *, folder: str, ui: str) -> None:
    """Scores, matrix, time, audit, and where to look further."""
    console.print(_score_table(result))
    print_breakdown(console, result)
    console.print(_matrix_table(result))
    seconds = result["seconds"]
    console.print(
        f"time         {seconds['total']:.0f} s: start-up {seconds['startup']:.1f} s, "
        f"training {seconds['training']:.1f} s in folds, overhead {seconds['overhead']:.1f} s"
    )
    console.print(
        f"efficiency   {seconds['efficiency']:.2f} = best schedule of the folds on {seconds['workers']} worker(s) "
        "/ time from the first fold's start to the last one's end"
    )
    print_audit(console, result["audit"])
    console.print(f"run folder   {folder}", soft_wrap=True)
    console.print(f"MLflow       {ui}", soft_wrap=True)


def print_breakdown(console: Console, result: Mapping[str, Any]) -> None:
    """Scores and confusions by emotion, and scores by speaker, over all test utterances."""
    console.print(_emotion_table(result))
    if len(result["speakers"]) > 1:
        console.print(_speaker_table(result["speakers"]))


def print_audit(console: Console, findings: Sequence[Mapping[str, str]]) -> None:
    """One line a finding of the leak audit."""
    for finding in findings or [{"level": "note", "message": "the leak audit found nothing"}]:
        style = "yellow" if finding["level"] == "warning" else "dim"
        console.print(
            f"audit        {finding['level']}: {finding['message']}", style=style, soft_wrap=True
        )


def percent(value: float | None, style: str = ".1f") -> str:
    """A share in per cent; a dash for what cannot be known (null in result.json)."""
    return "-" if value is None or math.isnan(value) else format(100 * value, style)


def val_metric(select: str) -> str:
    """Whose validation score stands for a fold: the one that chooses its epoch; UA where that is the loss."""
    return select if select in METRICS else "ua"


def _score_table(result: Mapping[str, Any]) -> Table:
    title = f"{result['corpus']}, {result['model']}: test scores in % (F1 is weighted), beside an SVM on the same folds"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("fold")
    table.add_column("epochs", justify="right")
    shown = val_metric(result["select"])
    table.add_column(f"val {TITLES[shown]}", justify="right")
    for name in METRICS:
        table.add_column(TITLES[name], justify="right")
    for name in METRICS:
        table.add_column(f"SVM {TITLES[name]}", justify="right", style="dim")
    for fold in result["folds"]:
        row = [str(fold["fold"]), str(fold["epochs"]), f"{100 * fold['val'][shown]:.1f}"]
        row += [f"{100 * fold['test'][name]:.1f}" for name in METRICS]
        table.add_row(*row, *[f"{100 * fold['baseline'][name]:.1f}" for name in METRICS])
    table.add_section()
    for title, values in (("mean", result["mean"]), ("+- std", result["std"])):
        row = [title, "", percent(values["val"][shown])]
        row += [percent(values[part][name]) for part in ("test", "baseline") for name in METRICS]
        table.add_row(*row, style="bold")
    return table


def _emotion_table(result: Mapping[str, Any]) -> Table:
    pooled = result["pooled"]
    title = f"by emotion in %, all test utterances: weighted F1 {100 * pooled['weighted_f1']:.1f}; right: predicted as"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True)
    for name in ("n", "prec.", "recall", "F1"):
        table.add_column(name, justify="right", style="bold" if name == "F1" else "", no_wrap=True)
    for emotion in result["emotions"]:
        table.add_column(emotion[:_LETTERS], justify="right", style="dim", no_wrap=True)
    for k, (emotion, row) in enumerate(result["per_class"].items()):
        scores = [f"{100 * row[name]:.1f}" for name in ("precision", "recall", "f1")]
        table.add_row(emotion, str(row["utterances"]), *scores, *map(str, result["confusion"][k]))
    return table


def _speaker_table(speakers: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(
        title="by speaker in %", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1)
    )
    for name in ("speaker", "n", *TITLES.values()):
        table.add_column(name, justify="left" if name == "speaker" else "right")
    for speaker, row in list(speakers.items())[:_SPEAKERS]:
        scores = [f"{100 * row[name]:.1f}" for name in TITLES]
        table.add_row(speaker, str(row["utterances"]), *scores)
    if len(speakers) > _SPEAKERS:
        table.caption = f"and {len(speakers) - _SPEAKERS} more, in result.json"
        table.caption_justify = "left"
    return table


def _matrix_table(result: Mapping[str, Any]) -> Table:
    title = "class similarity (cosine of class representatives), mean of the folds"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("")
    for emotion in result["emotions"]:
        table.add_column(emotion, justify="right")
    for emotion, row in zip(result["emotions"], result["similarity"]["average"], strict=True):
        known = (value is not None and value == value for value in row)
        cells = [f"{v:.2f}" if k else "-" for v, k in zip(row, known, strict=True)]
        table.add_row(emotion, *cells)
    return table
