"""Checks that stand between a reader and everything else: from `RawCorpus` to `Corpus`.

Each problem names the row, the rule and the remedy. Problems of single utterances can be moved to the quarantine list
(`corpus.skip_bad`); problems of the corpus as a whole always stop.
"""

import hashlib
import math
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from raysys.config import CorpusConfig
from raysys.corpus.table import Corpus, Quarantined, RawCorpus, Utterance
from raysys.errors import CorpusError, nearest

_VIDEO = {".mp4", ".mkv", ".mov", ".avi", ".webm"}
_VIDEO_HZ = 16000
_SKIP = "mend it or pass --corpus.skip_bad true"


@dataclass(frozen=True)
class _Checked:
    utterance: Utterance
    audio_digest: str = ""
    video_digest: str = ""


def check_corpus(raw: RawCorpus, config: CorpusConfig, *, modalities: tuple[str, ...]) -> Corpus:
    """Check every row and the corpus as a whole.

    Args:
        raw: what the reader found.
        config: `emotions` chooses and orders the classes; `skip_bad` quarantines bad rows.
        modalities: streams that the model will use; only those must be present and sound.

    Raises:
        CorpusError: the first problem, with the number of further ones.
    """
    emotions = config.emotions or raw.emotions
    if len(set(emotions)) != len(emotions) or len(emotions) < 2:
        raise CorpusError(f"corpus.emotions must be two or more different names, not {emotions}")
    good: list[_Checked] = []
    bad: list[Quarantined] = []
    known: list[Quarantined] = []
    seen: set[str] = set()
    for row, where in zip(raw.utterances, raw.origin, strict=True):
        try:
            good.append(_check_row(row, raw, emotions, modalities, seen, where=where))
        except CorpusError as problem:
            reason = raw.known_bad.get(row.utterance_id)
            if reason is None:
                bad.append(Quarantined(row.utterance_id, str(problem)))
            else:
                known.append(Quarantined(row.utterance_id, f"known: {reason}"))
        seen.add(row.utterance_id)
    if bad and not config.skip_bad:
        more = f" (and {len(bad) - 1} more bad rows)" if len(bad) > 1 else ""
        raise CorpusError(f"{bad[0].reason}{more}: {_SKIP}")
    _check_classes(raw, emotions, Counter(item.utterance.label for item in good))
    return Corpus(
        name=raw.name,
        root=raw.root,
        emotions=tuple(emotions),
        utterances=tuple(item.utterance for item in good),
        audio_digests=tuple(item.audio_digest for item in good),
        quarantine=(*bad, *known),
        synthetic=raw.synthetic,
        video_digests=tuple(i.video_digest for i in good) if "video" in modalities else (),
    )


def check_dialogues(raw: RawCorpus) -> None:
    """What a model that reads whole dialogues needs: every turn once, and who speaks.

    Raises:
        CorpusError: the first dialogue with a missing or doubled turn, or a turn without a speaker.
    """
    turns: dict[str, dict[int, str]] = {}
    for row, where in zip(raw.utterances, raw.origin, strict=True):
        if row.turn < 0:
            raise CorpusError(f"{where}: turn is {row.turn}, but must be 0 or more")
        known = turns.setdefault(row.dialogue_id, {})
        if row.turn in known:
            raise CorpusError(
                f"{where}: dialogue '{row.dialogue_id}' has turn {row.turn} twice (first at {known[row.turn]}), but "
                "the model reads whole dialogues: number every row's 'turn': 0, 1, 2, ..."
            )
        known[row.turn] = where
    for dialogue, known in turns.items():
        before = min(*known, 1) - 1
        for turn in sorted(known):
            if turn == before + 1:
                before = turn
                continue
            raise CorpusError(
                f"{known[turn]}: dialogue '{dialogue}' has a turn {turn} but no turn {before + 1}, and the "
                "model reads whole dialogues: add the row, or number the turns without gaps"
            )
    for row, where in zip(raw.utterances, raw.origin, strict=True):
        if not row.speaker and len(turns[row.dialogue_id]) > 1:
            raise CorpusError(
                f"{where}: turn {row.turn} of dialogue '{row.dialogue_id}' has no speaker, but the model tells who "
                "speaks: fill the column 'speaker'"
            )


def _check_row(
    row: Utterance,
    raw: RawCorpus,
    emotions: tuple[str, ...],
    modalities: tuple[str, ...],
    seen: set[str],
    *,
    where: str,
) -> _Checked:
    if not row.utterance_id:
        raise CorpusError(f"{where}: utterance_id is empty, but must name the utterance")
    if row.utterance_id in seen:
        raise CorpusError(
            f"{where}: utterance_id '{row.utterance_id}' occurs twice, must be unique"
        )
    if row.label not in emotions:
        raise CorpusError(
            f"{where}: unknown emotion '{row.label}' ({nearest(row.label, emotions)})"
        )
    for emotion, count in (row.votes or {}).items():
        if count < 0:
            raise CorpusError(f"{where}: {count} votes for '{emotion}', but votes count annotators")
    if "text" in modalities and not row.text.strip():
        raise CorpusError(f"{where}: the text is empty, but the model reads text")
    heard = seen_file = ""
    if "audio" in modalities:
        if not row.audio:
            raise CorpusError(f"{where}: no audio path, but the model hears audio")
        row = replace(row, audio=_under_root(row.audio, raw, f"{where}: audio"))
        heard = _hear(row, raw, where)
    if "video" in modalities:
        if not row.video:
            raise CorpusError(
                f"{where}: no video features, but the model sees video: fill the manifest's column 'video', or set "
                "--features.precomputed.video FILE.npz"
            )
        row = replace(row, video=_under_root(row.video, raw, f"{where}: video"))
        try:
            seen_file = hashlib.sha256((raw.root / row.video).read_bytes()).hexdigest()
        except OSError as error:
            raise CorpusError(f"{where}: cannot read video {row.video}: {error}") from error
    return _Checked(row, heard, seen_file)


def _under_root(name: str, raw: RawCorpus, what: str) -> str:
    """A file's path relative to the corpus root, in which it must lie."""
    root = raw.root.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise CorpusError(f"{what} path '{name}' leaves the corpus root {root}")
    if not path.is_file():
        raise CorpusError(f"{what} file {path} does not exist")
    return str(path.relative_to(root))


def _hear(row: Utterance, raw: RawCorpus, where: str) -> str:
    samples, _ = read_audio(row, raw.root / row.audio, where)
    if len(samples) == 0:
        raise CorpusError(f"{where}: audio {raw.root / row.audio} has no samples (zero length)")
    if not np.isfinite(samples).all():
        raise CorpusError(f"{where}: audio {raw.root / row.audio} holds NaN or infinite samples")
    return hashlib.sha256(samples.tobytes()).hexdigest()


def read_audio(row: Utterance, path: object, where: str) -> tuple[np.ndarray, int]:
    """Mono samples (float32 [time], within -1..1) of an utterance's stretch, and the rate in Hz.

    Raises:
        CorpusError: the file cannot be decoded, or start and end do not lie in it.
    """
    if Path(str(path)).suffix.lower() in _VIDEO:
        samples = _sound_of_video(Path(str(path)), where)
        first, last = _stretch(row, _VIDEO_HZ, len(samples), where)
        return samples[first:last], _VIDEO_HZ
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


def _sound_of_video(path: Path, where: str) -> np.ndarray:
    """Mono samples of a film, at `_VIDEO_HZ`, by ffmpeg: libsndfile does not read films."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise CorpusError(f"{where}: {path} needs ffmpeg: install it, or convert the clips to .wav")
    command = [program, "-v", "error", "-i", str(path), "-map", "a:0", "-ac", "1"]
    command += ["-ar", str(_VIDEO_HZ), "-f", "f32le", "-"]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        reason = " ".join(done.stderr.decode(errors="replace").split())[-200:]
        raise CorpusError(f"{where}: cannot decode audio {path}: {reason}")
    return np.frombuffer(done.stdout, dtype="<f4").astype(np.float32)


def _stretch(row: Utterance, rate: int, total: int, where: str) -> tuple[int, int]:
    start = row.start or 0.0
    end = total / rate if row.end is None else row.end
    if not (math.isfinite(start) and math.isfinite(end)):
        raise CorpusError(f"{where}: start {row.start} and end {row.end} must be seconds")
    if (
        not 0 <= start <= end
        or round(start * rate) > total
        or round(end * rate) > total + 0.1 * rate
    ):
        length = total / rate
        raise CorpusError(
            f"{where}: {start}-{end} s is not a stretch of its {length:.2f} s of audio"
        )
    return round(start * rate), min(round(end * rate), total)


def _check_classes(raw: RawCorpus, emotions: tuple[str, ...], counts: Counter[str]) -> None:
    if not counts:
        raise CorpusError(f"corpus {raw.name} at {raw.root} has no usable utterance")
    empty = [emotion for emotion in emotions if counts[emotion] == 0]
    if empty:
        raise CorpusError(
            f"emotion '{empty[0]}' has no utterance in corpus {raw.name}: leave it out of --corpus.emotions"
        )
