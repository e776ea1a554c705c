"""Reader `across`: learnt from one corpus, tested on another, each with the labels that it has.

    corpus.across: {train: ratings, train_root: A, test: meld, test_root: B}
        -> A's train and val parts, B's test part, under one official split; B's labels are held back by their nature

A corpus without an official split gives a fifth of its groups (speakers, else dialogues) as val, or all of it as test.
What the two corpora are labelled with stays apart: a task that speaks in an emotion space scores B in B's own labels.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from raysys.corpus.files import SourceConfig
from raysys.corpus.formats import Format
from raysys.corpus.table import RawCorpus, Utterance
from raysys.errors import ConfigError
from raysys.settings import require
from raysys.storage import Folder

Part = Literal["train", "test"]
_VAL_SHARE = 5
"""One group in so many is val, where there is no official split."""


@dataclass(frozen=True)
class AcrossConfig:
    """Two corpora; for the reader `across`."""

    train: str = ""
    """Reader of the corpus that is learnt from."""
    train_root: str = ""
    """Its folder."""
    train_manifest: str = ""
    """Its manifest, as corpus.manifest."""
    test: str = ""
    """Reader of the corpus that is tested on."""
    test_root: str = ""
    """Its folder."""
    test_manifest: str = ""
    """Its manifest, as corpus.manifest."""

    def source(self, part: Part, config: SourceConfig) -> SourceConfig:
        """What a reader is asked for."""
        name, root, manifest = (
            str(getattr(self, f"{part}{end}")) for end in ("", "_root", "_manifest")
        )
        where = f"corpus.across.{part}"
        require(name not in ("", "across"), where, name, "the reader of a corpus")
        return replace(config, name=name, root=root, manifest=manifest, emotions=(), targets=())


def read(config: SourceConfig, settings: AcrossConfig, cache: Folder) -> RawCorpus:
    """Read both corpora, and put them side by side.

    Raises:
        ConfigError: no such reader.
        CorpusError: anything wrong with one of them.
    """
    from raysys.corpus import read_raw  # the readers' registry, which knows this one

    raws = {
        part: read_raw(settings.source(part, config), config, cache) for part in ("train", "test")
    }
    names = {part: raw.name for part, raw in raws.items()}
    if names["train"] == names["test"]:
        names = {part: f"{name}_{part}" for part, name in names.items()}
    formats = {part: _formats(raw, names[part]) for part, raw in raws.items()}
    both = (*formats["train"], *(f for f in formats["test"] if f not in formats["train"]))
    twice = {one.name for one in formats["train"]} & {one.name for one in formats["test"]}
    for name in twice:
        if len([one for one in both if one.name == name]) > 1:
            raise ConfigError(
                f"corpus.across: both corpora are rated in {name}, on other scales: name one of them anew under "
                "corpus.ratings.formats"
            )
    targets = tuple(f"{one.name}.{name}" for one in both for name in one.variables)
    rows, origin = [], []
    for part, raw in raws.items():
        for row, where in zip(raw.utterances, raw.origin, strict=True):
            split = _split(row, part)  # type: ignore[arg-type]
            if split:
                rows.append(_row(row, raw, names[part], split, targets))
                origin.append(where)
    return RawCorpus(
        f"{names['train']}_to_{names['test']}",
        Path("/"),
        emotions=(),
        utterances=tuple(rows),
        origin=tuple(origin),
        synthetic=any(raw.synthetic for raw in raws.values()),
        targets=targets,
        formats=both,
        equivalent=raws["train"].equivalent or raws["test"].equivalent,
    )


def _formats(raw: RawCorpus, name: str) -> tuple[Format, ...]:
    """Of its ratings; its emotions are one, too."""
    own = (Format(name, raw.emotions, "categorical"),) if raw.emotions else ()
    return (*raw.formats, *own)


def _split(row: Utterance, part: Part) -> str:
    """The part in which an utterance serves; empty where it does not."""
    if part == "test":
        return "test" if row.split in ("", "test") else ""
    if row.split:
        return row.split if row.split in ("train", "val") else ""
    group = row.speaker or row.dialogue_id or row.utterance_id
    drawn = int(hashlib.sha256(group.encode()).hexdigest(), 16) % _VAL_SHARE
    return "train" if drawn else "val"


def _row(
    row: Utterance, raw: RawCorpus, name: str, split: str, targets: tuple[str, ...]
) -> Utterance:
    """An utterance under a name of its own, with paths from the root of the file system."""
    known: Mapping[str, float] = row.values or {}
    if raw.emotions:
        known = {**known, **{f"{name}.{e}": float(e == row.label) for e in raw.emotions}}
    values = {target: known.get(target, math.nan) for target in targets}
    return replace(
        row,
        utterance_id=f"{name}:{row.utterance_id}",
        dialogue_id=f"{name}:{row.dialogue_id}",
        audio=_from_top(row.audio, raw.root),
        video=_from_top(row.video, raw.root),
        label="",
        votes=None,
        split=split,
        values=values,
    )


def _from_top(path: str, root: Path) -> str:
    return str((root / path).resolve().relative_to("/")) if path else ""
