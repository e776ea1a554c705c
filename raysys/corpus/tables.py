"""Tables as people have them: CSV with comma, semicolon or tab, UTF-8 or UTF-16, JSON Lines, and Parquet.

    file -> names of its columns (checked) -> (where, cells by column) a row; what is wrong with rows is collected

Nothing is guessed: a byte that is no UTF-8 is named with its line, a column that comes twice with both places.
"""

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from raysys.corpus.arrow import ARROW, PARQUET, arrow_rows
from raysys.corpus.names import clean_name
from raysys.errors import CorpusError, nearest

_LARGEST = 3.4e38
_SHOWN = 10
"""Problems that one message names."""
_DELIMITERS = (",", ";", "\t")
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_POINTER = b"version https://git-lfs"
_INDEX = "__index_level_"
"""Columns of Parquet files that hold pandas' index."""
Check = Callable[[Sequence[str], Path], None]
"""Refuses names of columns that do not fit."""
Row = tuple[str, dict[str, Any]]
"""Where it stands (file:line, or file row number), and its cells by column."""


@dataclass
class Problems:
    """What is wrong with a table or corpus, row by row, to be said in one message."""

    found: list[str] = field(default_factory=list)

    def add(self, problem: object) -> None:
        """One more."""
        self.found.append(str(problem))

    def refuse(self, remedy: str = "") -> None:
        """Raise what was found.

        Raises:
            CorpusError: there was something.
        """
        if self.found:
            raise CorpusError(f"{in_one_line(self.found)}{remedy}")


def in_one_line(problems: Sequence[str]) -> str:
    """Up to ten problems, and how many there are."""
    if len(problems) == 1:
        return problems[0]
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return f"{len(problems)} problems: {'; '.join(problems[:_SHOWN])}{more}"


def table_rows(path: Path, check: Check, problems: Problems) -> Iterator[Row]:
    """Rows of a CSV (.csv, .tsv, .txt), JSON Lines, Parquet or Arrow file; empty cells are left out.

    Args:
        path: of the table.
        check: is given the names of the columns.
        problems: takes rows that cannot be read.

    Raises:
        CorpusError: the file is no such table, a column comes twice, or `check` refuses.
    """
    if path.suffix.lower() in (*PARQUET, ARROW):
        yield from _parquet_rows(path, check, problems)
        return
    if path.suffix.lower() == ".jsonl":
        yield from _json_rows(path, check, problems)
        return
    for where, row in csv_rows(path, check, problems):
        yield where, {name: value for name, value in row.items() if value != ""}


def column_names(path: Path) -> list[str]:
    """Names of a table's columns.

    Raises:
        CorpusError: it is no table.
    """
    found: list[str] = []
    for _ in table_rows(path, lambda names, _: found.extend(names), Problems()):
        break
    return found


def csv_rows(
    path: Path, check: Check, problems: Problems | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a table of text, whose first line names the columns.

    Args:
        path: UTF-8, or UTF-16 with its mark; columns stand between commas, semicolons or tabs.
        check: is given the names of the columns.
        problems: takes rows with too many or too few fields; without it, the first one is raised.

    Raises:
        CorpusError: it is not such a table, or as `table_rows`.
    """
    try:
        with path.open(newline="", encoding=_encoding(path)) as file:
            head = file.readline()
            file.seek(0)
            reader = csv.reader(file, strict=True, delimiter=_delimiter(head, path))
            names = _column_names(next(reader, []), path)
            check(names, path)
            for cells in reader:
                if not cells:
                    continue
                where = f"{path}:{reader.line_num}"
                if len(cells) == len(names):
                    yield where, dict(zip(names, cells, strict=True))
                    continue
                problem = (
                    f"{where}: the row does not have {len(names)} fields but {len(cells)}: quote text that holds "
                    "the separator"
                )
                if problems is None:
                    raise CorpusError(problem)
                problems.add(problem)
    except UnicodeDecodeError as error:
        raise CorpusError(_no_utf8(path)) from error
    except csv.Error as error:
        raise CorpusError(
            f"{path} is no CSV table: {error}: quote fields that hold quotes"
        ) from error
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error


def require_columns(names: Sequence[str], path: Path, required: Sequence[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        CorpusError: the missing ones.
    """
    missing = [name for name in required if name not in names]
    if missing:
        alone = ", in one piece: separate them by commas, semicolons or tabs"
        told = " and ".join(f"'{name}'" for name in missing)
        are = "is" if len(missing) == 1 else "are"
        raise CorpusError(
            f"{path}: column {told} {are} missing; there are {', '.join(names)}{alone if len(names) == 1 else ''}"
        )


def is_pointer(path: Path) -> bool:
    """Whether a file is only git-lfs' note of where its content is."""
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def refuse_pointer(path: Path, where: str) -> None:
    """Raise where git-lfs has not fetched a file.

    Raises:
        CorpusError: it has not.
    """
    if is_pointer(path):
        raise CorpusError(f"{where}{path} is a git-lfs pointer, not the file: run git lfs pull")


def as_name(value: object) -> str:
    """A cell as a name or text: whole numbers without a point, as CSV would have them.

    Raises:
        ValueError: it is neither text nor a number.
    """
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise ValueError("bytes that are no UTF-8 text") from error
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float | Decimal | date | time | timedelta):
        return str(value)
    raise ValueError(f"{type(value).__name__} instead of text")


def as_number(value: object) -> float:
    """A finite number, as people and programs write it.

    Raises:
        ValueError: it is none; the message says what is wrong with it.
    """
    text = str(value).strip()
    if re.fullmatch(r"[+-]?\d*,\d+", text):
        raise ValueError("write a point for the decimal comma")
    if "_" in text or isinstance(value, bool):
        raise ValueError("must be a number")
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError("must be a number") from error
    if not math.isfinite(number) or abs(number) > _LARGEST:
        raise ValueError("must be a finite number, at most 3.4e38")
    return number


def as_turn(value: object) -> int:
    """A whole number, also as `1.0`, which pandas writes for columns with gaps.

    Raises:
        ValueError: it is none.
    """
    number = as_number(value)
    if not number.is_integer():
        raise ValueError("must be a whole number")
    return int(number)


def as_seconds(value: object) -> float:
    """Seconds, from a number, a duration, or text such as `1.5`, `0:01:02.5` and `0 days 00:01:02.5`.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    text = str(value).strip()
    if days_alone := re.fullmatch(r"(\d+) days?", text):
        return float(days_alone[1]) * 86400
    clock = re.fullmatch(r"(?:(\d+) days? )?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
    if clock is None:
        return as_number(text)
    days, hours, minutes, seconds = (float(part or 0) for part in clock.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _encoding(path: Path) -> str:
    refuse_pointer(path, "")
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PAR1"):
        raise CorpusError(f"{path} is a Parquet file: name it .parquet")
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise CorpusError(f"{path} is a spreadsheet or archive, not CSV: save it as CSV (UTF-8)")
    for mark, encoding in _BOMS.items():
        if start.startswith(mark):
            return encoding
    if b"\0" in start:
        raise CorpusError(
            f"{path} holds zero bytes: it is binary, or UTF-16 without its mark: save it as CSV (UTF-8)"
        )
    return "utf-8"


def _no_utf8(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return f"{path} is not the UTF-16 that its first bytes announce: save it as CSV (UTF-8)"
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        meant = bytes([byte]).decode("cp1252", errors="replace")
        return (
            f"{path}:{line} is not UTF-8: byte 0x{byte:02x}, which is '{meant}' in Windows-1252: save the table as "
            f"UTF-8, as by iconv -f CP1252 -t UTF-8 '{path}' if that is what it should be"
        )
    return f"{path} is not UTF-8: save the table as UTF-8"


def _delimiter(head: str, path: Path) -> str:
    """What stands between the columns' names: the one that gives most of them."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    counts = {}
    for one in _DELIMITERS:
        try:
            counts[one] = len(next(csv.reader(io.StringIO(head), delimiter=one), []))
        except csv.Error:
            counts[one] = 0
    return max(_DELIMITERS, key=lambda one: counts[one])


def _column_names(found: Sequence[str], path: Path) -> list[str]:
    """Names of columns, each once; a column without one, such as pandas' index, is named by its place."""
    names = [clean_name(name) or f"unnamed {k}" for k, name in enumerate(found, start=1)]
    if not found:
        raise CorpusError(f"{path} is empty: its first line must name the columns")
    for k, name in enumerate(names):
        if name in names[:k]:
            raise CorpusError(
                f"{path}: column '{name}' comes twice (columns {names.index(name) + 1} and {k + 1}): rename or "
                "remove one"
            )
    return names


def _parquet_rows(path: Path, check: Check, problems: Problems) -> Iterator[Row]:
    refuse_pointer(path, "")
    found, rows = arrow_rows(path)
    names = _column_names(found, path)
    check(names, path)
    for k, cells in enumerate(rows):
        row = dict(zip(names, cells.values(), strict=True))
        yield f"{path} row {k}", {name: v for name, v in row.items() if not _is_missing(v)}


def _json_rows(path: Path, check: Check, problems: Problems) -> Iterator[Row]:
    """A JSON object a line; the columns are those of all lines."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise CorpusError(_no_utf8(path)) from error
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except ValueError:
            cells = None
        if isinstance(cells, dict):
            rows.append((f"{path}:{number}", cells))
        else:
            problems.add(f"{path}:{number} is no JSON object: a line is one")
    names = _column_names(list(dict.fromkeys(name for _, cells in rows for name in cells)), path)
    check(names, path)
    for where, cells in rows:
        yield where, {clean_name(k): v for k, v in cells.items() if not _is_missing(v)}


def _is_missing(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and value != value)


def renamed(names: Sequence[str], columns: Mapping[str, str], path: Path) -> list[str]:
    """Names of columns as raysys calls them.

    Args:
        names: as the table has them.
        columns: our name -> the table's.
        path: of the table.

    Raises:
        CorpusError: the table has no such column.
    """
    for own, theirs in columns.items():
        if theirs not in names:
            raise CorpusError(
                f"{path}: no column '{theirs}' (corpus.columns: {own}): {nearest(theirs, names)}"
            )
    ours = {theirs: own for own, theirs in columns.items()}
    if len(ours) < len(columns):
        raise CorpusError(f"{path}: corpus.columns reads two columns from one: {dict(columns)}")
    return [ours.get(name, f"{name} of the table" if name in columns else name) for name in names]
