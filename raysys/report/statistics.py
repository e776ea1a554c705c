"""How numbers of several folds or seeds become one."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from scipy import stats

from raysys.corpus.folds import Fold
from raysys.report.results import Difference, Spread


def mean_and_std(scores: Sequence[Mapping[str, float]], names: Sequence[str]) -> Spread:
    """Mean and standard deviation (divisor n - 1; NaN for a single one) of each score."""
    columns = {name: np.array([one[name] for one in scores]) for name in names}
    return Spread(
        {name: float(column.mean()) for name, column in columns.items()},
        {
            name: float(column.std(ddof=1)) if len(column) > 1 else float("nan")
            for name, column in columns.items()
        },
    )


def paired_difference(
    scores: Sequence[float] | Float64[np.ndarray, " pair"],
    others: Sequence[float] | Float64[np.ndarray, " pair"],
    *,
    shared: float,
    confidence: float = 0.95,
) -> Difference:
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
        Mean and ends; the ends are NaN for a single pair.
    """
    difference = np.asarray(scores) - np.asarray(others)
    count = len(difference)
    mean = float(difference.mean())
    half = float("nan")
    if count > 1:
        quantile = stats.t.ppf((1 + confidence) / 2, count - 1)
        half = float(quantile * difference.std(ddof=1) * np.sqrt(1 / count + shared))
    return Difference(mean, mean - half, mean + half)


def test_share(folds: Sequence[Fold]) -> float:
    """Mean over folds of n_test / n_train."""
    return float(np.mean([len(fold.test) / len(fold.train) for fold in folds]))
