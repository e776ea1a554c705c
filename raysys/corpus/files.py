"""What readers share: which corpus is asked for, its folder, and rows of a CSV table."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysys.errors import CorpusError


@dataclass(frozen=True)
class SourceConfig:
    """What every reader is asked for."""

    name: str = "demo"
    """Reader: demo (generated, synthetic), emodb, iemocap, meld, manifest (your own CSV or Parquet), ratings (of
    words or texts, in several formats), or across (one corpus to learn from, another to be tested on)."""
    root: str = ""
    """Folder of the corpus; audio paths are relative to it. The demo needs none."""
    manifest: str = ""
    """For `manifest`: the CSV or Parquet file, relative to root. Empty: manifest.csv or manifest.parquet."""
    emotions: tuple[str, ...] = ()
    """Emotions in the order of the classes. Empty: the reader's own order (manifest: sorted)."""
    targets: tuple[str, ...] = ()
    """For the task regression: numeric columns of the manifest, such as [valence,arousal]."""
    skip_bad: bool = False
    """Move unusable utterances to a quarantine list in the report instead of stopping at the first."""


def corpus_root(config: SourceConfig) -> Path:
    """The corpus root as a path.

    Raises:
        CorpusError: it is not set, or not a folder.
    """
    if not config.root:
        raise CorpusError(f"corpus '{config.name}' needs its folder: set --corpus.root DIR")
    root = Path(config.root).expanduser()
    if not root.is_dir():
        raise CorpusError(f"corpus.root {root} is not a folder: set --corpus.root to the corpus")
    return root.resolve()


def csv_rows(
    path: Path, check_columns: Callable[[Sequence[str], Path], None], *, delimiter: str = ","
) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row stands (file:line), and its values by column.

    Args:
        path: of a UTF-8 table whose first line names the columns.
        check_columns: refuses names that do not fit.
        delimiter: between columns.

    Raises:
        CorpusError: it is not such a table, or a row has too many or too few fields.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True, delimiter=delimiter)
            names = list(reader.fieldnames or [])
            check_columns(names, path)
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    raise CorpusError(
                        f"{where}: the row does not have {len(names)} fields: quote commas in text"
                    )
                yield where, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{path} is not UTF-8 CSV: {error}") from error


def require_columns(names: Sequence[str], path: Path, required: Sequence[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        CorpusError: the first missing one.
    """
    for name in required:
        if name not in names:
            raise CorpusError(f"{path}: column '{name}' is missing; there are {', '.join(names)}")
