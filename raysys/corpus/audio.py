"""Samples of an utterance: decoding, what makes them unusable, and the digests by which audio is recognised.

    a file, or bytes in a table: sound (WAV, FLAC, OGG, MP3, ...) by libsndfile; films, and what it lacks (m4a), by
    FFmpeg's libraries

What is cut short, silent or on another scale than it says is refused with its place, never passed on.
"""

import hashlib
import io
import math
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from jaxtyping import Float32

from raysys.corpus.arrow import embedded, read_embedded
from raysys.corpus.pictures import picture_digest, read_picture
from raysys.corpus.table import Utterance
from raysys.corpus.tables import refuse_pointer
from raysys.errors import CorpusError, StorageError
from raysys.settings import digest
from raysys.storage import Folder, file_digest

FILMS = {".mp4", ".mkv", ".mov", ".avi", ".webm"}
"""Suffixes of films."""
_BY_FFMPEG = FILMS | {".m4a", ".aac", ".wma", ".amr", ".3gp", ".mka", ".m4b", ".ac3"}
_FFMPEG_HZ = 16000
_FFMPEG_LATE = 0.5
"""Seconds that a stream may be shorter than it says: codecs count in blocks."""
_LOUDEST = 4.0
"""Samples of files of floats are within -1..1, a little more where they clip; far beyond, they are on another scale."""
SILENT = "is silent"
"""What is said of audio in which nothing can be heard."""
_QUIETEST = 1e-5
"""A third of the last bit of 16."""
_CANCELLED = 0.01
"""Share of the channels' power that is left in their mean, below which they cancel each other."""
_STREAMED = 0xFFFFFFFF
"""Data size of a WAV whose writer could not know it; everything that follows is data."""


def audio_seconds(path: Path) -> float:
    """Length of a sound file, from its head; 0 where only decoding would show it."""
    try:
        source = io.BytesIO(read_embedded(path)) if embedded(path) else path
        return float(soundfile.info(source).duration)
    except (soundfile.LibsndfileError, CorpusError, OSError, RuntimeError):
        return 0.0


def read_audio(row: Utterance, path: Path, where: str) -> tuple[Float32[np.ndarray, " time"], int]:
    """Mono samples of an utterance's stretch, within -1..1, and the rate in Hz (16 kHz for films and m4a).

    Args:
        row: `start` and `end` bound the stretch.
        path: of the file.
        where: what names the row, for messages.

    Raises:
        CorpusError: the file cannot be decoded or is cut short, its channels cancel each other, or start and end do not
            lie in it.
    """
    source: Path | io.BytesIO = path
    if embedded(path):
        source = io.BytesIO(read_embedded(path))
    elif not path.is_file():
        raise CorpusError(f"{where}: there is no audio file {path}")
    if path.suffix.lower() in _BY_FFMPEG or _is_film(source):
        samples = _by_ffmpeg(source, path, where)
        first, last = _stretch(row, _FFMPEG_HZ, len(samples), where)
        return samples[first:last], _FFMPEG_HZ
    try:
        with soundfile.SoundFile(source) as file:
            rate, total = int(file.samplerate), len(file)
            _check_header(source, path, where)
            first, last = _stretch(row, rate, total, where)
            if first:
                file.seek(first)
            samples = file.read(last - first, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError) as error:
        if source is path:
            refuse_pointer(path, f"{where}: audio ")
        if _size(source) == 0:
            raise CorpusError(f"{where}: audio {path} is empty (0 bytes)") from error
        reason = re.sub(r"Error opening <[^>]*>: ", "", " ".join(str(error).split()))
        if isinstance(error, TypeError):  # soundfile's answer to .raw
            reason = "a raw file does not say its rate and type: write it as WAV"
        raise CorpusError(f"{where}: cannot decode audio {path}: {reason}") from error
    if len(samples) < last - first:
        raise CorpusError(
            f"{where}: audio {path} is cut short: its header says {last - first} samples, {len(samples)} can be "
            "decoded: get the whole file"
        )
    return _mono(samples, path, where), rate


@dataclass(frozen=True)
class Heard:
    """What is known of an utterance's audio."""

    digest: str
    """Digest of the samples and their rate."""
    seconds: float
    rate_hz: int
    empty_share: float = 0.0
    """Share of its end that holds nothing but zeros."""


def hear(row: Utterance, path: Path, where: str) -> Heard:
    """What is known of an utterance's audio, which is some, and sound.

    Args:
        row: `start` and `end` bound the stretch.
        path: of the file.
        where: what names the row, for messages.

    Raises:
        CorpusError: it cannot be used.
    """
    told, seconds, rate, empty = _heard(row, path, where)
    return Heard(str(told), float(str(seconds)), int(str(rate)), float(str(empty)))


class Digests:
    """Digests of samples, films and pictures, kept between commands: what changes in size or time is read again.

    Args:
        cache: folder in which they are kept.
        root: of the corpus.
    """

    def __init__(self, cache: Folder, root: Path) -> None:
        self._root = root
        self._folder, self._name = cache / "audio", f"{digest(str(root.resolve()), 2)[:16]}.json"
        try:
            self._known: dict[str, list[object]] = self._folder.read_json(self._name)
        except StorageError:  # none yet, or a damaged one, which is not worth a word
            self._known = {}
        self._found: dict[str, list[object]] = {}

    def __call__(self, row: Utterance, where: str) -> Heard:
        """An utterance's samples, which are some, and sound; may be called from several threads.

        Raises:
            CorpusError: they are not, or cannot be decoded.
        """
        path = self._root / row.audio
        stretch = f"{row.audio} {row.start} {row.end}"
        known = self._kept(stretch, path, lambda: _heard(row, path, where))
        seconds, rate, empty = (float(str(number)) for number in known[1:])
        return Heard(str(known[0]), seconds, int(rate), empty)

    def of_film(self, row: Utterance, where: str) -> str:
        """Digest of the file of an utterance's film, or of its video features.

        Raises:
            CorpusError: it cannot be read.
        """
        path = self._root / row.video
        try:
            return str(self._kept(f"film {row.video}", path, lambda: [file_digest(path)])[0])
        except OSError as error:
            raise CorpusError(f"{where}: cannot read video {row.video}: {error}") from error

    def of_picture(self, row: Utterance, where: str) -> str:
        """Digest of the pixels of an utterance's picture.

        Raises:
            CorpusError: it cannot be read.
        """
        path = self._root / row.image

        def seen() -> list[object]:
            return [picture_digest(read_picture(path, where))]

        return str(self._kept(f"image {row.image}", path, seen)[0])

    def _kept(self, name: str, path: Path, compute: Callable[[], list[object]]) -> list[object]:
        table = embedded(path)
        state = (table[0] if table else path).stat()
        stamp = [state.st_size, state.st_mtime_ns]
        known = self._known.get(name)
        if known is None or known[:2] != stamp:
            known = [*stamp, *compute()]
        self._found[name] = known
        return known[2:]

    def save(self) -> None:
        """Keep what was found.

        Raises:
            StorageError: the cache is not writable.
        """
        if any(self._known.get(stretch) != found for stretch, found in self._found.items()):
            self._folder.write_json(self._name, {**self._known, **self._found})


def _heard(row: Utterance, path: Path, where: str) -> list[object]:
    """Digest, seconds and rate of samples that can be used."""
    samples, rate = read_audio(row, path, where)
    if len(samples) == 0:
        raise CorpusError(f"{where}: audio {path} has no samples (zero length)")
    low, high = float(samples.min()), float(samples.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CorpusError(f"{where}: audio {path} holds NaN or infinite samples")
    if low == high:
        raise CorpusError(
            f"{where}: audio {path} {SILENT}: all its {len(samples)} samples are {low:g}"
        )
    largest = max(-low, high)
    if largest < _QUIETEST:
        raise CorpusError(
            f"{where}: audio {path} {SILENT}: its largest sample is {largest:g}, of 1"
        )
    if largest > _LOUDEST:
        raise CorpusError(
            f"{where}: audio {path} has samples up to {largest:g}, but floats go from -1 to 1: divide them by their "
            "scale, such as 32768"
        )
    told = hashlib.sha256(samples.tobytes())
    told.update(f"{rate} Hz".encode())
    tail = len(samples) - 1 - int(np.flatnonzero(samples)[-1])
    return [told.hexdigest(), len(samples) / rate, rate, tail / len(samples)]


def _mono(
    samples: Float32[np.ndarray, "time channel"], path: Path, where: str
) -> Float32[np.ndarray, " time"]:
    mean: np.ndarray = samples.mean(axis=1)
    if samples.shape[1] > 1 and len(samples):
        power = float(np.square(samples, dtype=np.float64).mean())
        if power and float(np.square(mean, dtype=np.float64).mean()) < _CANCELLED * power:
            raise CorpusError(
                f"{where}: the channels of audio {path} cancel each other when they are averaged: keep one of them"
            )
    return mean


def _size(source: Path | io.BytesIO) -> int:
    return source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes


@contextmanager
def _opened(source: Path | io.BytesIO) -> Iterator[BinaryIO]:
    """A file, or bytes, from the start."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
        return
    yield io.BytesIO(source.getvalue())


def _is_film(source: Path | io.BytesIO) -> bool:
    """Whether bytes are those of MPEG-4 or Matroska; for files, the suffix decides."""
    head = b"" if isinstance(source, Path) else source.getvalue()[:12]
    return head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3"


def _check_header(source: Path | io.BytesIO, path: Path, where: str) -> None:
    """Refuse a WAV or AIFF that holds less, or more, than it says; libsndfile reads what is there without a word."""
    with _opened(source) as file:
        head = file.read(12)
        if head[:4] == b".snd":
            start, size = struct.unpack(">II", head[4:])
            _check_size(size, _size(source) - start, path, where)
        if head[8:] not in (b"WAVE", b"AIFF", b"AIFC"):
            return
        order = "<" if head[:4] == b"RIFF" else ">"
        while len(chunk := file.read(8)) == 8:
            name, size = chunk[:4], struct.unpack(f"{order}I", chunk[4:])[0]
            if name in (b"data", b"SSND"):
                break
            file.seek(size + size % 2, 1)
        else:
            return
        left = _size(source) - file.tell()
        file.seek(size + size % 2, 1)
        after = file.read(4)
    _check_size(size, left, path, where)
    if (
        size != _STREAMED
        and len(after) == 4
        and after.strip(b"\0")
        and not all(32 <= byte < 127 for byte in after)
    ):
        raise CorpusError(
            f"{where}: audio {path} has {left} bytes of samples, but its header says {size}: write it again, as by "
            "ffmpeg -i IN OUT.wav"
        )


def _check_size(size: int, left: int, path: Path, where: str) -> None:
    """Compare the bytes of samples that a header says with those that are there."""
    if size == 0 and left > 1:
        raise CorpusError(
            f"{where}: audio {path} has a data size of 0 in its header, but {left} bytes follow: it was not finished; "
            "write it again, as by ffmpeg -i IN OUT.wav"
        )
    if size != _STREAMED and left < size:
        raise CorpusError(
            f"{where}: audio {path} is cut short: its header says {size} bytes of samples, {left} are there: get the "
            "whole file"
        )


def _by_ffmpeg(source: Path | io.BytesIO, path: Path, where: str) -> Float32[np.ndarray, " time"]:
    """All sound of a film or sound file, mono at 16 kHz."""
    import av  # a tenth of a second, which others are spared

    try:
        with av.open(str(source) if isinstance(source, Path) else source, "r") as film:
            if not film.streams.audio:
                raise CorpusError(f"{where}: {path} has no sound: leave the utterance out")
            stream = film.streams.audio[0]
            said = float((stream.duration or 0) * (stream.time_base or 0))
            resampler = av.AudioResampler(format="flt", layout="mono", rate=_FFMPEG_HZ)
            pieces = [
                piece.to_ndarray()[0]
                for frame in film.decode(audio=0)
                for piece in resampler.resample(frame)
            ]
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    except (av.FFmpegError, OSError, ValueError) as error:
        if source is path:
            refuse_pointer(path, f"{where}: audio ")
        reason = " ".join(str(error).split())
        raise CorpusError(f"{where}: cannot decode audio {path}: {reason}") from error
    samples = np.concatenate(pieces) if pieces else np.zeros(0)
    if len(samples) < (said - _FFMPEG_LATE) * _FFMPEG_HZ:
        raise CorpusError(
            f"{where}: audio {path} is cut short: its header says {said:.2f} s, but {len(samples) / _FFMPEG_HZ:.2f} s "
            "can be decoded: get the whole file"
        )
    return samples.astype(np.float32)


def _stretch(row: Utterance, rate: int, total: int, where: str) -> tuple[int, int]:
    """First and last sample; an end up to 0.1 s behind the file's is the file's."""
    start = row.start or 0.0
    end = total / rate if row.end is None else row.end
    if not (math.isfinite(start) and math.isfinite(end)):
        raise CorpusError(f"{where}: start {row.start} and end {row.end} must be seconds")
    late = round(start * rate) > total or round(end * rate) > total + 0.1 * rate
    if late or not 0 <= start <= end:
        raise CorpusError(
            f"{where}: {start}-{end} s is not a stretch of its {total / rate:.2f} s of audio"
        )
    return round(start * rate), min(round(end * rate), total)
