"""What an encoder is: frozen, deterministic, from an utterance to a [time, dim] array.

Its settings are a class in its own module, registered by a field of `raysys.encoders.FeaturesConfig`. What identifies
its features must be known without loading a model, so that a store can be found before one is.
"""

import ast
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Shaped

from raysys.corpus.finding import Finding
from raysys.corpus.table import Utterance
from raysys.encoders.top_layers import TopRecipe
from raysys.settings import digest

STREAMS = ("audio", "text", "video", "image")
"""What an utterance is made of."""
TIMED = ("audio", "video")
"""Streams whose frames follow each other in time."""
FRAMED = (*TIMED, "image")
"""Streams whose columns are normalised; tokens keep their encoder's scale."""
Frames = Shaped[np.ndarray, "_ _"]
"""[time, dim]."""


@dataclass(frozen=True)
class Source:
    """An utterance that is to be encoded."""

    position: int
    """In the corpus."""
    row: Utterance
    before: tuple[Utterance, ...] = ()
    """The turns before it, oldest first, for an encoder that reads them."""


class Encoder(ABC):
    """Turns the utterances of one modality into frames or tokens, in two steps that may run on different machines.

    Source -> read: file, decoding, on any CPU -> encode: the model's work, where the model is -> frames
    """

    turns_before: int = 0
    """Turns of the dialogue that are read with the utterance."""
    portion: float = 256.0
    """Sum of sizes that is read before it is encoded: what memory must hold."""
    uses_gpu: bool = False
    """Whether it is faster on a GPU."""
    hears_hz: int = 0
    """Rate in Hz of the samples that `read` gives; 0 where it gives something else."""
    is_light: bool = False
    """Whether a whole corpus costs less than starting a worker."""
    parameters: int = 0
    """Parameters of its model, once it is loaded."""
    keeps_precision: bool = False
    """Whether frames are stored in the type that they have, as users' must be; models' states are stored as float16."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """JSON-able settings and digests that decide the values: equal fingerprints, equal features."""

    def size(self, source: Source, root: Path) -> float:
        """How large an utterance is, without reading it: those of like size are encoded together."""
        return 1.0

    @abstractmethod
    def read(self, source: Source, root: Path) -> Any:
        """What `encode` needs of an utterance; can be pickled.

        Args:
            source: the utterance.
            root: of the corpus.

        Raises:
            FeatureError, CorpusError: it cannot be read, which costs this utterance alone.
        """

    def names(self, row: Utterance) -> list[str]:
        """What the frames of an utterance are, such as its tokens; none where they have no names."""
        return []

    def load(self) -> None:  # noqa: B027
        """Load what `encode` needs, ahead of time.

        Raises:
            FeatureError: the model cannot be used.
        """

    @abstractmethod
    def encode(self, items: Sequence[Any]) -> Iterator[tuple[int, Frames]]:
        """Yield (position in `items`, frames), each once, in any order; `time` is at least 1.

        The store keeps whole numbers (ids, indices) as they are, and others as float16, or as `keeps_precision` says.

        Args:
            items: what `read` gave.

        Raises:
            FeatureError: the model cannot be used.
        """


@dataclass(frozen=True)
class EncoderConfig:
    """Settings of an encoder, which make it; a base without fields, since the command line takes plain dataclasses."""

    modalities: ClassVar[tuple[str, ...]]
    """What it can encode."""

    def build(self, modality: str) -> Encoder:
        """The encoder; nothing large is loaded before its first `encode`."""
        raise TypeError(f"{type(self).__name__} does not say how it is built")

    def top(self) -> TopRecipe | None:
        """The layers that are trained with the model, where there are such.

        Raises:
            FeatureError: the model cannot be used.
        """
        return None

    def findings(self, modalities: Sequence[str], corpus: str) -> list[Finding]:
        """What the audit must know: corpora that the encoder was trained on, or what nobody can check.

        Args:
            modalities: that it encodes.
            corpus: name of the corpus.
        """
        return []

    def seen(self, features: Iterable[Frames], rows: Sequence[Utterance]) -> list[Finding]:
        """What the audit must know of the features of a corpus, utterance by utterance.

        Args:
            features: of every utterance.
            rows: the utterances, in the same order.
        """
        return []


def marked(states: Frames, own: slice) -> Frames:
    """States with the mark of those that are the utterance's own as their last column."""
    marks = np.zeros((len(states), 1), dtype=states.dtype)
    marks[own] = 1
    return np.concatenate([states, marks], axis=1)


def own_frames(frames: Frames) -> Frames:
    """An utterance's own frames of those with marks, without the mark."""
    return frames[frames[:, -1] > 0, :-1]


def code_digest(*modules: ModuleType) -> str:
    """Digest of what modules do: neither comments nor docstrings nor layout count."""
    return digest([_stripped(Path(str(module.__file__))) for module in modules])


def digest_of_code(files: Iterable[Path], *, below: Path) -> str:
    """`code_digest` of the files of a package, with their places in it.

    Args:
        files: in any order.
        below: folder of the package.
    """
    return digest({str(file.relative_to(below)): _stripped(file) for file in files})


def _stripped(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
