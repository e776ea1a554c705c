"""Text encoder `hashed`: one fixed pseudo-random vector a distinct token. It knows no meaning; its name says so.

    text -> lower-case words and marks -> SHA-256 of each -> standard normal vector [token, dim]

Same word, same vector, on every machine: enough for a model to learn which words go with which emotion.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from raysys.config import FeaturesConfig
from raysys.corpus.table import Utterance
from raysys.features.encoder import Frames

_TOKEN = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")


class HashedEncoder:
    """Hashed token vectors; see the module."""

    def __init__(self, config: FeaturesConfig) -> None:
        self._dim = config.hashed.dim

    def fingerprint(self) -> dict[str, Any]:
        """Width of the vectors."""
        return {"encoder": "hashed", "dim": self._dim}

    def encode(self, rows: Sequence[Utterance], root: Path) -> Iterator[tuple[int, Frames]]:
        """A vector for every token of each text, in order."""
        for position, row in enumerate(rows):
            yield position, np.stack([_vector(token, self._dim) for token in tokens(row.text)])


def tokens(text: str) -> list[str]:
    """Lower-case words and single marks; a text without any is one token, itself."""
    return _TOKEN.findall(text.lower()) or [text]


@lru_cache(maxsize=65536)
def _vector(token: str, dim: int) -> Float32[np.ndarray, " dim"]:
    seed = int.from_bytes(hashlib.sha256(token.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
