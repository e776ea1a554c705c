"""Mean and variance normalisation of frame columns.

`Normaliser` is fitted on the frames of a fold's train part. `by_speaker` uses each speaker's own frames, never a label;
it looks at test speakers' audio too, which is why it is off by default and named in every report.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from jaxtyping import Float, Float32, Int64, Shaped

from raysys.encoders.ragged import Ragged

_CONSTANT = 1e-12
"""Deviation of a column, as a share of its mean, that only rounding can have made."""
_SMALLEST_STD = 1e-37
_NARROW_BYTES = 4


@dataclass(frozen=True)
class Normaliser:
    """Column-wise (x - mean) / std."""

    mean: Float[np.ndarray, " dim"]
    """float32; float64 for frames of 64 bits, whose differences may be small compared with their mean."""
    std: Float[np.ndarray, " dim"]

    @classmethod
    def fit(cls, frames: Iterable[Shaped[np.ndarray, "_ dim"]]) -> "Normaliser":
        """Mean and standard deviation of the columns; a constant column keeps its scale.

        Args:
            frames: of utterances or batches, which are gone through twice, one in memory at a time.
        """
        count, total, wide = 0, np.zeros(()), False
        for one in frames:
            wide = wide or one.dtype.itemsize > _NARROW_BYTES
            count, total = count + len(one), total + one.astype(np.float64).sum(axis=0)
        mean = total / count
        square = sum(np.square(one.astype(np.float64) - mean).sum(axis=0) for one in frames)
        std = np.sqrt(square / count)
        std[std <= np.maximum(_CONSTANT * np.abs(mean), _SMALLEST_STD)] = 1.0
        kind = np.float64 if wide else np.float32
        return cls(mean.astype(kind), std.astype(kind))

    def __call__(self, frames: Shaped[np.ndarray, "time dim"]) -> Float32[np.ndarray, "time dim"]:
        """Normalised frames."""
        return ((frames.astype(self.mean.dtype) - self.mean) / self.std).astype(
            np.float32, copy=False
        )


@dataclass(frozen=True)
class BySpeaker(Ragged):
    """Frames that are normalised when they are read, each speaker's by that speaker's statistics."""

    normalisers: tuple[Normaliser, ...] = ()
    """Normaliser of each speaker."""
    speaker: Int64[np.ndarray, " utterance"] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Who speaks each utterance."""

    def __getitem__(self, k: int) -> Shaped[np.ndarray, "time dim"]:
        frames = super().__getitem__(k)
        normalised = self.normalisers[self.speaker[k]](frames)
        return normalised.astype(np.float16) if frames.dtype == np.float16 else normalised

    def take(self, rows: Sequence[int]) -> "BySpeaker":
        """Some of the utterances, all of which have features."""
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            starts=self.starts[chosen],
            lengths=self.lengths[chosen],
            failed={},
            speaker=self.speaker[chosen],
        )


def as_speakers(ragged: Ragged, known: BySpeaker) -> BySpeaker:
    """Other frames of the same utterances, normalised by what was fitted before.

    Args:
        ragged: features of all utterances, in the same order.
        known: whose normalisers and speakers count.
    """
    plain = {one.name: getattr(ragged, one.name) for one in fields(Ragged)}
    return BySpeaker(**plain, normalisers=known.normalisers, speaker=known.speaker)


def by_speaker(ragged: Ragged, speakers: Sequence[str]) -> BySpeaker:
    """Each speaker's frames, normalised by the mean and variance of all frames of that speaker.

    Args:
        ragged: features of all utterances.
        speakers: speaker of every utterance, in the same order.
    """
    names, speaker = np.unique(speakers, return_inverse=True)
    fitted = [
        Normaliser.fit(ragged.take(np.flatnonzero(speaker == k).tolist()))
        for k in range(len(names))
    ]
    known = {one.name: getattr(ragged, one.name) for one in fields(Ragged)}
    return BySpeaker(**known, normalisers=tuple(fitted), speaker=speaker.astype(np.int64))
