"""How numbers of several folds or seeds become one."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float64
from scipy import stats

from raysys.corpus.folds import Fold, FoldKey
from raysys.report.scores import Difference, PartScores, Spread
from raysys.tasks.resampling import Units
from raysys.tasks.task import Task

_RESAMPLES = 1000
_MOST = 1000
"""Folds or seeds, beyond which nobody goes."""


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


def part_scores(scores: Mapping[FoldKey, Mapping[str, float]], names: Sequence[str]) -> PartScores:
    """Mean over folds of the mean over seeds, with the deviation over folds and the one over seeds apart.

    Args:
        scores: of every training; the same seeds in every fold.
        names: of the scores to keep.
    """
    seeds, folds = (sorted(set(column)) for column in zip(*scores, strict=True))
    by_fold = [mean_and_std([scores[s, k] for s in seeds], names).mean for k in folds]
    by_seed = [mean_and_std([scores[s, k] for k in folds], names).mean for s in seeds]
    over = mean_and_std(by_fold, names)
    return PartScores(tuple(by_fold), over.mean, over.std, mean_and_std(by_seed, names).std)


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


def seed_difference(
    scores: Float64[np.ndarray, "seed fold"],
    others: Float64[np.ndarray, "seed fold"],
    *,
    folds: Sequence[Fold],
) -> Difference:
    """`paired_difference` over folds, each the mean of its seeds; over seeds where there is one fold."""
    if len(folds) > 1:
        shared = test_share(folds)
        return paired_difference(scores.mean(axis=0), others.mean(axis=0), shared=shared)
    return paired_difference(scores[:, 0], others[:, 0], shared=0.0)


def standard_error(difference: Difference, pairs: int) -> float:
    """Standard error of a difference whose 95 % interval is Student's over so many pairs."""
    return (difference.high - difference.low) / 2 / _quantile(pairs)


def bootstrap_difference(
    task: Task,
    ours: Sequence[np.ndarray],
    others: Sequence[np.ndarray],
    truth: np.ndarray,
    units: Units,
    *,
    names: Sequence[str],
    seed: int = 0,
) -> dict[str, Difference]:
    """Metric -> mean difference on one test part, and its 95 % interval over what was tested (paired bootstrap).

    What another test part of the same kind would change, where `seed_difference` says what another seed would.

    Args:
        task: scores.
        ours: outputs of the test part, seed by seed.
        others: the same of the other configuration.
        truth: of the test part.
        units: what is drawn, such as dialogues.
        names: of the metrics.
        seed: of the bootstrap.
    """

    def scores(rows: np.ndarray) -> Float64[np.ndarray, " metric"]:
        means = []
        for several in (ours, others):
            each = [task.score(one[rows], truth[rows]) for one in several]
            means.append(np.array([np.mean([one[name] for one in each]) for name in names]))
        found: np.ndarray = means[0] - means[1]
        return found

    whole = scores(np.arange(len(truth)))
    drawn = np.stack([scores(units.rows(times)) for times in units.drawn(_RESAMPLES, seed)])
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    return {
        name: Difference(float(whole[k]), float(low[k]), float(high[k]))
        for k, name in enumerate(names)
    }


def enough_to_tell(
    difference: Float64[np.ndarray, "seed fold"], gap: float, *, folds: Sequence[Fold]
) -> tuple[int, int] | None:
    """The least folds x seeds whose 95 % interval of the difference would be no wider than `gap` to each side.

        half = t(K - 1) sqrt((1 / K + n_test / n_train) (v_fold + v_seed / S))

    with the variances of the measured differences: within a fold over seeds, and between folds beyond that. Seeds are
    tried first, with the folds as they are; then folds, with the seeds as they are. One fold stays one.

    Args:
        difference: measured, of every training.
        gap: difference that should be detected.
        folds: as they are, for the shares of train and test.

    Returns:
        Folds and seeds; None where one seed cannot say, or nothing below 1,000 is enough.
    """
    n_seeds, n_folds = difference.shape
    if n_seeds < 2:
        return None
    by_seed = float(difference.var(axis=0, ddof=1).mean())
    counts = range(2, _MOST)
    if n_folds == 1:
        halves = ((s, _quantile(s) * np.sqrt(by_seed / s)) for s in counts)
        return next(((1, s) for s, half in halves if half <= gap), None)
    by_fold = max(0.0, float(difference.mean(axis=0).var(ddof=1)) - by_seed / n_seeds)
    train = float(np.mean([len(f.train) / (len(f.train) + len(f.val)) for f in folds]))

    def half(count: int, seeds: int) -> float:
        share = test_share(folds) if count == n_folds else 1 / (train * (count - 1))
        spread = (1 / count + share) * (by_fold + by_seed / seeds)
        return float(_quantile(count) * np.sqrt(spread))

    for seeds in range(1, _MOST):
        if half(n_folds, seeds) <= gap:
            return n_folds, seeds
    return next(((count, n_seeds) for count in counts if half(count, n_seeds) <= gap), None)


def undominated(points: Float64[np.ndarray, "point objective"]) -> Bool[np.ndarray, " point"]:
    """The Pareto front: which points no other beats in one objective without losing in another; larger is better."""
    return np.array(
        [not ((points >= row).all(axis=1) & (points > row).any(axis=1)).any() for row in points],
        dtype=bool,
    )


def _quantile(count: int) -> float:
    return float(stats.t.ppf(0.975, count - 1))


def test_share(folds: Sequence[Fold]) -> float:
    """Mean over folds of n_test / n_train."""
    return float(np.mean([len(fold.test) / len(fold.train) for fold in folds]))
