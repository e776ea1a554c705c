"""Samples of an utterance: decoding, and the digests by which audio is recognised.

Sound files are read by libsndfile, films by ffmpeg.
"""

import hashlib
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from raysys.corpus.table import Utterance
from raysys.errors import CorpusError, StorageError
from raysys.settings import digest
from raysys.storage import Folder, file_digest

FILMS = {".mp4", ".mkv", ".mov", ".avi", ".webm"}
"""Suffixes of films."""
_FILM_HZ = 16000


def read_audio(row: Utterance, path: Path, where: str) -> tuple[Float32[np.ndarray, " time"], int]:
    """Mono samples of an utterance's stretch, within -1..1, and the rate in Hz (16 kHz for films).

    Args:
        row: `start` and `end` bound the stretch.
        path: of the file.
        where: what names the row, for messages.

    Raises:
        CorpusError: the file cannot be decoded, or start and end do not lie in it.
    """
    if path.suffix.lower() in FILMS:
        samples = _sound_of_film(path, where)
        first, last = _stretch(row, _FILM_HZ, len(samples), where)
        return samples[first:last], _FILM_HZ
    try:
        with soundfile.SoundFile(path) as file:
            rate, total = int(file.samplerate), len(file)
            first, last = _stretch(row, rate, total, where)
            file.seek(first)
            samples = file.read(last - first, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CorpusError(f"{where}: cannot decode audio {path}: {reason}") from error
    return samples.mean(axis=1), rate


class Digests:
    """Digests of samples and films, kept between commands: a file is read again when its size or time changes.

    Args:
        cache: folder in which they are kept.
        root: of the corpus.
    """

    def __init__(self, cache: Folder, root: Path) -> None:
        self._root = root
        self._folder, self._name = cache / "audio", f"{digest(str(root.resolve()))[:16]}.json"
        try:
            self._known: dict[str, list[object]] = self._folder.read_json(self._name)
        except StorageError:  # none yet, or a damaged one, which is not worth a word
            self._known = {}
        self._found: dict[str, list[object]] = {}

    def __call__(self, row: Utterance, where: str) -> str:
        """Digest of an utterance's samples, which are some and numbers; may be called from several threads.

        Raises:
            CorpusError: they are not, or cannot be decoded.
        """
        path = self._root / row.audio
        stretch = f"{row.audio} {row.start} {row.end}"
        return self._kept(stretch, path, lambda: _digest(row, path, where))

    def of_film(self, row: Utterance, where: str) -> str:
        """Digest of the file of an utterance's film, or of its video features.

        Raises:
            CorpusError: it cannot be read.
        """
        path = self._root / row.video
        try:
            return self._kept(f"film {row.video}", path, lambda: file_digest(path))
        except OSError as error:
            raise CorpusError(f"{where}: cannot read video {row.video}: {error}") from error

    def _kept(self, name: str, path: Path, compute: Callable[[], str]) -> str:
        state = path.stat()
        stamp = [state.st_size, state.st_mtime_ns]
        known = self._known.get(name)
        if known is None or known[:2] != stamp:
            known = [*stamp, compute()]
        self._found[name] = known
        return str(known[2])

    def save(self) -> None:
        """Keep what was found.

        Raises:
            StorageError: the cache is not writable.
        """
        if any(self._known.get(stretch) != found for stretch, found in self._found.items()):
            self._folder.write_json(self._name, {**self._known, **self._found})


def _digest(row: Utterance, path: Path, where: str) -> str:
    samples, _ = read_audio(row, path, where)
    if len(samples) == 0:
        raise CorpusError(f"{where}: audio {path} has no samples (zero length)")
    if not np.isfinite(samples).all():
        raise CorpusError(f"{where}: audio {path} holds NaN or infinite samples")
    return hashlib.sha256(samples.tobytes()).hexdigest()


def _sound_of_film(path: Path, where: str) -> Float32[np.ndarray, " time"]:
    program = shutil.which("ffmpeg")
    if program is None:
        raise CorpusError(f"{where}: {path} needs ffmpeg: install it, or convert the clips to .wav")
    command = [program, "-v", "error", "-i", str(path), "-map", "a:0", "-ac", "1"]
    command += ["-ar", str(_FILM_HZ), "-f", "f32le", "-"]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        reason = " ".join(done.stderr.decode(errors="replace").split())[-200:]
        raise CorpusError(f"{where}: cannot decode audio {path}: {reason}")
    return np.frombuffer(done.stdout, dtype="<f4").astype(np.float32)


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
