"""Encoder `ratings`: what people said of an item in one label format, as its one frame; -1 where they were not asked.

FORMAT.VARIABLE of the corpus, in 0..1 -> [1, variable]
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from raysys.encoders.encoder import (
    Encoder,
    EncoderConfig,
    Frames,
    Source,
    code_digest,
)

UNKNOWN = -1.0
"""What stands in the place of a rating that is not there: stores hold numbers alone."""


@dataclass(frozen=True)
class RatingsEncoderConfig(EncoderConfig):
    """Ratings as they are; no settings."""

    modalities: ClassVar = ("label formats",)

    def build(self, modality: str) -> "RatingsEncoder":
        """The encoder."""
        return RatingsEncoder(modality)


class RatingsEncoder(Encoder):
    """The ratings of one format; see the module."""

    portion = 100_000.0
    is_light = True
    keeps_precision = True

    def __init__(self, format_name: str) -> None:
        self._prefix = f"{format_name}."

    def fingerprint(self) -> dict[str, Any]:
        """The format; ratings are part of the corpus' digest."""
        code = code_digest(sys.modules[__name__])
        return {"encoder": "ratings", "format": self._prefix, "code": code}

    def read(self, source: Source, root: Path) -> Frames:
        """The ratings."""
        values = source.row.values or {}
        own = [value for name, value in values.items() if name.startswith(self._prefix)]
        return np.nan_to_num(np.array([own], dtype=np.float32), nan=UNKNOWN)

    def encode(self, items: Sequence[Frames]) -> Iterator[tuple[int, Frames]]:
        """What was read."""
        yield from enumerate(items)
