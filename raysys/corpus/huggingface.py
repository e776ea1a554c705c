"""Reader `huggingface`: folders in the layouts of Hugging Face's library `datasets`, here or on its hub.

    folder -> one of these, in this order -> tables with their split -> rows
        saved by save_to_disk: dataset_dict.json or state.json, Arrow files
        audiofolder: metadata.csv, .jsonl or .parquet with a column file_name, in any folder
        Parquet, CSV or JSON Lines: by README.md's `configs`, or SPLIT-00000-of-00001.parquet, train.csv, test/...
        audiofolder without metadata: a folder an emotion

What the tables call their columns, `corpus.columns` says. Recordings in Parquet or Arrow are decoded where they are.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from raysys.corpus.arrow import ARROW, PARQUET, embedded
from raysys.corpus.columns import read_manifest
from raysys.corpus.files import SourceConfig, corpus_root
from raysys.corpus.finding import Finding
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
_SHARD = re.compile(r"(?P<split>[^/]+?)-\d{5}-of-\d{5}(?:-[\da-f]+)?\.\w+$")
_FILE_NAMES = ("file_name", "audio_file_name")


@dataclass(frozen=True)
class HuggingfaceConfig:
    """A dataset on the hub, or one of several in a folder."""

    hub: str = ""
    """Its name on the hub, as in ORGANISATION/NAME; it is fetched once. Empty: the folder corpus.root."""
    revision: str = "main"
    """Of a dataset on the hub: branch, tag or commit. refs/convert/parquet serves those that are made by a script."""
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
    for path, split in _tables(root, settings):
        raw = _read_table(path, root, config)
        own = [replace(row, split=row.split or split) for row in raw.utterances]
        rows += own
        origin += raw.origin
        findings += [one for one in raw.findings if one not in findings]
    if not rows:
        found = [(path, split) for path, split in _sounds(root)]
        if not found:
            raise CorpusError(
                f"{root} has no layout of Hugging Face's datasets: no saved dataset, metadata.csv, Parquet, CSV or "
                "JSON Lines, and no folders of recordings: set --corpus.root to the dataset's folder"
            )
        rows = [_in_folder(path, split, root) for path, split in found]
        origin = [str(path) for path, _ in found]
    name = settings.hub or root.name
    rows = _named(rows)
    emotions = tuple(sorted({row.label for row in rows} - {""}))
    return RawCorpus(name, root, emotions, tuple(rows), tuple(origin), findings=tuple(findings))


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


def _tables(root: Path, settings: HuggingfaceConfig) -> list[tuple[Path, str]]:
    """Tables of the layout that is there, with their splits."""
    for layout in (_saved, _with_metadata, _by_readme, _by_name):
        found = list(layout(root, settings))
        if found:
            return found
    return []


def _saved(root: Path, settings: HuggingfaceConfig) -> Iterator[tuple[Path, str]]:
    if (root / "dataset_dict.json").is_file():
        for split in _json(root / "dataset_dict.json").get("splits", []):
            for path, _ in _saved(root / split, settings):
                yield path, _part(split)
    elif (root / "state.json").is_file():
        state = _json(root / "state.json")
        split = _part(str(state.get("_split") or "train"))
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


def _with_metadata(root: Path, settings: HuggingfaceConfig) -> Iterator[tuple[Path, str]]:
    for path in _files(root, settings.subset):
        if path.name in _METADATA:
            yield path, _split(path.parent.relative_to(root).parts)


def _by_readme(root: Path, settings: HuggingfaceConfig) -> Iterator[tuple[Path, str]]:
    """Data files as the card of a dataset names them."""
    card = root / "README.md"
    if not card.is_file() or not (known := _card(card).get("configs")):
        return
    names = [str(one.get("config_name", "default")) for one in known]
    wanted = settings.subset or next(
        (n for n, one in zip(names, known, strict=True) if one.get("default")),
        "default" if "default" in names else names[0],
    )
    if not settings.subset and len(names) > 1 and wanted == names[0] != "default":
        raise CorpusError(f"{card} names {', '.join(names)}: set --corpus.huggingface.subset")
    if wanted not in names:
        raise CorpusError(
            f"{card} has no '{wanted}' (corpus.huggingface.subset): {nearest(wanted, names)}"
        )
    chosen = known[names.index(wanted)]
    base, files = str(chosen.get("data_dir", "")), chosen.get("data_files", [])
    if isinstance(files, str) or (files and isinstance(files[0], str)):
        files = [{"split": "train", "path": files}]
    for one in files:
        patterns = [one["path"]] if isinstance(one["path"], str) else one["path"]
        for pattern in patterns:
            for path in sorted(root.glob(os.path.join(base, pattern))):
                if path.suffix.lower() in _TABLES:
                    yield path, _part(str(one["split"]))


def _card(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8", errors="replace")
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    try:
        content = yaml.safe_load(head[1]) if head else {}
    except yaml.YAMLError as error:
        raise CorpusError(f"{path}: its head is no YAML: {' '.join(str(error).split())}") from error
    return content if isinstance(content, dict) else {}


def _by_name(root: Path, settings: HuggingfaceConfig) -> Iterator[tuple[Path, str]]:
    for path in _files(root, settings.subset):
        if path.suffix.lower() in _TABLES:
            inside = path.relative_to(root)
            shard = _SHARD.search(path.name)
            parts = (*inside.parent.parts, path.stem)
            yield path, _part(shard["split"]) if shard else _split(parts)


def _files(root: Path, subset: str) -> list[Path]:
    """Files of a dataset, or of one of its configurations, in order; hidden ones are left out."""
    if subset and not (root / subset).is_dir():
        folders = [path.name for path in root.iterdir() if path.is_dir()]
        raise CorpusError(
            f"{root} has no folder '{subset}' (corpus.huggingface.subset): {nearest(subset, folders)}"
        )
    top = root / subset
    return [
        path
        for path in sorted(top.rglob("*"))
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(top).parts)
    ]


def _sounds(root: Path) -> Iterator[tuple[Path, str]]:
    for path in _files(root, ""):
        if path.suffix.lower() in _SOUNDS and path.parent != root:
            yield path, _split(path.parent.relative_to(root).parts)


def _part(split: str) -> str:
    return _PARTS.get(split.lower(), split)


def _split(parts: tuple[str, ...]) -> str:
    """Part by the words in names of folders, and of a table; train where none says it, as `datasets` has it."""
    for name in parts:
        for word in re.split(r"[\W\d_]+", name.lower()):
            if word in _PARTS:
                return _PARTS[word]
    return "train"


def _read_table(path: Path, root: Path, config: SourceConfig) -> RawCorpus:
    """Rows of one table, whose files are named from the root."""
    names = column_names(path)
    columns = dict(config.columns)
    if "audio" not in columns and "audio" not in names:
        named = [one for one in _FILE_NAMES if one in names]
        columns.update({"audio": named[0]} if named else {})
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
        if row.audio and embedded(Path(row.audio)) is None:
            inside = os.path.relpath(path.parent / row.audio, root)
            known = row.audio if (root / row.audio).is_file() else inside
            if path.suffix.lower() in (*PARQUET, ARROW) and not (root / known).is_file():
                raise CorpusError(
                    f"{where}: the recording has no bytes, and its file '{row.audio}' is not under {root}: write the "
                    "table with its recordings in it, as datasets' to_parquet and save_to_disk do"
                )
            row = replace(row, audio=known)
        rows.append(row)
    return replace(raw, utterances=tuple(rows))


def _in_folder(path: Path, split: str, root: Path) -> Utterance:
    """A recording whose folder is named like its emotion."""
    inside = path.relative_to(root)
    return Utterance("", label=path.parent.name, audio=inside.as_posix(), split=split)


def _named(rows: list[Utterance]) -> list[Utterance]:
    """Every utterance with a name: that of its file, or its split and number there."""
    counts: dict[str, int] = {}
    named = []
    for row in rows:
        name = row.utterance_id
        if not name:
            number = counts.get(row.split, 0)
            counts[row.split] = number + 1
            is_file = row.audio and embedded(Path(row.audio)) is None
            stem = PurePosixPath(row.audio).with_suffix("").as_posix()
            name = stem if is_file else f"{row.split or 'row'}-{number}"
        named.append(replace(row, utterance_id=name, dialogue_id=row.dialogue_id or name))
    return named
