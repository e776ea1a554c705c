"""All that a run says of class similarity: the folds' matrices, their average, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from raysys.similarity.interval import Over, interval
from raysys.similarity.matrix import (
    Delivered,
    average_matrix,
    class_representatives,
    cosine_matrix,
    mean_known,
)


@dataclass(frozen=True)
class SimilaritySummary:
    """The matrices of one configuration."""

    per_fold: Float64[np.ndarray, "fold class class"]
    """Mean over the seeds."""
    average: Float64[np.ndarray, "class class"]
    unbiased: Float64[np.ndarray, "class class"]
    """The same, of cosines without the noise of the means."""
    low: Float64[np.ndarray, "class class"]
    """Ends of the interval of `unbiased`."""
    high: Float64[np.ndarray, "class class"]
    over: Over
    """What the interval varies."""
    fold_counts: Int64[np.ndarray, "class class"]
    """Folds that each cell of the average rests on."""
    utterance_counts: Int64[np.ndarray, "fold class"]
    val_per_fold: Float64[np.ndarray, "fold class class"] | None = None
    """Matrix of each fold's val part, by its own model: nothing of its test part is behind it."""


def summarise_folds(
    delivered: Mapping[tuple[int, int], Delivered],
    *,
    speakers: Mapping[int, Sequence[str]] | None = None,
    **options: Any,
) -> SimilaritySummary:
    """`summarise`, by seed and fold.

    Args:
        delivered: (seed, fold) -> what the training delivers.
        speakers: fold -> who speaks, in the order of its test part.
        options: those of `summarise`.
    """
    by_fold: dict[int, list[Delivered]] = {}
    for (_, fold), one in sorted(delivered.items(), key=lambda item: item[0]):
        by_fold.setdefault(fold, []).append(one)
    folds = sorted(by_fold)
    who = [speakers[fold] for fold in folds] if speakers else None
    return summarise([by_fold[fold] for fold in folds], speakers=who, **options)


def summarise(
    delivered: Sequence[Sequence[Delivered]],
    *,
    n_classes: int,
    resamples: int,
    confidence: float,
    seed: int,
    speakers: Sequence[Sequence[str]] | None = None,
) -> SimilaritySummary:
    """Matrices of all folds of one configuration, their average and its interval.

    Args:
        delivered: fold -> seed -> what the training delivers; dimensions may differ, since only cosines are averaged.
        n_classes: number of emotions.
        resamples: of the bootstrap, see `raysys.similarity.interval`.
        confidence: coverage of the interval, e.g. 0.95.
        seed: of the resampling.
        speakers: fold -> who speaks; an empty text where that is not known.
    """
    per_fold = np.stack(
        [
            mean_known(
                np.stack([cosine_matrix(class_representatives(e, y, n_classes)) for e, y in seeds])
            )
            for seeds in delivered
        ]
    )
    average, fold_counts = average_matrix(per_fold)
    found = interval(
        delivered,
        speakers,
        n_classes=n_classes,
        resamples=resamples,
        confidence=confidence,
        seed=seed,
    )
    labels = [seeds[0][1] for seeds in delivered]
    counts = np.stack([np.bincount(y, minlength=n_classes) for y in labels]).astype(np.int64)
    return SimilaritySummary(
        per_fold, average, found.estimate, found.low, found.high, found.over, fold_counts, counts
    )
