"""Mean and variance normalisation of frame columns.

`Normaliser` is fitted on the frames of a fold's train part. `by_speaker` uses each speaker's own frames, never a label;
it looks at test speakers' audio too, which is why it is off by default and named in every report.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from raysys.encoders.store import Ragged

FRAMED = ("audio", "video")
"""Modalities whose columns are normalised; tokens keep their encoder's scale."""

_SMALLEST_STD = 1e-5


@dataclass(frozen=True)
class Normaliser:
    """Column-wise (x - mean) / std."""

    mean: Float32[np.ndarray, " dim"]
    std: Float32[np.ndarray, " dim"]

    @classmethod
    def fit(cls, frames: Float[np.ndarray, "time dim"]) -> "Normaliser":
        """Mean and standard deviation of the columns; a constant column keeps its scale."""
        wide = frames.astype(np.float64)
        std = wide.std(axis=0)
        std[std < _SMALLEST_STD] = 1.0
        return cls(wide.mean(axis=0).astype(np.float32), std.astype(np.float32))

    def __call__(self, frames: Float[np.ndarray, "time dim"]) -> Float32[np.ndarray, "time dim"]:
        """Normalised frames."""
        return (frames.astype(np.float32) - self.mean) / self.std


def by_speaker(ragged: Ragged, speakers: Sequence[str]) -> Ragged:
    """Normalise each speaker's frames by the mean and variance of all frames of that speaker.

    Args:
        ragged: features of all utterances.
        speakers: speaker of every utterance, in the same order.
    """
    values = np.empty((ragged.total_time, ragged.dim), dtype=np.float16)
    ends = np.cumsum(ragged.lengths)
    for speaker in sorted(set(speakers)):
        rows = [k for k, name in enumerate(speakers) if name == speaker]
        fitted = Normaliser.fit(np.concatenate([ragged[k] for k in rows]))
        for k in rows:
            values[ends[k] - ragged.lengths[k] : ends[k]] = fitted(ragged[k])
    return Ragged.of(values, ragged.lengths)
