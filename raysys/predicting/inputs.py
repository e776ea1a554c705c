"""What is to be predicted: audio files, folders of them, tables with or without labels, texts.

INPUT... -> rows as of a corpus, named apart;   --window cuts the audio of each into stretches
"""

import glob
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from raysys.corpus import read_rows
from raysys.corpus.audio import FILMS, read_audio
from raysys.corpus.table import Utterance
from raysys.errors import ConfigError, CorpusError
from raysys.settings import require

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
    """Rows of everything that is named; audio paths are absolute, names differ.

    Args:
        inputs: audio files, folders with such, tables (their audio relative to them), or patterns as of a shell.
        texts: each an utterance without audio; or, with as many audio files, what is said in each.
        columns: our name -> a table's.

    Raises:
        ConfigError: one is none of these, or nothing is there.
        CorpusError: a table cannot be read.
    """
    rows: list[Utterance] = []
    for one in inputs:
        rows += _rows(one, columns)
    if texts and rows:
        if len(texts) != len(rows):
            raise ConfigError(
                f"{len(texts)} texts for {len(rows)} recordings: give one --text for each, or a table with both"
            )
        rows = [replace(row, text=text) for row, text in zip(rows, texts, strict=True)]
    elif texts:
        rows = [Utterance(f"text {k}", text=text) for k, text in enumerate(texts, start=1)]
    if not rows:
        raise ConfigError("nothing to predict: give audio files, a folder, a table, or --text")
    return list(_named_apart(rows))


def _rows(one: str, columns: Mapping[str, str] | None) -> list[Utterance]:
    path = Path(one).expanduser()
    if path.is_dir():
        found = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in SOUNDS and not file.name.startswith("._") and file.is_file()
        )
        if not found:
            raise ConfigError(f"{one} holds no audio files ({', '.join(sorted(SOUNDS))})")
        return [_recording(file, str(file.relative_to(path))) for file in found]
    if path.suffix.lower() in TABLES and path.is_file():
        return _table(path, columns)
    if path.is_file():
        return [_recording(path, path.name)]
    matching = sorted(glob.glob(one))
    if matching and matching != [one]:
        return [row for file in matching for row in _rows(file, columns)]
    hint = "" if path.suffix else ": for a text, use --text"
    raise ConfigError(f"{one} is no file, folder or table{hint}")


def _recording(path: Path, name: str) -> Utterance:
    return Utterance(name, audio=str(path.resolve()), dialogue_id=name)


def _table(path: Path, columns: Mapping[str, str] | None) -> list[Utterance]:
    rows = []
    for number, row in enumerate(read_rows(path, columns), start=1):
        name = row.utterance_id or row.audio or f"row {number}"
        audio = str((path.parent / row.audio).resolve()) if row.audio else ""
        rows.append(
            replace(row, utterance_id=name, audio=audio, dialogue_id=row.dialogue_id or name)
        )
    return rows


def _named_apart(rows: Sequence[Utterance]) -> Iterator[Utterance]:
    """Names that occur twice get the number of their row."""
    counts = Counter(row.utterance_id for row in rows)
    for number, row in enumerate(rows, start=1):
        name = row.utterance_id
        yield row if counts[name] == 1 else replace(row, utterance_id=f"{name} ({number})")


def in_windows(
    rows: Sequence[Utterance], *, seconds: float, step: float
) -> tuple[list[Utterance], dict[str, str]]:
    """Stretches of the audio of each row; one of less than `seconds` stays whole, the last ends with it.

    Args:
        rows: with audio.
        seconds: length of a stretch.
        step: from the beginning of one to that of the next.

    Returns:
        The stretches, and rows that cannot be heard -> why.

    Raises:
        ConfigError: lengths that make no sense.
    """
    require(seconds > 0, "--window", seconds, "above 0 s")
    require(0 < step <= seconds, "--step", step, "above 0 s, at most --window")
    found, unheard = [], {}
    for row in rows:
        if not row.audio:
            found.append(row)
            continue
        try:
            samples, rate = read_audio(row, Path(row.audio), row.utterance_id)
        except CorpusError as error:
            unheard[row.utterance_id] = str(error)
            continue
        begin, length = row.start or 0.0, len(samples) / rate
        count = 1 + max(0, int(np.ceil((length - seconds) / step - 1e-9)))
        for k in range(count):
            start = min(k * step, max(0.0, length - seconds))
            end = min(start + seconds, length)
            name = f"{row.utterance_id} {begin + start:.2f}-{begin + end:.2f}"
            found.append(replace(row, utterance_id=name, start=begin + start, end=begin + end))
    return found, unheard
