"""The end of a study in the terminal: what was chosen, what it scores, and what that rests on."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raysys.report import TITLES, percent, print_audit, print_breakdown
from raysys.search.view import describe, show_score
from raysys.training.metrics import METRICS


def print_study(console: Console, result: Mapping[str, Any], *, folder: str, ui: str) -> None:
    """Trials, choice, test scores with the nested estimate and the difference, rounds, time, where to look further."""
    chosen, objectives = result["chosen"], result["objectives"]
    states = [trial["state"] for trial in result["trials"]]
    counts = [
        f"{states.count(state)} {state.lower()}" for state in ("COMPLETE", "PRUNED", "FAILED")
    ]
    if "STOPPED" in states:
        counts.append(f"{states.count('STOPPED')} stopped by the time limit (--resume goes on)")
    console.print(f"trials       {', '.join(counts)}", soft_wrap=True)
    saved = result["epochs"]
    if saved["most"]:
        console.print(
            f"compute      {saved['done']} of at most {saved['most']} epochs of folds: {100 * saved['saved']:.0f} % "
            f"saved by stopping {states.count('PRUNED')} trial(s) early",
            soft_wrap=True,
        )
    for trial in [trial for trial in result["trials"] if trial["state"] == "FAILED"]:
        console.print(
            f"failed       {trial['name']}: {trial['reason']}", style="yellow", soft_wrap=True
        )
    score = show_score(objectives[0], chosen["val"][objectives[0]])
    values = describe(chosen["values"]) or "no trial did better than the untuned configuration"
    console.print(
        f"chosen       {chosen['name']} by validation {objectives[0]} {score}: {values}",
        soft_wrap=True,
    )
    console.print(f"untuned      {describe(result['untuned_values'])}", soft_wrap=True)
    if len(objectives) > 1:
        for one in result["pareto"]:
            scores = ", ".join(f"{o} {show_score(o, one[o])}" for o in objectives)
            console.print(f"Pareto       {one['name']}: validation {scores}")
    console.print(_score_table(result))
    console.print(f"{chosen['name']}, the chosen configuration", soft_wrap=True)
    print_breakdown(console, result)
    for one in result["rounds"] if len(result["rounds"]) > 1 else []:
        console.print(f"round {one['round']}      {_round(one, objectives[0])}", soft_wrap=True)
    seconds = result["seconds"]
    console.print(
        f"time         {seconds['total']:.0f} s: start-up {seconds['startup']:.1f} s; workers busy "
        f"{100 * seconds['utilisation']:.0f} % from the first fold to the last",
        soft_wrap=True,
    )
    print_audit(console, result["audit"])
    console.print(f"run folder   {folder}", soft_wrap=True)
    console.print(f"best config  {folder}/best.yaml", soft_wrap=True)
    console.print(f"MLflow       {ui}", soft_wrap=True)


def _round(one: Mapping[str, Any], objective: str) -> str:
    if one["name"] is None:
        return "no trial has all its folds"
    best = show_score(objective, one["best"])
    moved = "-" if one["moved"] is None else f"{one['moved']:.3f}"
    return (
        f"best {one['name']}, validation {objective} {best}; the matrix moved by {moved} (Frobenius) from this "
        "round's S"
    )


def _score_table(result: Mapping[str, Any]) -> Table:
    title = f"{result['corpus']}, {result['model']}: test scores in % (F1 is weighted), mean +- std over folds"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("")
    for metric in METRICS:
        table.add_column(TITLES[metric], justify="right")
    rows = {
        "chosen": "test",
        "nested estimate": "nested",
        "untuned": "untuned",
        "SVM, same folds": "baseline",
    }
    for name, part in rows.items():
        mean, std = result[part]["mean"], result[part]["std"]
        cells = [f"{percent(mean[m])} +- {percent(std[m])}" for m in METRICS]
        table.add_row(name, *cells, style="bold" if part == "test" else "")
    table.add_section()
    cells = []
    for metric in METRICS:
        one = {key: percent(v, "+.1f") for key, v in result["difference"][metric].items()}
        cells.append(f"{one['mean']} [{one['low']}, {one['high']}]")
    table.add_row("chosen - untuned", *map(Text, cells))
    table.caption = "Differences over folds with their 95 % interval (Nadeau & Bengio 2003)."
    table.caption_justify = "left"
    return table
