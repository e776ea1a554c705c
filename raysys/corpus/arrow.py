"""Parquet and Arrow tables, as pandas and Hugging Face's datasets write them.

    file -> names of its columns -> cells by column, a row at a time; classes by name where the file names them
    a column of recordings or pictures (bytes, or {bytes, path}) -> places such as train.parquet#audio:12 -> bytes

Recordings and pictures stay in the file: a table of many gigabytes costs what its other columns cost. `datasets` keeps
the names of classes in the schema, under the key `huggingface`.
"""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from raysys.errors import CorpusError

PARQUET = (".parquet", ".pq")
ARROW = ".arrow"
_PLACE = re.compile(r"(.+\.(?:parquet|pq|arrow))#(.+):(\d+)", re.DOTALL | re.IGNORECASE)
_SOUND = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd")
"""First bytes of sound files."""
_PICTURE = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")
"""First bytes of pictures; WebP begins with RIFF."""
_KEPT_BYTES = 512 * 2**20
"""Limit of the cache of decoded row groups: recordings are read in the order of their lengths, not of their rows."""


def place(file: Path, column: str, row: int) -> str:
    """Name of a recording, or picture, inside a table."""
    return f"{file}#{column}:{row}"


def embedded(path: Path) -> tuple[Path, str, int] | None:
    """Table, column and row of a recording, or picture, inside a table; None for what is a file of its own."""
    match = _PLACE.fullmatch(str(path))
    if match is None or path.is_file():
        return None
    return Path(match[1]), match[2], int(match[3])


def read_embedded(path: Path) -> bytes:
    """The bytes of a recording, or picture.

    Args:
        path: as `place` writes it.

    Raises:
        CorpusError: the table cannot be read, or holds no such recording.
    """
    found = embedded(path)
    if found is None:
        raise CorpusError(f"{path} is no place in a table")
    file, column, row = found
    try:
        cells, first = _TABLES.cells(file, column, row)
        cell = cells[row - first].as_py()
    except (OSError, pyarrow.ArrowException, IndexError, KeyError) as error:
        raise CorpusError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise CorpusError(f"{path} holds no bytes")
    return content


def arrow_rows(path: Path) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """Names of a table's columns, and its rows; missing cells are None.

    Raises:
        CorpusError: it is no such table.
    """
    try:
        if path.suffix.lower() in PARQUET:
            file = pyarrow.parquet.ParquetFile(path)
            schema = file.schema_arrow
            names = schema.names
            kinds = {name: _recordings(path, schema, name) for name in names}
            table = file.read(columns=_without_bytes(kinds)) if any(kinds.values()) else file.read()
        else:
            table = _TABLES.arrow(path)
            schema, names = table.schema, table.schema.names
            kinds = {name: _recordings(path, schema, name) for name in names}
        if len(kinds) < len(names):  # a name that comes twice, which the caller refuses
            return names, iter(())
        columns = {name: _column(path, table, name, kinds[name]) for name in names}
    except (OSError, pyarrow.ArrowException, ValueError) as error:
        kind = "Parquet" if path.suffix.lower() in PARQUET else "an Arrow stream"
        raise CorpusError(f"{path} is not {kind}: {' '.join(str(error).split())}") from error
    rows = zip(*columns.values(), strict=True)
    return names, (dict(zip(columns, cells, strict=True)) for cells in rows)


def _without_bytes(kinds: Mapping[str, str]) -> list[str]:
    """What is read of a table's columns: of recordings their paths alone."""
    plain = [name for name, kind in kinds.items() if not kind]
    return plain + [f"{name}.path" for name, kind in kinds.items() if kind == "struct"]


def _recordings(path: Path, schema: pyarrow.Schema, name: str) -> str:
    """Whether a column holds recordings or pictures: struct ({bytes, path}), bytes, or empty text."""
    if schema.names.count(name) > 1:
        return ""
    kind, types = schema.field(name).type, pyarrow.types
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        inner = kind.field("bytes").type
        return "struct" if types.is_binary(inner) or types.is_large_binary(inner) else ""
    if types.is_binary(kind) or types.is_large_binary(kind):
        first = _TABLES.first(path, name)
        is_mp3 = len(first) > 1 and first[0] == 0xFF and first[1] & 0xE6 == 0xE2  # layer III
        return (
            "bytes"
            if first.startswith(_SOUND + _PICTURE) or first[4:8] == b"ftyp" or is_mp3
            else ""
        )
    return ""


def _column(path: Path, table: pyarrow.Table, name: str, kind: str) -> list[Any]:
    """A column's cells: recordings as places, or as the path of their file; classes by name."""
    if not kind:
        cells: list[Any] = table.column(name).to_pylist()
        classes = class_names(table.schema, name)
        return [_class(one, classes, path, name) for one in cells] if classes else cells
    there = _TABLES.has_bytes(path, name)
    known = table.column(name).to_pylist() if kind == "struct" else [None] * len(there)
    paths = [one.get("path") if isinstance(one, dict) else None for one in known]
    whole = path.resolve()
    return [place(whole, name, k) if there[k] else paths[k] for k in range(len(there))]


def class_names(schema: pyarrow.Schema, column: str) -> list[str]:
    """Names of a column's classes by number, as `datasets` keeps them; none where it does not."""
    try:
        kept = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        feature = kept["info"]["features"][column]
        return [str(one) for one in feature["names"]] if feature["_type"] == "ClassLabel" else []
    except (ValueError, KeyError, TypeError):
        return []


def _class(number: Any, names: Sequence[str], path: Path, column: str) -> Any:
    if number is None or number == -1:  # datasets' number for an unknown class
        return None
    if isinstance(number, int) and 0 <= number < len(names):
        return names[number]
    raise CorpusError(f"{path}: column '{column}' has the class {number}, but names {len(names)}")


class _Tables:
    """Tables that are open, and row groups of recordings that were read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: OrderedDict[tuple[object, ...], pyarrow.ChunkedArray] = OrderedDict()

    def cells(self, file: Path, column: str, row: int) -> tuple[pyarrow.ChunkedArray, int]:
        """Cells of a column around a row, and the first one's row."""
        if file.suffix.lower() == ARROW:
            return self.arrow(file).column(column), 0
        state = file.stat()
        key = (str(file), state.st_size, state.st_mtime_ns)
        starts = _row_groups(*key)
        group = max(k for k, start in enumerate(starts) if start <= row)
        name = (*key, column, group)
        with self._lock:
            if name in self._groups:
                self._groups.move_to_end(name)
                return self._groups[name], starts[group]
            table = pyarrow.parquet.ParquetFile(file).read_row_group(group, columns=[column])
            self._groups[name] = table.column(column)
            while (
                len(self._groups) > 1
                and sum(one.nbytes for one in self._groups.values()) > _KEPT_BYTES
            ):
                self._groups.popitem(last=False)
            return self._groups[name], starts[group]

    def first(self, file: Path, column: str) -> bytes:
        """The first cell of a column of bytes that holds some."""
        if file.suffix.lower() == ARROW:
            groups = iter([self.arrow(file).column(column)])
        else:
            read = pyarrow.parquet.ParquetFile(file)
            groups = (
                read.read_row_group(k, columns=[column]).column(column)
                for k in range(read.num_row_groups)
            )
        cells = (one.as_py() for group in groups for one in group if one.is_valid)
        return next((cell for cell in cells if cell), b"")

    def has_bytes(self, file: Path, column: str) -> list[bool]:
        """Whether each row holds a recording's bytes."""
        if file.suffix.lower() == ARROW:
            return _valid(self.arrow(file).column(column))
        read = pyarrow.parquet.ParquetFile(file)
        found: list[bool] = []
        for group in range(read.num_row_groups):
            about = read.metadata.row_group(group)
            chunks = [about.column(k) for k in range(about.num_columns)]
            [chunk] = [
                one for one in chunks if one.path_in_schema in (column, f"{column}.bytes")
            ] or [None]
            statistics = chunk.statistics if chunk else None
            if statistics is not None and statistics.has_null_count and not statistics.null_count:
                found += [True] * about.num_rows
            else:
                found += _valid(read.read_row_group(group, columns=[column]).column(column))
        return found

    def arrow(self, file: Path) -> pyarrow.Table:
        """A table that `datasets` has saved, mapped into memory."""
        state = file.stat()
        return _mapped(str(file), state.st_size, state.st_mtime_ns)


def _valid(cells: pyarrow.ChunkedArray) -> list[bool]:
    inner = [
        one.field("bytes") if pyarrow.types.is_struct(one.type) else one for one in cells.chunks
    ]
    both = zip(cells.chunks, inner, strict=True)
    return [
        bool(a and b)
        for outer, own in both
        for a, b in zip(outer.is_valid().to_pylist(), own.is_valid().to_pylist(), strict=True)
    ]


@lru_cache(maxsize=256)
def _row_groups(file: str, size: int, changed: int) -> list[int]:
    """First row of each row group."""
    about = pyarrow.parquet.ParquetFile(file).metadata
    starts, total = [], 0
    for group in range(about.num_row_groups):
        starts.append(total)
        total += about.row_group(group).num_rows
    return starts


@lru_cache(maxsize=64)
def _mapped(file: str, size: int, changed: int) -> pyarrow.Table:
    source = pyarrow.memory_map(file)
    try:
        return pyarrow.ipc.open_stream(source).read_all()
    except pyarrow.ArrowInvalid:
        return pyarrow.ipc.open_file(source).read_all()


_TABLES = _Tables()
