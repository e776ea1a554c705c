"""The simple rival: features pooled over time, for a classifier or regressor without settings.

    frames [time, dim] -> mean, std, 10 % and 90 % quantile over time [4 dim], all modalities side by side

It sees the same features and folds as the model. It is fitted on train alone, so it has seen a little less than one
that also fits on val would.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float

from raysys.encoders.encoder import Frames

_NARROW_BYTES = 4


def pool_over_time(
    features: Mapping[str, Iterable[Frames]],
) -> Float[np.ndarray, "utterance dim"]:
    """Mean, standard deviation and the 10 % and 90 % quantiles over time, all modalities side by side.

    In float32, and in float64 for features of 64 bits.
    """
    columns = []
    for each in features.values():
        columns.append(np.stack([_statistics(_as_float(frames)) for frames in each]))
    return np.concatenate(columns, axis=1)


def _as_float(frames: Frames) -> Float[np.ndarray, "time dim"]:
    return frames.astype(np.float64 if frames.dtype.itemsize > _NARROW_BYTES else np.float32)


def _statistics(frames: Float[np.ndarray, "time dim"]) -> Float[np.ndarray, " statistic"]:
    low, high = np.quantile(frames, [0.1, 0.9], axis=0)
    found = np.concatenate([frames.mean(axis=0), frames.std(axis=0), low, high])
    return found.astype(frames.dtype)
