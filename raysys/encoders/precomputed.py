"""Encoder `precomputed`: features that were computed elsewhere, for any modality.

    features.precomputed.MODALITY = FILE.npz    one array [time, dim] or [dim] an utterance, named by its utterance_id
    video without a file                        the corpus' own column `video`: a .npy a row, under the corpus root

Nothing is unpickled. What a file holds beyond the corpus' utterances is left alone.
"""

import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.lib.npyio import NpzFile

from raysys.corpus.audio import FILMS
from raysys.corpus.finding import Finding
from raysys.corpus.tables import refuse_pointer
from raysys.encoders.encoder import Encoder, EncoderConfig, Frames, Source, code_digest
from raysys.errors import FeatureError
from raysys.storage import file_digest

_LARGEST_WHOLE = 2**53
_DAMAGED = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises on a damaged file."""


@dataclass(frozen=True)
class PrecomputedConfig(EncoderConfig):
    """Features that were computed elsewhere: .npz files with an array [time, dim] or [dim] an utterance_id.

    They are stored in the type that they have (whole numbers as int64), which must be one for all utterances.
    """

    modalities: ClassVar = ("audio", "text", "video", "image")
    audio: str = ""
    """File of audio features."""
    text: str = ""
    """File of text features."""
    video: str = ""
    """File of video features. Empty: the manifest's column `video` names a .npy file a row."""
    image: str = ""
    """File of image features."""

    def build(self, modality: str) -> "PrecomputedEncoder":
        """The encoder."""
        return PrecomputedEncoder(self, modality)

    def findings(self, modalities: Sequence[str], corpus: str) -> list[Finding]:
        """A finding that nobody knows what its encoder has seen."""
        message = (
            f"{' and '.join(modalities)} features were computed elsewhere: whether their encoder has seen the test "
            "part, or files are shared between parts, cannot be checked here"
        )
        return [Finding("note", "precomputed_features", message)]


class PrecomputedEncoder(Encoder):
    """Reads frames instead of computing them; see the module.

    Raises:
        FeatureError: the file is missing, or not an .npz.
    """

    keeps_precision = True

    def __init__(self, config: PrecomputedConfig, modality: str) -> None:
        self._modality = modality
        name = str(getattr(config, modality))
        self._file = Path(name).expanduser() if name else None
        if self._file is None:
            return
        setting = f"features.precomputed.{modality}"
        if not self._file.is_file():
            raise FeatureError(f"{setting} {self._file} is not a file: give the path of an .npz")
        refuse_pointer(self._file, f"{setting} ")
        if not zipfile.is_zipfile(self._file):
            raise FeatureError(
                f"{setting} {self._file} is not an .npz: write it with numpy.savez(FILE, **arrays)"
            )

    def fingerprint(self) -> dict[str, Any]:
        """Digest of the file; the column's files are part of the corpus' digest."""
        known = {"encoder": "precomputed", "modality": self._modality, "content": self._content}
        return {**known, "code": code_digest(sys.modules[__name__])}

    def read(self, source: Source, root: Path) -> Frames:
        """Frames of an utterance; an array [dim] is one frame."""
        row = source.row
        if self._file is not None:
            if row.utterance_id not in self._arrays.files:
                raise FeatureError(
                    f"{self._file} lacks {self._modality} features of '{row.utterance_id}': add them, or leave the "
                    "utterance out of the corpus"
                )
            path = self._file
            load = partial(self._arrays.__getitem__, row.utterance_id)
        else:
            path = root / row.video
            if path.suffix.lower() in FILMS:
                raise FeatureError(
                    f"{path} is a film: set --features.video visextnet, or --features.precomputed.video FILE.npz"
                )
            load = partial(np.load, path, allow_pickle=False)
        return _frames(load, f"{path}: {self._modality} features of '{row.utterance_id}'", path)

    def encode(self, items: Sequence[Frames]) -> Iterator[tuple[int, Frames]]:
        """What was read."""
        yield from enumerate(items)

    @cached_property
    def _content(self) -> str:
        return "" if self._file is None else file_digest(self._file)

    @cached_property
    def _arrays(self) -> NpzFile:
        assert self._file is not None
        try:
            found: NpzFile = np.load(self._file, allow_pickle=False)
        except _DAMAGED as error:
            reason = " ".join(str(error).split())
            raise FeatureError(f"{self._file} cannot be read: {reason}") from error
        return found


def _frames(load: Callable[[], np.ndarray], what: str, file: Path) -> Frames:
    try:
        found = load()
    except _DAMAGED as error:
        if file.is_file():
            refuse_pointer(file, "")
        reason = " ".join(str(error).split())
        reason = "no plain array of numbers" if "pickle" in reason else reason
        raise FeatureError(f"{what} cannot be read: {reason}") from error
    if isinstance(found, NpzFile):
        raise FeatureError(f"{what} are in an .npz archive: give each row an .npy of its own")
    numbers = isinstance(found, np.ndarray) and found.dtype.kind in "fiu"
    if not numbers or found.ndim not in (1, 2) or not found.size:
        shape = list(getattr(found, "shape", []))
        raise FeatureError(
            f"{what} are {getattr(found, 'dtype', 'nothing')} {shape}, but must be numbers [time, dim] or [dim]"
        )
    if found.dtype.kind in "iu":
        if found.max() > _LARGEST_WHOLE or found.min() < -_LARGEST_WHOLE:
            raise FeatureError(
                f"{what} hold whole numbers beyond 2**53, which training cannot tell apart: scale the columns"
            )
        return np.atleast_2d(found).astype(np.int64)
    largest = float(np.abs(found[np.isfinite(found)]).max(initial=0.0))
    if largest > np.finfo(np.float32).max:
        raise FeatureError(f"{what} hold {largest:g}, beyond float32 (3.4e38): scale the columns")
    return np.atleast_2d(found).astype(f"=f{min(found.dtype.itemsize, 8)}")
