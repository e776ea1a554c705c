"""Reader `across`: learnt from one corpus, tested on another, each with the labels that it has.

    corpus.across: {train: ratings, train_root: A, test: meld, test_root: B}
        -> A's train and val parts, B's test part, as one official split; A's labels and B's as formats of their own

A corpus without an official split gives a fifth of its groups as val, or all of it as test. A task that speaks in an
emotion space scores B in B's own labels, which it was never trained on: no utterance of B is in train or val.
"""

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from raysys.corpus.files import SourceConfig
from raysys.corpus.finding import Finding
from raysys.corpus.formats import Format
from raysys.corpus.table import RawCorpus, Utterance
from raysys.errors import ConfigError, CorpusError, nearest
from raysys.settings import require
from raysys.storage import Folder

Side = Literal["train", "test"]
_SIDES: tuple[Side, Side] = ("train", "test")
_VAL_EVERY = 5
"""One group in so many is val, where there is no official split."""


@dataclass(frozen=True)
class AcrossConfig:
    """Two corpora; for the reader `across`. corpus.emotions chooses emotions of both."""

    train: str = ""
    """Reader of the corpus that is learnt from."""
    train_root: str = ""
    """Folder of that corpus, as corpus.root."""
    train_manifest: str = ""
    """Manifest of that corpus, as corpus.manifest."""
    test: str = ""
    """Reader of the corpus that is tested on."""
    test_root: str = ""
    """Folder of that corpus, as corpus.root."""
    test_manifest: str = ""
    """Manifest of that corpus, as corpus.manifest."""
    train_recipe: str = ""
    """Recipe of that corpus, as corpus.recipe.file, where its reader is `recipe`."""
    test_recipe: str = ""
    """Recipe of that corpus, as corpus.recipe.file, where its reader is `recipe`."""
    common: bool = False
    """For the task classification: the emotions that both corpora have are the classes, and other utterances are left
    out. Otherwise the labels of each are a format of its own, for tasks that speak in an emotion space."""
    groups: Literal["speaker", "session", "dialogue"] = "dialogue"
    """What is never in train and val alike, where the corpus that is learnt from has no official split; as
    folds.groups."""

    def source(self, side: Side, config: SourceConfig) -> SourceConfig:
        """What a reader is asked for."""
        name, root, manifest = (
            str(getattr(self, f"{side}{end}")) for end in ("", "_root", "_manifest")
        )
        known = name not in ("", "across")
        require(known, f"corpus.across.{side}", name, "the reader of a corpus")
        return replace(config, name=name, root=root, manifest=manifest, targets=())


@dataclass(frozen=True)
class _Half:
    """One of the two corpora, as it enters the whole."""

    raw: RawCorpus
    name: str
    """Its own; with its side where both have one name."""
    emotions: tuple[str, ...]
    formats: tuple[Format, ...]
    """Formats of its ratings; its emotions count as one, too."""
    splits: Sequence[str]
    """Part (train, val or test) of each utterance; empty where the utterance is not used."""


def read(config: SourceConfig, settings: AcrossConfig, cache: Folder) -> RawCorpus:
    """Read both corpora, and put them side by side.

    Raises:
        ConfigError: no such reader.
        CorpusError: anything wrong with one of them.
    """
    raws = {side: _read_side(side, config, settings, cache) for side in _SIDES}
    if settings.common:
        return _of_common_classes(raws["train"], raws["test"], config, settings)
    alike = raws["train"].name == raws["test"].name
    halves = []
    for side, raw in raws.items():
        name = f"{raw.name}_{side}" if alike else raw.name
        emotions = config.emotions or raw.emotions if raw.emotions else ()
        own = (Format(name, emotions, "categorical"),) if emotions else ()
        parts = _test_part(raw) if side == "test" else _train_parts(raw, settings.groups)
        halves.append(_Half(raw, name, emotions, (*raw.formats, *own), parts))
    first, second = halves
    formats = (*first.formats, *(one for one in second.formats if one not in first.formats))
    names = [one.name for one in formats]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(
            f"corpus.across: both corpora are rated in {twice[0]}, on other scales: rename one of them under "
            "corpus.ratings.formats"
        )
    targets = tuple(f"{one.name}.{name}" for one in formats for name in one.variables)
    shared = {row.utterance_id for row in first.raw.utterances}
    shared &= {row.utterance_id for row in second.raw.utterances}
    rows, origin, known_bad = [], [], dict[str, str]()
    for half in halves:
        for row, where, split in zip(
            half.raw.utterances, half.raw.origin, half.splits, strict=True
        ):
            if split:
                placed = _row(row, where, half, split, targets, shared)
                rows.append(placed)
                origin.append(where)
                if row.utterance_id in half.raw.known_bad:
                    known_bad[placed.utterance_id] = half.raw.known_bad[row.utterance_id]
    return RawCorpus(
        f"{first.name}_to_{second.name}",
        Path("/"),
        emotions=(),
        utterances=tuple(rows),
        origin=tuple(origin),
        synthetic=any(raw.synthetic for raw in raws.values()),
        known_bad=known_bad,
        targets=targets,
        is_divided=True,
        formats=formats,
        equivalent=tuple(dict.fromkeys((*first.raw.equivalent, *second.raw.equivalent))),
        findings=(*first.raw.findings, *second.raw.findings),
    )


def _read_side(
    side: Side, config: SourceConfig, settings: AcrossConfig, cache: Folder
) -> RawCorpus:
    from raysys.corpus import read_raw  # the readers' registry, which knows this one

    source, whole = settings.source(side, config), config
    if source.name == "recipe":
        file = str(getattr(settings, f"{side}_recipe"))
        whole = replace(config, recipe=replace(config.recipe, file=file))  # type: ignore[call-arg, attr-defined]
    return read_raw(source, whole, cache)


def _of_common_classes(
    train: RawCorpus, test: RawCorpus, config: SourceConfig, settings: AcrossConfig
) -> RawCorpus:
    """Both corpora as one, with the emotions that both have.

    Raises:
        CorpusError: they have fewer than two in common.
    """
    both = [one for one in config.emotions or train.emotions if one in train.emotions]
    classes = tuple(one for one in both if one in test.emotions)
    if len(classes) < 2:
        raise CorpusError(
            f"{train.name} ({', '.join(train.emotions)}) and {test.name} ({', '.join(test.emotions)}) have "
            f"{len(classes)} emotions in common: write them alike, or set --corpus.across.common false"
        )
    first, second = (train.name, test.name)
    if first == second:
        first, second = f"{first}_train", f"{second}_test"
    shared = {row.utterance_id for row in train.utterances}
    shared &= {row.utterance_id for row in test.utterances}
    rows, origin, known_bad = [], [], dict[str, str]()
    halves = (
        (train, first, _train_parts(train, settings.groups)),
        (test, second, _test_part(test)),
    )
    for raw, name, splits in halves:
        half = _Half(raw, name, (), (), splits)
        for row, where, split in zip(raw.utterances, raw.origin, splits, strict=True):
            if split and row.label in classes:
                placed = _row(row, where, half, split, (), shared)
                rows.append(replace(placed, label=row.label, votes=row.votes, values=None))
                origin.append(where)
                if row.utterance_id in raw.known_bad:
                    known_bad[placed.utterance_id] = raw.known_bad[row.utterance_id]
    left = sum(row.label not in classes for raw in (train, test) for row in raw.utterances)
    message = f"{left} utterances have other emotions than both corpora, and are left out"
    findings = [Finding("note", "common_classes", message)] if left else []
    return RawCorpus(
        f"{first}_to_{second}",
        Path("/"),
        emotions=classes,
        utterances=tuple(rows),
        origin=tuple(origin),
        synthetic=train.synthetic or test.synthetic,
        known_bad=known_bad,
        is_divided=True,
        findings=(*train.findings, *test.findings, *findings),
    )


def _test_part(raw: RawCorpus) -> list[str]:
    """The official test part; everything, where there is none."""
    parts = {row.split for row in raw.utterances}
    wanted = ("test",) if "test" in parts else ("", *parts)
    return ["test" if row.split in wanted else "" for row in raw.utterances]


def _train_parts(raw: RawCorpus, groups: str) -> list[str]:
    """The official train and val parts, or every fifth group as val.

    Raises:
        CorpusError: an utterance has no group, or there are too few of them.
    """
    if any(row.split == "val" for row in raw.utterances):
        return [row.split if row.split in ("train", "val") else "" for row in raw.utterances]
    column = "dialogue_id" if groups == "dialogue" else groups
    of_row = [str(getattr(row, column)) for row in raw.utterances]
    known = sorted(set(of_row))
    if "" in known or len(known) < 2:
        raise CorpusError(
            f"corpus {raw.name} cannot be divided into train and val by {groups}: set --corpus.across.groups"
        )
    val = set(known[::_VAL_EVERY])
    parts = ["val" if group in val else "train" for group in of_row]
    serves = [row.split in ("", "train") for row in raw.utterances]
    return [part if own else "" for part, own in zip(parts, serves, strict=True)]


def _row(
    row: Utterance,
    where: str,
    half: _Half,
    split: str,
    targets: tuple[str, ...],
    shared: Collection[str],
) -> Utterance:
    """An utterance with names that are its corpus' own, and paths from the top of the file system."""
    known: Mapping[str, float] = row.values or {}
    if half.emotions:
        if row.label not in half.emotions:
            raise CorpusError(
                f"{where}: unknown emotion '{row.label}' ({nearest(row.label, half.emotions)})"
            )
        known = {**known, **{f"{half.name}.{e}": float(e == row.label) for e in half.emotions}}
    own = {
        key: f"{half.name}:{value}"
        for key in ("dialogue_id", "speaker", "session")
        if (value := getattr(row, key))
    }
    identifier = row.utterance_id
    if identifier in shared:
        identifier = f"{half.name}:{identifier}"
    return replace(
        row,
        utterance_id=identifier,
        dialogue_id=own.get("dialogue_id", ""),
        speaker=own.get("speaker", ""),
        session=own.get("session", ""),
        audio=_from_top(row.audio, half.raw.root, where),
        video=_from_top(row.video, half.raw.root, where),
        image=_from_top(row.image, half.raw.root, where),
        label="",
        votes=None,
        split=split,
        values={target: known.get(target, math.nan) for target in targets},
    )


def _from_top(name: str, root: Path, where: str) -> str:
    if not name:
        return ""
    path = Path(os.path.normpath(root / name))
    if not path.is_relative_to(root):
        raise CorpusError(f"{where}: path '{name}' leaves the corpus root {root}")
    return str(path.relative_to("/"))
