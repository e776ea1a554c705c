"""What is to be predicted: audio files, pictures, folders of them, tables with or without labels, texts.

INPUT... -> rows as of a corpus, named apart;   --window cuts the audio of each into stretches
"""

import base64
import glob
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from raysys.corpus import read_rows
from raysys.corpus.audio import FILMS, read_audio
from raysys.corpus.pictures import PICTURES
from raysys.corpus.table import Utterance
from raysys.errors import ConfigError, CorpusError
from raysys.settings import require

if TYPE_CHECKING:
    import pandas

SOUNDS = {
    ".wav",
    ".flac",
    ".mp3",
    ".ogg",
    ".oga",
    ".opus",
    ".m4a",
    ".aac",
    ".aif",
    ".aiff",
    ".au",
} | FILMS
"""Suffixes of what can be heard."""
TABLES = {".csv", ".tsv", ".parquet"}


def read_inputs(
    inputs: Sequence[str], texts: Sequence[str] = (), *, columns: Mapping[str, str] | None = None
) -> list[Utterance]:
    """Rows of everything that is named; paths are absolute, names differ.

    Args:
        inputs: audio files or pictures, folders with such, tables (their files relative to them), or patterns as of a
            shell; `-` takes such from standard input, one a line.
        texts: each an utterance without audio; or, with as many audio files, what is said in each; `-` as above.
        columns: our name -> a table's.

    Raises:
        ConfigError: one is none of these, or nothing is there.
        CorpusError: a table cannot be read.
    """
    rows: list[Utterance] = []
    given = [name for one in inputs for name in (_said_on_stdin() if one == "-" else [one])]
    rows += [row for name in given for row in _rows(name, columns)]
    texts = [text for one in texts for text in (_said_on_stdin() if one == "-" else [one])]
    if texts and rows:
        if len(texts) != len(rows):
            raise ConfigError(
                f"{len(texts)} texts for {len(rows)} files: give one text (--text) for each, or a table with both"
            )
        rows = [replace(row, text=text) for row, text in zip(rows, texts, strict=True)]
    elif texts:
        rows = [Utterance(f"text {k}", text=text) for k, text in enumerate(texts, start=1)]
    if not rows:
        raise ConfigError(
            "nothing to predict: give audio files, pictures, a folder, a table, or --text"
        )
    return list(_named_apart(rows))


@contextmanager
def rows_of_frame(
    frame: "pandas.DataFrame", *, columns: Mapping[str, str] | None = None
) -> Iterator[list[Utterance]]:
    """Rows of a DataFrame; files that it holds as bytes are there for as long as the context is open.

    Args:
        frame: columns as of a table; `audio_base64` and `image_base64` hold the bytes of files.
        columns: our name -> the frame's.

    Raises:
        ConfigError: it has no rows, or bytes that are no base64.
        CorpusError: see `read_inputs`.
    """
    if not len(frame):
        raise ConfigError("nothing to predict: the table has no rows")
    frame = frame.rename(columns={theirs: ours for ours, theirs in (columns or {}).items()})
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("audio", "image"):
            if kind in frame:
                frame = frame.assign(**{kind: [_absolute(one) for one in frame[kind]]})
            if f"{kind}_base64" in frame:
                frame = _unpacked(frame, kind, Path(folder))
        table = Path(folder) / "inputs.parquet"
        frame.to_parquet(table)
        yield read_inputs([str(table)])


def _unpacked(frame: "pandas.DataFrame", kind: str, folder: Path) -> "pandas.DataFrame":
    """A frame with the paths of files that hold its bytes; rows without a name get their numbers."""
    packed = f"{kind}_base64"
    there = frame[kind] if kind in frame else [""] * len(frame)
    kept = [
        _kept(given, folder / f"{number}.{kind}", f"row {number}: {packed}") or path
        for number, (given, path) in enumerate(zip(frame[packed], there, strict=True), start=1)
    ]
    names = frame["utterance_id"] if "utterance_id" in frame else [None] * len(frame)
    named = [n if _is_given(n) else f"row {k}" for k, n in enumerate(names, start=1)]
    return frame.assign(**{kind: kept, "utterance_id": named}).drop(columns=packed)


def _is_given(cell: object) -> bool:
    return cell is not None and cell == cell and cell != ""


def _absolute(cell: object) -> str:
    return str(Path(str(cell)).expanduser().resolve()) if _is_given(cell) else ""


def _kept(cell: object, file: Path, what: str) -> str:
    """The file with the bytes of a cell; empty where it holds none."""
    if not _is_given(cell):
        return ""
    try:
        file.write_bytes(base64.b64decode(str(cell), validate=True))
    except ValueError as error:
        raise ConfigError(f"{what} is no base64") from error
    return str(file)


def _said_on_stdin() -> list[str]:
    """Lines that are not blank: files, or texts."""
    found = [line for line in (one.strip() for one in sys.stdin) if line]
    if not found:
        raise ConfigError("standard input, which - reads once, held nothing")
    return found


def _rows(one: str, columns: Mapping[str, str] | None) -> list[Utterance]:
    path = Path(one).expanduser()
    if path.is_dir():
        found = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in SOUNDS | PICTURES
            and not file.name.startswith("._")
            and file.is_file()
        )
        if not found:
            raise ConfigError(
                f"{one} holds no audio files ({', '.join(sorted(SOUNDS))}) or pictures ({', '.join(sorted(PICTURES))})"
            )
        return [_of_file(file, str(file.relative_to(path))) for file in found]
    if path.suffix.lower() in TABLES and path.is_file():
        return _table(path, columns)
    if path.is_file():
        return [_of_file(path, path.name)]
    matching = sorted(glob.glob(one))
    if matching and matching != [one]:
        return [row for file in matching for row in _rows(file, columns)]
    hint = "" if path.suffix else ": for a text, use --text"
    raise ConfigError(f"{one} is no file, folder or table{hint}")


def _of_file(path: Path, name: str) -> Utterance:
    """A recording or a picture, by its suffix; what has none of theirs is taken for sound."""
    row, file = Utterance(name, dialogue_id=name), str(path.resolve())
    is_picture = path.suffix.lower() in PICTURES
    return replace(row, image=file) if is_picture else replace(row, audio=file)


def _table(path: Path, columns: Mapping[str, str] | None) -> list[Utterance]:
    rows = []
    try:
        read = read_rows(path, columns)
    except CorpusError as error:
        raise CorpusError(str(error).replace("--corpus.columns", "--columns")) from error
    for number, row in enumerate(read, start=1):
        name = row.utterance_id or Path(row.audio or row.image).name or f"row {number}"
        audio, image = (
            str((path.parent / file).resolve()) if file else "" for file in (row.audio, row.image)
        )
        dialogue = row.dialogue_id or name
        rows.append(replace(row, utterance_id=name, audio=audio, image=image, dialogue_id=dialogue))
    return rows


def _named_apart(rows: Sequence[Utterance]) -> Iterator[Utterance]:
    """Names that occur twice get the number of their row."""
    counts = Counter(row.utterance_id for row in rows)
    for number, row in enumerate(rows, start=1):
        name = row.utterance_id
        yield row if counts[name] == 1 else replace(row, utterance_id=f"{name} ({number})")


def in_windows(rows: Sequence[Utterance], *, seconds: float, step: float) -> list[Utterance]:
    """Stretches of the audio of each row; one of less than `seconds` stays whole, the last ends with it.

    So does one that cannot be heard: who predicts it says why.

    Args:
        rows: with audio.
        seconds: length of a stretch.
        step: from the beginning of one to that of the next.

    Raises:
        ConfigError: lengths that make no sense.
    """
    require(seconds > 0, "window", seconds, "above 0 s")
    require(0 < step <= seconds, "step", step, "above 0 s, at most the window")
    found = []
    for row in rows:
        if not row.audio:
            found.append(row)
            continue
        try:
            samples, rate = read_audio(row, Path(row.audio), row.utterance_id)
        except CorpusError:
            found.append(row)
            continue
        begin, length = row.start or 0.0, len(samples) / rate
        count = 1 + max(0, int(np.ceil((length - seconds) / step - 1e-9)))
        for k in range(count):
            start = min(k * step, max(0.0, length - seconds))
            end = min(start + seconds, length)
            name = f"{row.utterance_id} {begin + start:.2f}-{begin + end:.2f}"
            found.append(replace(row, utterance_id=name, start=begin + start, end=begin + end))
    return found
