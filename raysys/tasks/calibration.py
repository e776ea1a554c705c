"""Whether probabilities mean what they say, and the temperature that makes them.

confidence = largest probability;   bins of confidence -> accuracy in each
ECE = sum over bins of (utterances in it / all) |accuracy - confidence|        Guo et al. 2017, arXiv:1706.04599
Brier = mean |p - one-hot|^2 (0 to 2; Brier 1950),   NLL = mean -log p(truth)
softmax(log p / T), T by least NLL on val: the order of emotions stays, their probabilities spread or sharpen
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from raysys.storage import Number
from raysys.tasks.resampling import Over, Units

_BINS = 15
_RESAMPLES = 1000
_COOLEST, _HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class Bin:
    """Utterances of like confidence."""

    low: float
    """Confidence above this,"""
    high: float
    """and up to this."""
    utterances: int
    confidence: Number
    """Mean; NaN in an empty bin."""
    accuracy: Number


@dataclass(frozen=True)
class Calibration:
    """Calibration of the predictions for the test utterances of all folds."""

    ece: Number
    low: Number
    """End of the 95 % interval of the ECE."""
    high: Number
    brier: Number
    nll: Number
    confidence: Number
    """Mean."""
    accuracy: Number
    bins: tuple[Bin, ...]
    over: Over
    """What the interval varies."""


def calibration(
    probabilities: Float[np.ndarray, "row class"],
    truth: Int64[np.ndarray, " row"],
    units: Units,
    *,
    n_bins: int = _BINS,
    seed: int = 0,
) -> Calibration:
    """ECE with its interval, Brier score and NLL.

    The ECE of few utterances is too high, since chance alone parts accuracy from confidence, and that of a resample
    once more: the interval is the basic one, from 2 ECE - q(97.5 %) to 2 ECE - q(2.5 %), and begins at 0 where chance
    alone would part them as far in more than one of twenty resamples.

    Args:
        probabilities: rows of sum 1.
        truth: classes.
        units: what the bootstrap draws.
        n_bins: of equal width.
        seed: of the bootstrap.
    """
    from sklearn.metrics import brier_score_loss, log_loss  # a second, which workers are spared

    exact = np.asarray(probabilities, dtype=np.float64)
    exact = exact / exact.sum(axis=1, keepdims=True)
    confidence, right = exact.max(axis=1), exact.argmax(axis=1) == truth
    place = np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    counts = np.bincount(place, minlength=n_bins)
    gaps = _sums(place, right - confidence, units, n_bins)
    ece = float(np.abs(gaps.sum(axis=0)).sum() / len(truth))
    drawn = units.drawn(_RESAMPLES, seed)
    sizes = np.bincount(units.of, minlength=units.count)
    again = np.abs(drawn @ gaps).sum(axis=1) / (drawn @ sizes)
    low, high = 2 * ece - np.percentile(again, [97.5, 2.5])
    by_chance = np.abs(drawn @ gaps - gaps.sum(axis=0)).sum(axis=1) / len(truth)
    if ece <= np.percentile(by_chance, 95):
        low = 0.0
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, confidence, n_bins) / counts
        accuracy = np.bincount(place, right, n_bins) / counts
    classes = range(exact.shape[1])
    return Calibration(
        ece,
        max(0.0, float(low)),
        max(0.0, float(high)),
        float(brier_score_loss(truth, exact, labels=classes, scale_by_half=False)),
        float(log_loss(truth, exact, labels=classes)),
        float(confidence.mean()),
        float(right.mean()),
        tuple(
            Bin(k / n_bins, (k + 1) / n_bins, int(counts[k]), float(mean[k]), float(accuracy[k]))
            for k in range(n_bins)
        ),
        units.over,
    )


def fit_temperature(
    probabilities: Float[np.ndarray, "row class"], truth: Int64[np.ndarray, " row"]
) -> float:
    """T of least NLL, within 0.05 and 20: no val part is so large that it could say more.

    Args:
        probabilities: of val.
        truth: its classes.
    """
    from scipy.optimize import minimize_scalar

    logs = _logs(probabilities)
    rows = np.arange(len(truth))

    def nll(log_temperature: float) -> float:
        cooled = logs / np.exp(log_temperature)
        top = cooled.max(axis=1)
        sums = np.log(np.exp(cooled - top[:, None]).sum(axis=1)) + top
        return float((sums - cooled[rows, truth]).mean())

    bounds = (np.log(_COOLEST), np.log(_HOTTEST))
    return float(np.exp(minimize_scalar(nll, bounds=bounds, method="bounded").x))


def _logs(probabilities: Float[np.ndarray, "row class"]) -> Float64[np.ndarray, "row class"]:
    return np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float64).tiny))


def _sums(
    place: Int64[np.ndarray, " row"],
    values: Float64[np.ndarray, " row"],
    units: Units,
    n_bins: int,
) -> Float64[np.ndarray, "unit bin"]:
    """Sums of values over the rows of each unit and bin."""
    cells = np.bincount(units.of * n_bins + place, values, units.count * n_bins)
    return np.asarray(cells, dtype=np.float64).reshape(units.count, n_bins)
