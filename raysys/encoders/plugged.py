"""An encoder of a user's own: kept under its own name, and its mistakes said in a line.

What it inherits from another module is no part of the code that it digests by itself, so its class and that one's
module are added to its fingerprint: two encoders never share features.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raysys.corpus.table import Utterance
from raysys.encoders.encoder import Encoder, EncoderConfig, Frames, Source, code_digest
from raysys.errors import FeatureError
from raysys.plugins import blamed

_TAKEN_OVER = (
    "turns_before",
    "portion",
    "uses_gpu",
    "hears_hz",
    "is_light",
    "parameters",
    "keeps_precision",
)


class Plugged(Encoder):
    """A plug-in's encoder.

    Args:
        config: its settings, of the plug-in's class.
        modality: that it encodes.

    Raises:
        FeatureError: it cannot be built.
    """

    def __init__(self, config: EncoderConfig, modality: str) -> None:
        kind = type(config)
        self._name = f"{kind.__module__}:{kind.__qualname__}"
        with blamed(self._name, FeatureError):
            self._encoder = config.build(modality)
        if not isinstance(self._encoder, Encoder):
            raise FeatureError(
                f"plug-in '{self._name}': build returned a {type(self._encoder).__name__}, but must return a "
                "raysys.encoders.encoder.Encoder"
            )
        for name in _TAKEN_OVER:
            setattr(self, name, getattr(self._encoder, name))

    def fingerprint(self) -> dict[str, Any]:
        """The encoder's, its name, and the code of its module."""
        module = sys.modules[self._name.partition(":")[0]]
        code = code_digest(module) if getattr(module, "__file__", None) else ""
        with blamed(self._name, FeatureError):
            return {"plugin": self._name, "code": code, "of": self._encoder.fingerprint()}

    def size(self, source: Source, root: Path) -> float:
        """The encoder's."""
        with blamed(self._name, FeatureError):
            return self._encoder.size(source, root)

    def read(self, source: Source, root: Path) -> Any:
        """The encoder's."""
        with blamed(self._name, FeatureError):
            return self._encoder.read(source, root)

    def names(self, row: Utterance) -> list[str]:
        """The encoder's."""
        with blamed(self._name, FeatureError):
            return self._encoder.names(row)

    def load(self) -> None:
        """The encoder's model."""
        with blamed(self._name, FeatureError):
            self._encoder.load()
        self.parameters = self._encoder.parameters

    def encode(self, items: Sequence[Any]) -> Iterator[tuple[int, Frames]]:
        """The encoder's frames.

        Raises:
            FeatureError: they are none, or not one array for each item.
        """
        left = set(range(len(items)))
        with blamed(self._name, FeatureError):
            for position, frames in self._encoder.encode(items):
                if not isinstance(frames, np.ndarray) or frames.ndim != 2:
                    shape = list(getattr(frames, "shape", [])) or type(frames).__name__
                    raise FeatureError(
                        f"plug-in '{self._name}': encode yielded {shape} for an item, but must yield an array "
                        "[time, dim]"
                    )
                if position not in left:
                    raise FeatureError(
                        f"plug-in '{self._name}': encode yielded position {position} twice, or without such an item"
                    )
                left.remove(position)
                yield position, frames
        if left:
            raise FeatureError(
                f"plug-in '{self._name}': encode yielded nothing for {len(left)} of {len(items)} items: each must be "
                "yielded once"
            )
