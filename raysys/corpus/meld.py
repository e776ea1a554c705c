"""Reader `meld`: MELD, dialogues of the series Friends (Poria et al., ACL 2019, arXiv:1810.02508).

Reads the release's three tables, `train_sent_emo.csv`, `dev_sent_emo.csv` and `test_sent_emo.csv`, from the root or
from `train/`, `dev/`, `test/` below it, with the official split. A dialogue is numbered anew in each split; a session
here is an episode. Turns are counted in the order of Utterance_ID: the release itself lacks some, which is no error.

Audio is `dia{D}_utt{U}.wav` or `.mp4` in the release's folders (or in one named like the split); the tables alone serve
models that only read text.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from raysys.corpus.files import SourceConfig, corpus_root
from raysys.corpus.table import Facts, RawCorpus, Utterance
from raysys.corpus.tables import Problems, as_seconds, csv_rows, require_columns
from raysys.errors import CorpusError
from raysys.storage import Folder

EMOTIONS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")

BROKEN_CLIPS = {
    "train_dia125_utt3": "the release's clip cannot be decoded",
    "val_dia110_utt7": "the release has no such clip",
}
"""Utterances without usable audio in every copy of the release; models that hear leave them out."""

_SPLITS = {"train": "train", "dev": "val", "test": "test"}
"""Name in the release -> part."""
_CLIP_FOLDERS = {
    "train": ("train_splits", "train/train_splits", "train"),
    "dev": ("dev_splits_complete", "dev/dev_splits_complete", "dev"),
    "test": ("output_repeated_splits_test", "test/output_repeated_splits_test", "test"),
}
FACTS = Facts("Poria et al. 2019: 13,708 utterances", utterances=13708)
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID", "Season", "Episode")


def read(config: SourceConfig, settings: object, cache: Folder) -> RawCorpus:
    """Read the three tables under `corpus.root`.

    Raises:
        CorpusError: a table is missing, lacks a column, or has a broken row.
    """
    root = corpus_root(config)
    rows, origin, problems = [], [], Problems()
    absent, seconds = dict[str, str](), dict[str, float]()
    for split in _SPLITS:
        table, clips = _table(root, split), _clips(root, split)
        for where, row in csv_rows(table, _check_columns, problems):
            try:
                utterance = _utterance(row, split, where)
            except CorpusError as problem:
                problems.add(problem)
                continue
            clip = clips.get(_stem(row), "")
            if not clip:
                absent[utterance.utterance_id] = f"{_CLIP_FOLDERS[split][0]}/{_stem(row)}.mp4"
            if (said := _said_seconds(row)) is not None:
                seconds[utterance.utterance_id] = said
            film = clip if clip.endswith(".mp4") else ""
            rows.append(replace(utterance, audio=clip, video=film))
            origin.append(where)
    problems.refuse()
    order = sorted(range(len(rows)), key=lambda k: (rows[k].dialogue_id, rows[k].turn))
    turns: dict[str, int] = {}
    numbered = list(rows)
    for k in order:  # the release lacks some turns: count those that are there
        dialogue = rows[k].dialogue_id
        numbered[k] = replace(rows[k], turn=turns.setdefault(dialogue, 0))
        turns[dialogue] += 1
    return RawCorpus(
        "meld",
        root,
        EMOTIONS,
        tuple(numbered),
        tuple(origin),
        known_bad=BROKEN_CLIPS,
        has_silent=True,
        facts=FACTS,
        absent=absent,
        seconds=seconds,
    )


def _said_seconds(row: dict[str, Any]) -> float | None:
    """How long a clip is by the table, where that says it: 00:16:16,059 to 00:16:21,731."""
    try:
        start, end = (as_seconds(row[name].replace(",", ".")) for name in ("StartTime", "EndTime"))
    except (KeyError, ValueError):
        return None
    return end - start


def _table(root: Path, split: str) -> Path:
    name = f"{split}_sent_emo.csv"
    for path in (root / name, root / split / name):
        if path.is_file():
            return path
    raise CorpusError(f"no {name} in {root}: set --corpus.root to the unpacked MELD release")


def _check_columns(names: Sequence[str], table: Path) -> None:
    require_columns(names, table, _COLUMNS)


def _utterance(row: dict[str, Any], split: str, where: str) -> Utterance:
    numbers = {}
    for name in ("Dialogue_ID", "Utterance_ID", "Season", "Episode"):
        try:
            numbers[name] = int(row[name])
        except ValueError as error:
            raise CorpusError(
                f"{where}: {name} is {row[name]!r}, but must be a whole number: fix the row"
            ) from error
    dialogue = f"{_SPLITS[split]}_dia{numbers['Dialogue_ID']}"
    return Utterance(
        utterance_id=f"{dialogue}_utt{numbers['Utterance_ID']}",
        dialogue_id=dialogue,
        turn=numbers["Utterance_ID"],
        speaker=row["Speaker"].strip(),
        session=f"s{numbers['Season']:02d}e{numbers['Episode']:02d}",
        text=row["Utterance"],
        label=row["Emotion"].strip().lower(),
        split=_SPLITS[split],
    )


def _clips(root: Path, split: str) -> dict[str, str]:
    """Stem of a clip -> its path under the root; a .wav comes before a film, and the first folder before others."""
    found: dict[str, str] = {}
    for folder in reversed(_CLIP_FOLDERS[split]):
        names = os.listdir(root / folder) if (root / folder).is_dir() else ()
        for kind in (".mp4", ".wav"):
            found |= {n.removesuffix(kind): f"{folder}/{n}" for n in names if n.endswith(kind)}
    return found


def _stem(row: dict[str, str]) -> str:
    return f"dia{int(row['Dialogue_ID'])}_utt{int(row['Utterance_ID'])}"
