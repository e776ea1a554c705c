"""Text encoder `hashed`: one fixed pseudo-random vector a distinct token. It knows no meaning; its name says so.

    text -> lower-case words and marks -> SHA-256 of each -> standard normal vector [token, dim]

Same word, same vector, on every machine: enough for a model to learn which words go with which emotion.
"""

import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32

from raysys.corpus.table import Utterance
from raysys.encoders.encoder import Encoder, EncoderConfig, Frames, Source, code_digest
from raysys.settings import require

_TOKEN = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class HashedConfig(EncoderConfig):
    """Deterministic vectors of hashed tokens: no learning, no download."""

    modalities: ClassVar = ("text",)
    dim: int = 96
    """Width of a token's vector."""

    def __post_init__(self) -> None:
        require(8 <= self.dim <= 4096, "features.hashed.dim", self.dim, "8 to 4096")

    def build(self, modality: str) -> "HashedEncoder":
        """The encoder."""
        return HashedEncoder(self)


class HashedEncoder(Encoder):
    """Hashed token vectors; see the module."""

    portion = 20_000.0

    def __init__(self, config: HashedConfig) -> None:
        self._dim = config.dim

    def fingerprint(self) -> dict[str, Any]:
        """Width of the vectors."""
        code = code_digest(sys.modules[__name__])
        return {"encoder": "hashed", "dim": self._dim, "code": code}

    def size(self, source: Source, root: Path) -> float:
        """Characters."""
        return float(len(source.row.text))

    def read(self, source: Source, root: Path) -> str:
        """The text."""
        return source.row.text

    def names(self, row: Utterance) -> list[str]:
        """Its tokens."""
        return tokens(row.text)

    def encode(self, items: Sequence[str]) -> Iterator[tuple[int, Frames]]:
        """A vector for every token of each text, in order."""
        for k, text in enumerate(items):
            yield k, np.stack([_vector(word, self._dim) for word in tokens(text)])


def tokens(text: str) -> list[str]:
    """Lower-case words and single marks; a text without any is one token, itself."""
    return _TOKEN.findall(text.lower()) or [text]


@lru_cache(maxsize=65536)
def _vector(token: str, dim: int) -> Float32[np.ndarray, " dim"]:
    seed = int.from_bytes(hashlib.sha256(token.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
