"""Class-similarity matrices: from embeddings to representatives, cosines, averages and intervals.

    embeddings [utterance, dim], labels -> class sums, counts -> representatives [class, dim] -> cosine [class, class]
    matrices of a fold's seeds -> their mean;   of the folds -> average over the folds that have both classes

A class without an utterance in a fold is NaN there and is left out of the average; its count is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64

from raysys.settings import require

_BLOCK = 125
"""Resamples that are computed together, few enough for a processor's cache."""
_SEEDS = 5_137_841
"""Keeps the draws of seeds apart from those of utterances."""


@dataclass(frozen=True)
class SimilarityConfig:
    """Uncertainty of the averaged class-similarity matrix."""

    resamples: int = 1000
    """Bootstrap resamples of the utterances within each fold, and of its seeds."""
    confidence: float = 0.95
    """Coverage of the interval of each cell."""

    def __post_init__(self) -> None:
        require(self.resamples >= 10, "similarity.resamples", self.resamples, "10 or more")
        rule = "between 0 and 1"
        require(0 < self.confidence < 1, "similarity.confidence", self.confidence, rule)


@dataclass(frozen=True)
class SimilaritySummary:
    """The matrices of one configuration."""

    per_fold: Float64[np.ndarray, "fold class class"]
    """Mean over the seeds."""
    average: Float64[np.ndarray, "class class"]
    low: Float64[np.ndarray, "class class"]
    high: Float64[np.ndarray, "class class"]
    fold_counts: Int64[np.ndarray, "class class"]
    """Folds that each cell of the average rests on."""
    utterance_counts: Int64[np.ndarray, "fold class"]


def class_representatives(
    embeddings: Float[np.ndarray, "utterance dim"],
    labels: Int64[np.ndarray, " utterance"],
    n_classes: int,
) -> Float64[np.ndarray, "class dim"]:
    """Mean embedding of each class; NaN for a class without an utterance."""
    one_hot = np.eye(n_classes)[labels]
    counts = one_hot.sum(axis=0)[:, None]
    sums = one_hot.T @ embeddings.astype(np.float64)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def cosine_matrix(
    representatives: Float[np.ndarray, "*matrices class dim"],
) -> Float64[np.ndarray, "*matrices class class"]:
    """Cosine similarity of every pair of class representatives, with a unit diagonal.

    S[i, j] = <r_i, r_j> / (|r_i| |r_j|). Rows and columns of a class that is NaN, or whose vector is zero, are NaN.
    """
    wide = representatives.astype(np.float64, copy=False)
    inner = wide @ wide.swapaxes(-1, -2)
    norms = np.sqrt(inner.diagonal(axis1=-2, axis2=-1))
    norms = np.where(norms > 0, norms, np.nan)
    cosine = np.clip(inner / (norms[..., :, None] * norms[..., None, :]), -1.0, 1.0)
    diagonal = np.eye(wide.shape[-2], dtype=bool) & ~np.isnan(norms)[..., None]
    return np.where(diagonal, 1.0, cosine)


def average_matrix(
    matrices: Float64[np.ndarray, "fold *matrices class class"],
) -> tuple[
    Float64[np.ndarray, "*matrices class class"], Int64[np.ndarray, "*matrices class class"]
]:
    """Mean over the folds that have both classes, and how many folds that is (NaN where it is 0)."""
    present = ~np.isnan(matrices)
    counts = present.sum(axis=0)
    total = np.where(present, matrices, 0.0).sum(axis=0)
    mean = np.divide(total, counts, out=np.full_like(total, np.nan), where=counts > 0)
    return mean, counts.astype(np.int64)


Delivered = tuple[Float[np.ndarray, "_ _"], Int64[np.ndarray, " _"]]
"""Embeddings [utterance, dim] and class indices of a fold's test part."""


def summarise_folds(
    delivered: Mapping[tuple[int, int], Delivered], **options: Any
) -> SimilaritySummary:
    """`summarise`, by seed and fold; options are those of it."""
    by_fold: dict[int, list[Delivered]] = {}
    for (_, fold), one in sorted(delivered.items(), key=lambda item: item[0]):
        by_fold.setdefault(fold, []).append(one)
    return summarise([by_fold[fold] for fold in sorted(by_fold)], **options)


def summarise(
    delivered: Sequence[Sequence[Delivered]],
    *,
    n_classes: int,
    resamples: int,
    confidence: float,
    seed: int,
) -> SimilaritySummary:
    """Matrices of all folds of one configuration, their average and its bootstrap interval.

    Args:
        delivered: fold -> seed -> what the training delivers; dimensions may differ, since only cosines are averaged.
        n_classes: number of emotions.
        resamples: bootstrap resamples; each draws every fold's utterances, and its seeds, with replacement.
        confidence: coverage of the percentile interval, e.g. 0.95.
        seed: of the resampling.
    """
    per_fold = np.stack(
        [
            _mean(
                np.stack([cosine_matrix(class_representatives(e, y, n_classes)) for e, y in seeds])
            )
            for seeds in delivered
        ]
    )
    average, fold_counts = average_matrix(per_fold)
    low, high = _bootstrap_interval(delivered, n_classes, resamples, confidence, seed)
    labels = [seeds[0][1] for seeds in delivered]
    counts = np.stack([np.bincount(y, minlength=n_classes) for y in labels]).astype(np.int64)
    return SimilaritySummary(per_fold, average, low, high, fold_counts, counts)


def _mean(
    matrices: Float64[np.ndarray, "one *matrices class class"],
) -> Float64[np.ndarray, "*matrices class class"]:
    """Over seeds or folds, where any of them knows the cell."""
    return matrices[0] if len(matrices) == 1 else average_matrix(matrices)[0]


def _times_drawn(
    random: np.random.Generator, size: int, resamples: int
) -> Int64[np.ndarray, "resample utterance"]:
    """How often each of `size` utterances is among `size` that are drawn with replacement."""
    drawn = random.integers(size, size=(resamples, size))
    drawn += size * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size)


def _fold_draws(
    seeds: Sequence[Delivered],
    n_classes: int,
    resamples: int,
    random: np.random.Generator,
) -> Float64[np.ndarray, "seed resample class class"]:
    """Cosine matrix of every resample of a fold's utterances; the same resamples for all seeds."""
    classes = seeds[0][1]
    by_class = np.argsort(classes, kind="stable")
    bounds = np.searchsorted(classes[by_class], np.arange(n_classes + 1))
    spans = [slice(*bounds[k : k + 2]) for k in range(n_classes)]
    wide = [vectors[by_class].astype(np.float64) for vectors, _ in seeds]
    matrices = np.empty((len(seeds), resamples, n_classes, n_classes))
    for start in range(0, resamples, _BLOCK):
        rows = slice(start, min(start + _BLOCK, resamples))
        times = _times_drawn(random, len(classes), rows.stop - start)[:, by_class].astype(float)
        for seed, vectors in enumerate(wide):  # scale changes no cosine, so sums serve as means
            sums = np.empty((len(times), n_classes, vectors.shape[1]))
            for k, own in enumerate(spans):
                np.matmul(times[:, own], vectors[own], out=sums[:, k])
            matrices[seed, rows] = cosine_matrix(sums)
    return matrices


def _bootstrap_interval(
    delivered: Sequence[Sequence[Delivered]],
    n_classes: int,
    resamples: int,
    confidence: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of the average. A resample is a count for every utterance: sums are matrix products."""
    random, of_seeds = np.random.default_rng(seed), np.random.default_rng([seed, _SEEDS])
    draws = np.full((resamples, len(delivered), n_classes, n_classes), np.nan)
    for fold, seeds in enumerate(delivered):
        if len(seeds[0][1]):
            matrices = _fold_draws(seeds, n_classes, resamples, random)
            chosen = of_seeds.integers(len(seeds), size=(resamples, len(seeds)))
            draws[:, fold] = _mean(matrices[chosen.T, np.arange(resamples)])
    means = _mean(draws.swapaxes(0, 1))
    tail = 50 * (1 - confidence)
    low = np.full((n_classes, n_classes), np.nan)
    high = low.copy()
    unknown = np.isnan(means)
    known = ~unknown.all(axis=0)
    # The same without a NaN, and three times as fast.
    percentile = np.nanpercentile if unknown[:, known].any() else np.percentile
    low[known], high[known] = percentile(means[:, known], [tail, 100 - tail], axis=0)
    return low, high
