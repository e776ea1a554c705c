"""Reader `huggingface`: folders in the layouts of Hugging Face's library `datasets`, here or on its hub.

    folder -> one of these, in this order -> tables with their split -> rows
        saved by save_to_disk: dataset_dict.json or state.json, Arrow files
        audiofolder, imagefolder: metadata.csv, .jsonl or .parquet with a column file_name, in any folder
        Parquet, CSV or JSON Lines: by README.md's `configs`, or SPLIT-00000-of-00001.parquet, train.csv, test/...
        the same without metadata: a folder an emotion

What the tables call their columns, `corpus.columns` says. Recordings and pictures in Parquet or Arrow are decoded where
they are.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from raysys.corpus.arrow import ARROW, PARQUET, embedded
from raysys.corpus.columns import read_manifest
from raysys.corpus.files import SourceConfig, corpus_root
from raysys.corpus.finding import Finding
from raysys.corpus.pictures import PICTURES
from raysys.corpus.table import RawCorpus, Utterance
from raysys.corpus.tables import column_names
from raysys.errors import CorpusError, nearest
from raysys.storage import Folder

_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Words that `datasets` takes for a split -> part."""
_TABLES = (*PARQUET, ARROW, ".csv", ".tsv", ".jsonl")
_SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SHARD = re.compile(r"(?P<split>[^/]+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(?:-[\da-f]+)?\.\w+$")
_FILE_NAMES = ("file_name", "audio_file_name")


@dataclass(frozen=True)
class HuggingfaceConfig:
    """A dataset on the hub, or one of several in a folder."""

    hub: str = ""
    """Name of a dataset on the hub, as in ORGANISATION/NAME; it is fetched once. Empty: the folder corpus.root."""
    revision: str = "main"
    """Branch, tag or commit of a dataset on the hub; refs/convert/parquet for those that are made by a script."""
    subset: str = ""
    """Which of its configurations, as README.md or its folders name them; empty: the default one, or all there is."""


def read(config: SourceConfig, settings: HuggingfaceConfig | None, cache: Folder) -> RawCorpus:
    """Read the tables of a dataset, each with its split.

    Raises:
        CorpusError: it cannot be fetched; no layout fits; a table is none, lacks a column, or holds no recordings.
    """
    settings = settings or HuggingfaceConfig()
    root = _fetched(settings) if settings.hub else corpus_root(config)
    rows: list[Utterance] = []
    origin: list[str] = []
    findings: list[Finding] = []
    top, tables = _tables(root, settings)
    for path, split in tables:
        raw = _read_table(path, root, config)
        rows += [replace(row, split=_part(row.split) or split) for row in raw.utterances]
        origin += raw.origin
        findings += [one for one in raw.findings if one not in findings]
    if tables:
        findings += [*_other_recordings(tables, top, root, rows), *_several_folders(tables, top)]
    else:
        recordings = _recordings(top)
        rows = [_in_folder(path, root, top) for path in recordings if path.parent != top]
        origin = [str(path) for path in recordings if path.parent != top]
        findings += _labels_of_folders(rows, [one for one in recordings if one.parent == top])
    if not rows:
        raise CorpusError(
            f"{top} has no layout of Hugging Face's datasets: no saved dataset, metadata.csv, Parquet, CSV or JSON "
            "Lines, and no folders of recordings or pictures: set --corpus.root to the dataset's folder"
        )
    rows = _named(_with_splits(rows))
    emotions = tuple(sorted({row.label for row in rows} - {""}))
    name = settings.hub or root.name
    return RawCorpus(name, root, emotions, tuple(rows), tuple(origin), findings=tuple(findings))


def _with_splits(rows: list[Utterance]) -> list[Utterance]:
    """Where something says a split, what says none is train, as `datasets` has it."""
    if not any(row.split for row in rows):
        return rows
    return [row if row.split else replace(row, split="train") for row in rows]


def _other_recordings(
    tables: Sequence[tuple[Path, str]], top: Path, root: Path, rows: Sequence[Utterance]
) -> list[Finding]:
    """Recordings next to metadata files that no row names."""
    if not any(path.name in _METADATA for path, _ in tables):
        return []
    named = {os.path.normpath(row.audio or row.image) for row in rows}
    others = [one for one in _recordings(top) if str(one.relative_to(root)) not in named]
    if not others:
        return []
    message = f"{len(others)} {_kind(others[0])}s are in no metadata file and are not used, first {others[0]}"
    return [Finding("warning", "not_in_metadata", message)]


def _several_folders(tables: Sequence[tuple[Path, str]], top: Path) -> list[Finding]:
    """Tables of folders that could be configurations of their own."""
    folders = {path.relative_to(top).parts[0] for path, _ in tables if path.parent != top}
    plain = sorted(one for one in folders if one != "data" and not _split((one,)))
    if len(plain) < 2:
        return []
    message = (
        f"the tables of {', '.join(plain)} are read together: --corpus.huggingface.subset takes one"
    )
    return [Finding("warning", "several_folders", message)]


def _labels_of_folders(rows: Sequence[Utterance], stray: Sequence[Path]) -> list[Finding]:
    labels = ", ".join(sorted({row.label for row in rows}))
    found = [Finding("note", "labels_of_folders", f"labels are the names of folders: {labels}")]
    if stray:
        message = f"{len(stray)} {_kind(stray[0])}s are in no folder of their own and are not used"
        found.append(Finding("warning", "stray_recordings", message))
    return found


def _fetched(settings: HuggingfaceConfig) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        folder = snapshot_download(
            settings.hub, repo_type="dataset", revision=settings.revision or None
        )
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CorpusError(
            f"cannot fetch the dataset '{settings.hub}' (corpus.huggingface.hub): {reason}: fetch it where there is a "
            "network, and set --corpus.root to its folder"
        ) from error
    return Path(folder)


@dataclass(frozen=True)
class _Chosen:
    """Where to look for tables: a folder, or patterns of a card."""

    top: Path
    patterns: tuple[tuple[str, str], ...] = ()
    """Pattern under `top`, and its split."""


def _tables(root: Path, settings: HuggingfaceConfig) -> tuple[Path, list[tuple[Path, str]]]:
    """Tables of the layout that is there, with their splits (empty where nothing says one), and the folder of all."""
    chosen = _chosen(root, settings)
    if chosen.patterns:
        return chosen.top, list(_by_card(chosen))
    for layout in (_saved, _with_metadata, _by_name):
        found = list(layout(chosen.top))
        if found:
            return chosen.top, found
    return chosen.top, []


def _chosen(root: Path, settings: HuggingfaceConfig) -> _Chosen:
    """The configuration that is asked for: of the card, or a folder."""
    card = root / "README.md"
    known = _configs(card) if card.is_file() else []
    names = [str(one.get("config_name", "default")) for one in known]
    marked = [n for n, one in zip(names, known, strict=True) if one.get("default")]
    wanted = settings.subset or next(iter(marked), "default" if "default" in names else "")
    if not wanted and len(names) > 1:
        raise CorpusError(
            f"{card} names {', '.join(names)}: set --corpus.huggingface.subset to one of them"
        )
    wanted = wanted or next(iter(names), "")
    if wanted in names:
        one = known[names.index(wanted)]
        top = root / str(one.get("data_dir", "") or "")
        return _Chosen(top, tuple(_patterns(one.get("data_files"), card)))
    if wanted and (root / wanted).is_dir():
        return _Chosen(root / wanted)
    if wanted:
        there = names + [path.name for path in root.iterdir() if path.is_dir()]
        raise CorpusError(
            f"{root} has no '{wanted}' (corpus.huggingface.subset): {nearest(wanted, there)}"
        )
    return _Chosen(root)


def _configs(card: Path) -> list[dict[str, Any]]:
    """What a dataset's card says of its configurations."""
    known = _card(card).get("configs") or []
    if not isinstance(known, list) or not all(isinstance(one, dict) for one in known):
        raise CorpusError(f"{card}: `configs` is no list of maps with config_name and data_files")
    return known


def _patterns(files: Any, card: Path) -> Iterator[tuple[str, str]]:
    """Pattern and split of a configuration's data_files: a pattern, a list of them, or of {split, path}."""
    entries = files if isinstance(files, list) else [files] if isinstance(files, str) else []
    if isinstance(files, dict):
        entries = [{"split": split, "path": path} for split, path in files.items()]
    for one in entries:
        cells = {"split": "train", "path": one} if isinstance(one, str) else one
        if not isinstance(cells, dict) or "path" not in cells:
            raise CorpusError(f"{card}: data_files holds {one!r}: give split and path")
        paths = cells["path"] if isinstance(cells["path"], list) else [cells["path"]]
        for path in map(str, paths):
            if path.startswith("/") or ".." in path:
                raise CorpusError(f"{card}: data_files '{path}' leaves the folder")
            yield path, _part(str(cells.get("split", "train")))


def _by_card(chosen: _Chosen) -> Iterator[tuple[Path, str]]:
    for pattern, split in chosen.patterns:
        found = [one for one in sorted(chosen.top.glob(pattern)) if one.suffix.lower() in _TABLES]
        if not found:
            raise CorpusError(
                f"{chosen.top}: the card's data_files '{pattern}' name no table: get the whole dataset"
            )
        for path in found:
            yield path, split


def _saved(root: Path) -> Iterator[tuple[Path, str]]:
    if (root / "dataset_dict.json").is_file():
        for split in _json(root / "dataset_dict.json").get("splits", []):
            for path, _ in _saved(root / split):
                yield path, _part(split)
    elif (root / "state.json").is_file():
        state = _json(root / "state.json")
        split = _part(str(state.get("_split") or ""))
        for one in state.get("_data_files", []):
            path = root / str(one.get("filename", ""))
            if not path.is_file():
                raise CorpusError(f"{root / 'state.json'} names {path.name}, which is not there")
            yield path, split


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"cannot read {path}: {error}: save the dataset again") from error
    return content if isinstance(content, dict) else {}


def _with_metadata(root: Path) -> Iterator[tuple[Path, str]]:
    for path in _files(root):
        if path.name in _METADATA:
            yield path, _split(path.parent.relative_to(root).parts)


def _card(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    try:
        content = yaml.safe_load(head[1]) if head else {}
    except yaml.YAMLError as error:
        raise CorpusError(f"{path}: its head is no YAML: {' '.join(str(error).split())}") from error
    return content if isinstance(content, dict) else {}


def _by_name(root: Path) -> Iterator[tuple[Path, str]]:
    shards: dict[tuple[Path, str, str], set[str]] = {}
    for path in _files(root):
        if path.suffix.lower() in _TABLES:
            shard = _SHARD.search(path.name)
            parts = (*path.relative_to(root).parent.parts, path.stem)
            if shard:
                key = (path.parent, shard["split"], shard["count"])
                shards.setdefault(key, set()).add(shard["number"])
            yield path, _part(shard["split"]) if shard else _split(parts)
    for (folder, split, count), there in shards.items():
        if len(there) < int(count):
            raise CorpusError(
                f"{folder} holds {len(there)} of {int(count)} files of {split}: get the whole dataset"
            )


def _files(top: Path) -> list[Path]:
    """Files of a dataset, in order; hidden ones are left out."""
    return [
        path
        for path in sorted(top.rglob("*"))
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(top).parts)
    ]


def _recordings(top: Path) -> list[Path]:
    """Recordings; pictures, where there are none."""
    files = _files(top)
    heard = [path for path in files if path.suffix.lower() in _SOUNDS]
    return heard or [path for path in files if path.suffix.lower() in PICTURES]


def _kind(path: Path) -> str:
    return "picture" if path.suffix.lower() in PICTURES else "recording"


def _part(split: str) -> str:
    return _PARTS.get(split.lower(), split)


def _split(parts: tuple[str, ...]) -> str:
    """Part by the words in names of folders, and of a table; empty where none says it."""
    for name in parts:
        for word in re.split(r"[\W\d_]+", name.lower()):
            if word in _PARTS:
                return _PARTS[word]
    return ""


def _read_table(path: Path, root: Path, config: SourceConfig) -> RawCorpus:
    """Rows of one table, whose files are named from the root."""
    names = column_names(path)
    columns = dict(config.columns)
    if not {"audio", "image"} & {*columns, *names}:
        named = [one for one in _FILE_NAMES if one in names]
        columns.update({"audio": named[0]} if named else {})
    if "image" not in {*columns, *names} and "image_file_name" in names:
        columns["image"] = "image_file_name"
    raw = read_manifest(
        path,
        root=root,
        name=root.name,
        targets=config.targets,
        columns=columns,
        needed=() if config.targets else ("label",),
    )
    rows = []
    for row, where in zip(raw.utterances, raw.origin, strict=True):
        if _kind(Path(row.audio)) == "picture":  # an imagefolder's file_name
            row = replace(row, audio="", image=row.audio)
        audio = _from_root(row.audio, path, root, f"{where}: the recording")
        image = _from_root(row.image, path, root, f"{where}: the picture")
        rows.append(replace(row, audio=audio, image=image))
    return replace(raw, utterances=tuple(rows))


def _from_root(name: str, table: Path, root: Path, what: str) -> str:
    """A file that a table names, or a place inside the table, from the root.

    Raises:
        CorpusError: a table that should hold files names one that is not there.
    """
    if not name or embedded(Path(name)) is not None:
        return name
    inside = os.path.relpath(table.parent / name, root)
    known = inside if (root / inside).is_file() else name
    if table.suffix.lower() in (*PARQUET, ARROW) and not (root / known).is_file():
        raise CorpusError(
            f"{what} has no bytes, and its file '{name}' is not under {root}: write the table with its files in it, as "
            "datasets' to_parquet and save_to_disk do"
        )
    return known


def _in_folder(path: Path, root: Path, top: Path) -> Utterance:
    """A recording, or picture, whose folder is named like its emotion."""
    split = _split(path.parent.relative_to(top).parts)
    inside = path.relative_to(root).as_posix()
    row = Utterance("", label=path.parent.name, split=split)
    if _kind(path) == "picture":
        return replace(row, image=inside)
    return replace(row, audio=inside)


def _named(rows: list[Utterance]) -> list[Utterance]:
    """Every utterance with a name: that of its file, or its split and number there."""
    counts: dict[str, int] = {}
    named = []
    for row in rows:
        name = row.utterance_id
        if not name:
            number = counts.get(row.split, 0)
            counts[row.split] = number + 1
            name = f"{row.split or 'row'}-{number}"
            file = row.audio or row.image
            if file and embedded(Path(file)) is None:
                name = PurePosixPath(file).with_suffix("").as_posix()
        named.append(replace(row, utterance_id=name, dialogue_id=row.dialogue_id or name))
    return named
