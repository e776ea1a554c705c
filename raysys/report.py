"""What a finished cross-validation says: the content of result.json, and the tables in the terminal.

Test predictions are scored here, once, after all training is over.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from rich import box
from rich.console import Console
from rich.table import Table

from raysys.corpus.audit import Finding
from raysys.similarity import SimilaritySummary
from raysys.training.metrics import METRICS, score
from raysys.training.predictions import Predictions
from raysys.training.task import FoldResult

_TITLES = {"wa": "WA", "ua": "UA", "weighted_f1": "F1"}


@dataclass(frozen=True)
class Seconds:
    """Where the wall time of a cross-validation went."""

    total: float
    startup: float
    """From connecting to Ray to the first fold's start."""
    training: float
    """Sum over the folds."""
    overhead: float
    """First fold's start to last fold's end, less the best possible schedule of the training seconds."""
    efficiency: float
    """That schedule / that wall time."""
    workers: int


def account_seconds(
    results: Sequence[FoldResult], *, total: float, startup: float, wall: float, workers: int
) -> Seconds:
    """Compare the folds' wall time with the best possible schedule of their training seconds.

    Args:
        results: finished folds.
        total: seconds of the whole command.
        startup: seconds until the first fold started.
        wall: seconds from the first fold's start to the last one's end.
        workers: folds that could run at the same time.
    """
    durations = [result.seconds for result in results]
    ideal = best_makespan(durations, workers)
    efficiency = ideal / wall if wall > 0 else float("nan")
    return Seconds(total, startup, sum(durations), wall - ideal, efficiency, workers)


def best_makespan(durations: Sequence[float], workers: int) -> float:
    """Shortest time in which workers can do tasks of these durations, in the same unit.

    Exact up to 100 000 assignments; beyond, the lower bound max(mean load, longest task).
    """
    bound = max(sum(durations) / workers, max(durations, default=0.0))
    if workers >= len(durations) or workers ** len(durations) > 100_000:
        return bound
    loads = (
        max(sum(d for d, w in zip(durations, who, strict=True) if w == k) for k in range(workers))
        for who in itertools.product(range(workers), repeat=len(durations))
    )
    return min(loads)


def confusion_counts(
    predictions: Sequence[Predictions], n_classes: int
) -> Int64[np.ndarray, "class class"]:
    """Utterances by true (row) and predicted (column) emotion, over all folds."""
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    for part in predictions:
        np.add.at(counts, (part.labels, part.predicted), 1)
    return counts


def build_result(
    *,
    corpus: str,
    model: str,
    emotions: tuple[str, ...],
    results: Sequence[FoldResult],
    predictions: Sequence[Predictions],
    baseline: Sequence[Mapping[str, float]],
    similarity: SimilaritySummary,
    seconds: Seconds,
    audit: Sequence[Finding],
    mlflow: Mapping[str, str],
) -> dict[str, Any]:
    """The content of result.json (DESIGN section 4). Folds in every argument are in the same order.

    Returns:
        Plain types; `folds` holds scores of each fold, `mean` and `std` (over folds, divisor n - 1) theirs.
    """
    folds: list[dict[str, Any]] = [
        {
            "fold": result.fold,
            "epochs": result.epochs,
            "best_epoch": result.best_epoch,
            "val": {name: result.val[name] for name in METRICS},
            "test": score(part.labels, part.predicted),
            "baseline": dict(simple),
        }
        for result, part, simple in zip(results, predictions, baseline, strict=True)
    ]
    parts = ("val", "test", "baseline")
    columns = {p: {m: np.array([f[p][m] for f in folds]) for m in METRICS} for p in parts}
    matrices = {n: getattr(similarity, n).tolist() for n in ("average", "per_fold", "low", "high")}
    return {
        "kind": "cross_validation",
        "corpus": corpus,
        "model": model,
        "emotions": list(emotions),
        "folds": folds,
        "mean": {p: {m: float(v.mean()) for m, v in columns[p].items()} for p in parts},
        "std": {p: {m: spread(v) for m, v in columns[p].items()} for p in parts},
        "similarity": matrices | {"fold_counts": similarity.fold_counts.tolist()},
        "seconds": asdict(seconds),
        "audit": [asdict(finding) for finding in audit],
        "mlflow": dict(mlflow),
    }


def spread(scores: Float64[np.ndarray, " fold"]) -> float:
    """Standard deviation over folds, divisor n - 1; NaN for a single one."""
    return float(scores.std(ddof=1)) if len(scores) > 1 else float("nan")


def print_result(console: Console, result: Mapping[str, Any], *, folder: str, ui: str) -> None:
    """Scores, matrix, time, audit, and where to look further."""
    console.print(_score_table(result))
    console.print(_matrix_table(result))
    seconds = result["seconds"]
    console.print(
        f"time         {seconds['total']:.0f} s: start-up {seconds['startup']:.1f} s, "
        f"training {seconds['training']:.1f} s in folds, overhead {seconds['overhead']:.1f} s"
    )
    console.print(
        f"efficiency   {seconds['efficiency']:.2f} = best schedule of the folds on {seconds['workers']} worker(s) "
        "/ wall time"
    )
    print_audit(console, result["audit"])
    console.print(f"run folder   {folder}", soft_wrap=True)
    console.print(f"MLflow       {ui}", soft_wrap=True)


def print_audit(console: Console, findings: Sequence[Mapping[str, str]]) -> None:
    """One line a finding of the leak audit."""
    for finding in findings or [{"level": "note", "message": "the leak audit found nothing"}]:
        style = "yellow" if finding["level"] == "warning" else "dim"
        console.print(
            f"audit        {finding['level']}: {finding['message']}", style=style, soft_wrap=True
        )


def _score_table(result: Mapping[str, Any]) -> Table:
    title = f"{result['corpus']}, {result['model']}: test scores in % (F1 is weighted), beside an SVM on the same folds"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("fold")
    table.add_column("epochs", justify="right")
    table.add_column("val UA", justify="right")
    for name in METRICS:
        table.add_column(_TITLES[name], justify="right")
    for name in METRICS:
        table.add_column(f"SVM {_TITLES[name]}", justify="right", style="dim")
    for fold in result["folds"]:
        row = [str(fold["fold"]), str(fold["epochs"]), f"{100 * fold['val']['ua']:.1f}"]
        row += [f"{100 * fold['test'][name]:.1f}" for name in METRICS]
        table.add_row(*row, *[f"{100 * fold['baseline'][name]:.1f}" for name in METRICS])
    table.add_section()

    def percent(values: Mapping[str, Any], part: str, name: str) -> str:
        value = values[part][name]  # the deviation of a single fold is unknown
        return "-" if value is None else f"{100 * value:.1f}"

    for title, values in (("mean", result["mean"]), ("+- std", result["std"])):
        row = [title, "", percent(values, "val", "ua")]
        row += [percent(values, part, name) for part in ("test", "baseline") for name in METRICS]
        table.add_row(*row, style="bold")
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
