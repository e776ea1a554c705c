"""The content of result.json of one configuration, and how numbers of several folds become one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy import stats

from raysys.corpus.audit import Finding
from raysys.corpus.folds import Fold
from raysys.report.breakdown import break_down
from raysys.similarity import SimilaritySummary
from raysys.training.metrics import METRICS, score
from raysys.training.predictions import Predictions
from raysys.training.task import FoldResult


def build_result(
    *,
    kind: str,
    corpus: str,
    model: str,
    select: str,
    emotions: tuple[str, ...],
    results: Sequence[FoldResult],
    predictions: Sequence[Predictions],
    speakers: Sequence[Sequence[str]],
    baseline: Sequence[Mapping[str, float]],
    similarity: SimilaritySummary,
    seconds: Mapping[str, float],
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
    over_folds = {p: mean_and_std([{m: f[p][m] for m in METRICS} for f in folds]) for p in parts}
    matrices = {n: getattr(similarity, n).tolist() for n in ("average", "per_fold", "low", "high")}
    return {
        "kind": kind,
        "corpus": corpus,
        "model": model,
        "select": select,
        "emotions": list(emotions),
        "folds": folds,
        "mean": {p: over_folds[p]["mean"] for p in parts},
        "std": {p: over_folds[p]["std"] for p in parts},
        **break_down(predictions, emotions, speakers),
        "similarity": matrices | {"fold_counts": similarity.fold_counts.tolist()},
        "seconds": dict(seconds),
        "audit": [asdict(finding) for finding in audit],
        "mlflow": dict(mlflow),
    }


def mean_and_std(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """`mean` and `std` over folds, by metric."""
    columns = {name: np.array([one[name] for one in scores]) for name in scores[0]}
    return {
        "mean": {name: float(column.mean()) for name, column in columns.items()},
        "std": {name: spread(column) for name, column in columns.items()},
    }


def spread(scores: Float64[np.ndarray, " fold"]) -> float:
    """Standard deviation over folds, divisor n - 1; NaN for a single one."""
    return float(scores.std(ddof=1)) if len(scores) > 1 else float("nan")


def paired_difference(
    scores: Sequence[float] | Float64[np.ndarray, " pair"],
    others: Sequence[float] | Float64[np.ndarray, " pair"],
    *,
    shared: float,
    confidence: float = 0.95,
) -> dict[str, float]:
    """Mean difference over K pairs and its interval.

        d_k = score_k - other_k,   interval = mean d +- t(K - 1) s_d sqrt(1 / K + shared)

    Over folds, `shared` is n_test / n_train (`test_share`): the variance is then that of Nadeau & Bengio 2003
    ("Inference for the generalization error", Machine Learning 52), since folds share training utterances; the plain t
    interval, with 0, would be too narrow.

    Args:
        scores: one a fold, or a seed.
        others: the same of the other configuration.
        shared: see above.
        confidence: coverage.

    Returns:
        `mean`, `low`, `high`; the ends are NaN for a single pair.
    """
    difference = np.asarray(scores) - np.asarray(others)
    count = len(difference)
    mean = float(difference.mean())
    half = float("nan")
    if count > 1:
        quantile = stats.t.ppf((1 + confidence) / 2, count - 1)
        half = float(quantile * difference.std(ddof=1) * np.sqrt(1 / count + shared))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def test_share(folds: Sequence[Fold]) -> float:
    """Mean over folds of n_test / n_train."""
    return float(np.mean([len(fold.test) / len(fold.train) for fold in folds]))
