"""Reader `manifest`: the user's own corpus as one CSV or Parquet file.

Columns: utterance_id, label, and as the corpus has them text, audio (path under the root), video (path of a film,
or of a .npy with features), speaker, session, dialogue_id, turn, start, end (seconds), votes (JSON object or Parquet
map: emotion -> annotators), split. A row without dialogue_id is a dialogue of its own. Votes for emotions outside
`corpus.emotions` do not count towards the targets. The columns in `corpus.targets` hold numbers; beside them, a label
is not needed.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from raysys.corpus.files import SourceConfig, corpus_root, csv_rows, require_columns
from raysys.corpus.table import RawCorpus, Utterance
from raysys.errors import CorpusError, nearest
from raysys.storage import Folder

COLUMNS = tuple(item.name for item in fields(Utterance) if item.name != "values")
"""Columns that a manifest may have, beside targets."""


def read(config: SourceConfig, settings: object, cache: Folder) -> RawCorpus:
    """Read the manifest under `corpus.root`.

    Raises:
        CorpusError: no such file, an unknown or missing column, a value of the wrong type.
    """
    root = corpus_root(config)
    return read_manifest(_find(config), root=root, name=config.name, targets=config.targets)


def read_manifest(path: Path, *, root: Path, name: str, targets: tuple[str, ...] = ()) -> RawCorpus:
    """Read one manifest file; audio paths are relative to `root`, emotions sorted by name, targets are numbers.

    Raises:
        CorpusError: as for `read`.
    """
    check = partial(_check_columns, targets=targets)
    read_rows = _parquet_rows if path.suffix == ".parquet" else _csv_rows
    rows = read_rows(path, check)
    utterances = tuple(_utterance(values, where, targets) for where, values in rows)
    if not utterances:
        raise CorpusError(f"{path} holds no rows")
    origin = tuple(where for where, _ in rows)
    emotions = tuple(sorted({row.label for row in utterances} - {""}))
    return RawCorpus(name, root, emotions, utterances, origin)


Check = Callable[[Sequence[str], Path], None]


def _find(config: SourceConfig) -> Path:
    root = corpus_root(config)
    names = [config.manifest] if config.manifest else ["manifest.csv", "manifest.parquet"]
    for name in names:
        if (root / name).is_file():
            return root / name
    raise CorpusError(f"no {' or '.join(names)} in {root}: set --corpus.manifest FILE")


def _csv_rows(path: Path, check_columns: Check) -> list[tuple[str, dict[str, Any]]]:
    return [
        (where, {name: value for name, value in row.items() if value != ""})
        for where, row in csv_rows(path, check_columns)
    ]


def _parquet_rows(path: Path, check_columns: Check) -> list[tuple[str, dict[str, Any]]]:
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise CorpusError(f"{path} is not Parquet: {' '.join(str(error).split())}") from error
    check_columns(table.column_names, path)
    rows = enumerate(table.to_pylist())
    return [
        (f"{path} row {k}", {name: v for name, v in row.items() if v is not None})
        for k, row in rows
    ]


def _check_columns(names: Sequence[str], path: Path, *, targets: tuple[str, ...]) -> None:
    for name in targets:
        if name in COLUMNS:
            raise CorpusError(
                f"corpus.targets: '{name}' has a meaning of its own: rename the column"
            )
        if name not in names:
            raise CorpusError(
                f"{path}: no column '{name}' (corpus.targets): {nearest(name, names)}"
            )
    known = (*COLUMNS, *targets)
    for name in names:
        if name not in known:
            raise CorpusError(f"{path}: unknown column '{name}': {nearest(name, known)}")
    require_columns(names, path, ("utterance_id", *(() if targets else ("label",))))


def _utterance(values: Mapping[str, Any], where: str, targets: tuple[str, ...]) -> Utterance:
    parsers: dict[str, Callable[[Any], Any]] = {
        "turn": int,
        "start": float,
        "end": float,
        "votes": _votes,
        **dict.fromkeys(targets, float),
    }
    parsed: dict[str, Any] = {}
    for name, value in values.items():
        try:
            parsed[name] = parsers.get(name, str)(value)
        except (TypeError, ValueError) as error:
            raise CorpusError(f"{where}: column '{name}' holds {value!r}: {error}") from error
    parsed.setdefault("utterance_id", "")
    parsed.setdefault("dialogue_id", parsed["utterance_id"])
    numbers = {name: parsed.pop(name) for name in targets if name in parsed}
    return Utterance(**parsed, values=numbers or None)


def _votes(value: Any) -> dict[str, int]:
    pairs = json.loads(value) if isinstance(value, str) else value
    counts = {str(emotion): int(count) for emotion, count in dict(pairs).items() if count}
    if not counts:
        raise ValueError("votes must name at least one emotion with one vote")
    return counts
