"""What an encoder is: frozen, deterministic, from an utterance to a [time, dim] array."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from raysys.corpus.table import Utterance

Frames = Float32[np.ndarray, "time dim"]


@runtime_checkable
class Encoder(Protocol):
    """Turns the utterances of one modality into frames or tokens.

    Raises of both methods: `FeatureError` for an utterance or a model that cannot be used.
    """

    def fingerprint(self) -> dict[str, Any]:
        """JSON-able settings and digests that decide the values: equal fingerprints, equal features."""
        ...

    def encode(self, rows: Sequence[Utterance], root: Path) -> Iterator[tuple[int, Frames]]:
        """Yield (position in `rows`, frames), each position once, in any order; `time` is at least 1."""
        ...
