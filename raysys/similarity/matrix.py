"""Class-similarity matrices: from embeddings to representatives, cosines and averages.

    embeddings [utterance, dim], labels -> class sums, counts -> representatives [class, dim] -> cosine [class, class]
    matrices of a fold's seeds -> their mean;   of the folds -> average over the folds that have both classes

A class without an utterance in a fold is NaN there and is left out of the average; its count is kept.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from raysys.settings import require

_SHORTEST = 0.02
"""Share of |r|^2 that is left of a vector that is all noise."""


@dataclass(frozen=True)
class SimilarityConfig:
    """Uncertainty of the averaged class-similarity matrix."""

    resamples: int = 1000
    """Where there are fewer than three folds: bootstrap resamples of their speakers or utterances, and of seeds."""
    confidence: float = 0.95
    """Coverage of the interval of each cell."""

    def __post_init__(self) -> None:
        require(self.resamples >= 10, "similarity.resamples", self.resamples, "10 or more")
        rule = "between 0 and 1"
        require(0 < self.confidence < 1, "similarity.confidence", self.confidence, rule)


Delivered = tuple[Float[np.ndarray, "_ _"], Int64[np.ndarray, " _"]]
"""Embeddings [utterance, dim] and class indices of a fold's test part."""


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
    noise: Float64[np.ndarray, " class"] | None = None,
) -> Float64[np.ndarray, "*matrices class class"]:
    """Cosine similarity of every pair of class representatives, with a unit diagonal.

    S[i, j] = <r_i, r_j> / (|r_i| |r_j|). Rows and columns of a class that is NaN, or whose vector is zero, are NaN.

    Args:
        representatives: vector of each class.
        noise: expected square of each one's error, which is taken out of its norm: |r|^2 - noise, of which at least a
            fiftieth of |r|^2 is left; NaN where it is not known.
    """
    wide = representatives.astype(np.float64, copy=False)
    inner = wide @ wide.swapaxes(-1, -2)
    squares = inner.diagonal(axis1=-2, axis2=-1)
    if noise is not None:
        squares = np.maximum(squares - noise, _SHORTEST * squares)
    norms = np.sqrt(squares)
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


def mean_known(
    matrices: Float64[np.ndarray, "one *matrices class class"],
) -> Float64[np.ndarray, "*matrices class class"]:
    """Mean over seeds or folds, where any of them knows the cell."""
    return matrices[0] if len(matrices) == 1 else average_matrix(matrices)[0]
