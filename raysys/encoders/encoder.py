"""What an encoder is: frozen, deterministic, from an utterance to a [time, dim] array.

Its settings are a class in its own module, registered by a field of `raysys.encoders.FeaturesConfig`. What identifies
its features must be known without loading a model, so that a store can be found before one is.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from raysys.corpus.audit import Finding
from raysys.corpus.table import Utterance
from raysys.settings import digest

Frames = Shaped[np.ndarray, "time dim"]


@runtime_checkable
class Encoder(Protocol):
    """Turns the utterances of one modality into frames or tokens.

    Raises of both methods: `FeatureError` for an utterance or a model that cannot be used.
    """

    def fingerprint(self) -> dict[str, Any]:
        """JSON-able settings and digests that decide the values: equal fingerprints, equal features."""
        ...

    def encode(
        self, rows: Sequence[Utterance], root: Path, chosen: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Frames]]:
        """Yield (position in `rows`, frames), each chosen position once, in any order; `time` is at least 1.

        The store keeps whole numbers (ids, indices) as they are, and others as float16.

        Args:
            rows: all utterances of the corpus; what surrounds an utterance may be read too.
            root: of the corpus.
            chosen: positions to encode; all, if None.
        """
        ...


@dataclass(frozen=True)
class EncoderConfig:
    """Settings of an encoder, which make it; a base without fields, since the command line takes plain dataclasses."""

    modalities: ClassVar[tuple[str, ...]]
    """What it can encode."""

    def build(self, modality: str) -> Encoder:
        """The encoder; nothing large is loaded before its first `encode`."""
        raise TypeError(f"{type(self).__name__} does not say how it is built")

    def findings(self, modalities: Sequence[str], corpus: str) -> list[Finding]:
        """What the audit must know: corpora that the encoder was trained on, or what nobody can check.

        Args:
            modalities: that it encodes.
            corpus: name of the corpus.
        """
        return []

    def seen(self, features: Iterable[Frames]) -> list[Finding]:
        """What the audit must know of the features of a corpus, utterance by utterance."""
        return []


def positions(rows: Sequence[Utterance], chosen: Sequence[int] | None) -> Sequence[int]:
    """The chosen positions, or all."""
    return range(len(rows)) if chosen is None else chosen


def code_digest(*modules: ModuleType) -> str:
    """Digest of what modules do: neither comments nor docstrings nor layout count."""
    return digest([_stripped(Path(str(module.__file__))) for module in modules])


def _stripped(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
