"""Fewer frames: the mean of every few, so that long corpora fit.

[time, dim] -> [ceil(time / n), dim]; the last mean may be of fewer frames
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raysys.encoders.encoder import Encoder, Frames, Source, code_digest


class Pooled(Encoder):
    """An encoder whose frames are averaged.

    Args:
        encoder: that gives the frames.
        count: frames a mean.
    """

    def __init__(self, encoder: Encoder, count: int) -> None:
        self._encoder = encoder
        self._count = count
        self.turns_before = encoder.turns_before
        self.portion = encoder.portion
        self.uses_gpu = encoder.uses_gpu
        self.keeps_precision = encoder.keeps_precision

    def fingerprint(self) -> dict[str, Any]:
        """The encoder's, and how many frames are one."""
        code = code_digest(sys.modules[__name__])
        return {"pool_frames": self._count, "code": code, "of": self._encoder.fingerprint()}

    def size(self, source: Source, root: Path) -> float:
        """The encoder's."""
        return self._encoder.size(source, root)

    def read(self, source: Source, root: Path) -> Any:
        """The encoder's."""
        return self._encoder.read(source, root)

    def load(self) -> None:
        """The encoder's model."""
        self._encoder.load()

    def encode(self, items: Sequence[Any]) -> Iterator[tuple[int, Frames]]:
        """Means of the encoder's frames, in its order."""
        for position, frames in self._encoder.encode(items):
            if not len(frames):
                yield position, frames
                continue
            starts = np.arange(0, len(frames), self._count)
            sums = np.add.reduceat(frames.astype(np.float64), starts, axis=0)
            lengths = np.diff([*starts, len(frames)])
            wide = self.keeps_precision and frames.dtype.itemsize > np.dtype(np.float32).itemsize
            yield position, (sums / lengths[:, None]).astype(np.float64 if wide else np.float32)
        self.parameters = self._encoder.parameters
