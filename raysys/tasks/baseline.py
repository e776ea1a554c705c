"""The simple baselines of a model: features pooled over time, for scikit-learn's classifiers and regressors.

    frames [time, dim] -> mean, std, 10 % and 90 % quantile over time [4 dim], all modalities side by side

A baseline sees the same features and folds as the model, and has the same care: its settings are those with the best
validation score, mean over folds, among a grid. It is fitted on train, as the model is; once more on train and val,
which a model with early stopping cannot have.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int64

from raysys.encoders.encoder import Frames

_NARROW_BYTES = 4
STATISTICS: Mapping[str, int] = {"mean": 1, "mean, std": 2, "mean, std, quantiles": 3}
"""What is pooled over time -> how many kinds of `Pooled` that is."""


@dataclass(frozen=True)
class Pooled:
    """Features over time of every utterance."""

    values: Float[np.ndarray, "utterance column"]
    kinds: Int64[np.ndarray, " column"]
    """Kind of every column: 0 a mean, 1 a standard deviation, 2 a quantile."""

    def of(self, statistics: str) -> Float[np.ndarray, "utterance chosen"]:
        """Columns of a key of `STATISTICS`."""
        return self.values[:, self.kinds < STATISTICS[statistics]]


@dataclass(frozen=True)
class Baseline:
    """What a simple baseline came to."""

    name: str
    settings: str
    """As they were chosen on val; empty where there is nothing to choose."""
    test: tuple[Mapping[str, float], ...]
    """Scores, fold by fold."""
    fitted_on: str = "train"
    outputs: tuple[np.ndarray, ...] = field(default=(), compare=False)
    """Outputs for the test parts, fold by fold, like a model's; empty where they are not kept."""


def pool_over_time(features: Mapping[str, Iterable[Frames]]) -> Pooled:
    """Mean, standard deviation and the 10 % and 90 % quantiles over time, all modalities side by side.

    In float32, and in float64 for features of 64 bits.
    """
    columns, kinds = [], []
    for each in features.values():
        found = np.stack([_statistics(_as_float(frames)) for frames in each])
        columns.append(found)
        kinds.append(np.repeat([0, 1, 2, 2], found.shape[1] // 4))
    return Pooled(np.concatenate(columns, axis=1), np.concatenate(kinds))


def chosen(scores: Sequence[Sequence[float]]) -> int:
    """Index of the candidate with the best mean over folds; of equal ones the first, which is the simplest.

    Args:
        scores: candidate -> validation score, larger is better, of every fold.
    """
    return int(np.argmax(np.mean(np.asarray(scores), axis=1).round(12)))


def _as_float(frames: Frames) -> Float[np.ndarray, "time dim"]:
    return frames.astype(np.float64 if frames.dtype.itemsize > _NARROW_BYTES else np.float32)


def _statistics(frames: Float[np.ndarray, "time dim"]) -> Float[np.ndarray, " statistic"]:
    low, high = np.quantile(frames, [0.1, 0.9], axis=0)
    found = np.concatenate([frames.mean(axis=0), frames.std(axis=0), low, high])
    return found.astype(frames.dtype)
