"""What a finished ablation says: test scores of every variant, differences from the first, the paper's beside ours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from raysys.config import AblationConfig
from raysys.corpus.folds import Fold
from raysys.report.result import mean_and_std, paired_difference, test_share
from raysys.report.terminal import TITLES, percent, print_audit
from raysys.training.metrics import METRICS

_SELECTED = {"test": "best on test", "val": "best on val", "unknown": "how chosen?"}
"""By which part's score somebody chose the epoch that is reported."""


def compare_variants(
    ablation: AblationConfig,
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    folds: Sequence[Fold],
) -> list[dict[str, Any]]:
    """Means, spreads and differences, a dict a variant in their order.

    Args:
        ablation: variants, their settings and published figures.
        results: variant -> the content of each seed's result (`build_result`); those that failed are left out.
        folds: of all of them.

    Returns:
        `mean` and `std` over seeds and folds; `difference` from the first variant, metric by metric: over folds (each
        the mean of its seeds) with the corrected interval, or over seeds where there is one fold.
    """
    compared = []
    first: dict[str, np.ndarray] = {}
    for name, trials in results.items():
        variant = ablation.variants[name]
        all_folds = [fold for one in trials for fold in one["folds"]]
        over = {
            part: mean_and_std([{m: fold[part][m] for m in METRICS} for fold in all_folds])
            for part in ("val", "test")
        }
        tests = {
            m: np.array([[f["test"][m] for f in one["folds"]] for one in trials]) for m in METRICS
        }
        first = first or tests
        compared.append(
            {
                "name": name,
                "settings": dict(variant.settings),
                "published": variant.published,
                "mean": {part: both["mean"] for part, both in over.items()},
                "std": {part: both["std"] for part, both in over.items()},
                "difference": {m: _difference(tests[m], first[m], folds) for m in METRICS},
                "per_class": _mean_f1(trials),
            }
        )
    return compared


def print_ablation(console: Console, result: Mapping[str, Any], *, folder: str, ui: str) -> None:
    """The table, F1 by emotion, what it rests on, and where to look further."""
    console.print(_variant_table(result))
    for line in result["failed"]:
        console.print(f"failed       {line}", style="yellow", soft_wrap=True, markup=False)
    if result["source"]:
        console.print(f"published    {result['source']}", soft_wrap=True, markup=False)
    seeds, folds = result["seeds"], result["n_folds"]
    console.print(
        f"ours         epochs chosen on validation, test read once; mean +- std over {seeds} seed(s) x {folds} fold(s)",
        soft_wrap=True,
    )
    over = "folds (Nadeau & Bengio 2003)" if folds > 1 else "seeds: what the training's chance does"
    interval = f", with a 95 % interval over {over}" if seeds * folds > 1 else ""
    console.print(f"difference   from the first line{interval}", soft_wrap=True)
    console.print(_emotion_table(result))
    console.print(f"time         {result['seconds']['total']:.0f} s")
    print_audit(console, result["audit"])
    console.print(f"run folder   {folder}", soft_wrap=True)
    console.print(f"MLflow       {ui}", soft_wrap=True)


def _difference(
    tests: np.ndarray, first: np.ndarray, folds: Sequence[Fold]
) -> dict[str, float] | None:
    """Of scores [seed, fold]; None for the first variant itself."""
    if tests is first:
        return None
    if len(folds) > 1:
        return paired_difference(tests.mean(axis=0), first.mean(axis=0), shared=test_share(folds))
    return paired_difference(tests[:, 0], first[:, 0], shared=0.0)


def _mean_f1(trials: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Emotion -> F1 over all test utterances, mean over the seeds."""
    return {
        emotion: float(np.mean([one["per_class"][emotion]["f1"] for one in trials]))
        for emotion in trials[0]["per_class"]
    }


def _variant_table(result: Mapping[str, Any]) -> Table:
    metric = result["metric"]
    title = f"{result['corpus']}: test {TITLES[metric]} in %{' (weighted)' if metric == 'weighted_f1' else ''}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    has_published = any(one["published"] is not None for one in result["variants"])
    table.add_column("variant")
    if has_published:
        head = f"published,\n{_SELECTED[result['selected_on']]}"
        table.add_column(head, justify="right", style="dim")
    others = [TITLES[m] for m in METRICS if m != metric]
    for column in (f"ours,\n{_SELECTED['val']}", "difference", f"val {TITLES[metric]}", *others):
        table.add_column(column, justify="right", no_wrap=True)
    for one in result["variants"]:
        mean, std = one["mean"], one["std"]
        row = [escape(one["name"])]
        if has_published:
            row.append("-" if one["published"] is None else f"{one['published']:.2f}")
        row.append(f"{percent(mean['test'][metric])} +- {percent(std['test'][metric])}")
        found = one["difference"][metric]
        row.append("" if found is None else _interval(found))
        row.append(percent(mean["val"][metric]))
        table.add_row(*row, *(percent(mean["test"][m]) for m in METRICS if m != metric))
    table.add_section()
    baseline = result["baseline"]["mean"]
    row = [
        "SVM, the first's input",
        *([""] if has_published else []),
        percent(baseline[metric]),
        "",
        "",
    ]
    table.add_row(*row, *(percent(baseline[m]) for m in METRICS if m != metric), style="dim")
    return table


def _emotion_table(result: Mapping[str, Any]) -> Table:
    title = "F1 by emotion in %, mean over seeds"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("variant")
    for emotion in result["emotions"]:
        table.add_column(emotion, justify="right")
    for one in result["variants"]:
        table.add_row(escape(one["name"]), *(percent(value) for value in one["per_class"].values()))
    return table


def _interval(found: Mapping[str, float | None]) -> str:
    mean, low, high = (percent(found[key], "+.1f") for key in ("mean", "low", "high"))
    return mean if low == "-" else f"{mean} [{low}, {high}]"
