"""What a task wants to be seen, as plain data: tables, pictures and files.

Tasks say what; `raysys.report` draws it for a terminal or as a picture, `raysys.tracking` logs it under its path.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Table:
    """Rows of text under heads; the first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: Sequence[str] = ()
    """Columns that matter most."""
    faint: Sequence[str] = ()
    """Columns that matter least."""
    note: str = ""


@dataclass(frozen=True)
class HeatMap:
    """A matrix over names, with an interval in each cell."""

    path: str
    title: str
    names: Sequence[str]
    values: Float[np.ndarray, "name name"]
    low: Float[np.ndarray, "name name"]
    high: Float[np.ndarray, "name name"]


@dataclass(frozen=True)
class Tree:
    """Which names belong together: average linkage on 1 - similarity."""

    path: str
    title: str
    names: Sequence[str]
    similarity: Float[np.ndarray, "name name"]


@dataclass(frozen=True)
class Confusions:
    """Utterances by true (row) and predicted (column) name."""

    path: str
    title: str
    names: Sequence[str]
    counts: Int[np.ndarray, "name name"]


@dataclass(frozen=True)
class Bars:
    """Groups of horizontal bars side by side: heading -> name -> (value in per cent or as it is, utterances)."""

    path: str
    title: str
    groups: Mapping[str, Mapping[str, tuple[float, int]]]


@dataclass(frozen=True)
class PairCounts:
    """Utterances by major and minor name, before and after balancing, clear ones on the diagonal."""

    path: str
    title: str
    names: Sequence[str]
    before: Float[np.ndarray, "name name"]
    after: Float[np.ndarray, "name name"]


@dataclass(frozen=True)
class Scatter:
    """Predicted against true values: heading -> (true, predicted)."""

    path: str
    title: str
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


@dataclass(frozen=True)
class File:
    """JSON-able content, or bytes as they are."""

    path: str
    content: Any


Picture = HeatMap | Tree | Confusions | Bars | PairCounts | Scatter
Exhibit = Picture | File


def npy(path: str, array: np.ndarray) -> File:
    """An array as a file in NumPy's format."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return File(path, buffer.getvalue())
