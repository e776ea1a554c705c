"""What a task wants to be seen, as plain data: tables, pictures and files.

Tasks say what; `raysys.report` draws it for a terminal or as a picture, `raysys.tracking` logs it under its path.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
class Picture:
    """Something to be drawn, and where its file goes."""

    path: str
    title: str


@dataclass(frozen=True)
class HeatMap(Picture):
    """A matrix over names, with an interval in each cell."""

    names: Sequence[str]
    values: Float[np.ndarray, "name name"]
    low: Float[np.ndarray, "name name"]
    high: Float[np.ndarray, "name name"]


@dataclass(frozen=True)
class Tree(Picture):
    """Which names belong together: average linkage on 1 - similarity."""

    names: Sequence[str]
    similarity: Float[np.ndarray, "name name"]


@dataclass(frozen=True)
class Confusions(Picture):
    """How often a row's name meets a column's: utterances by true and predicted name."""

    names: Sequence[str]
    counts: Int[np.ndarray, "name name"]
    row: str = "true"
    """What rows are."""
    column: str = "predicted"


@dataclass(frozen=True)
class Reliability(Picture):
    """Accuracy over confidence, and how many utterances have which: (low, high, utterances, confidence, accuracy)."""

    bins: Sequence[tuple[float, float, int, float, float]]
    ece: str
    """For people."""


@dataclass(frozen=True)
class ConfusionRow(Picture):
    """Confusions over the same names side by side: heading -> counts."""

    names: Sequence[str]
    counts: Mapping[str, Int[np.ndarray, "name name"]]


@dataclass(frozen=True)
class Curve(Picture):
    """Lines over a setting: name -> (its value, score, ends of its interval, equal to the score where it has none)."""

    setting: str
    score: str
    lines: Mapping[str, Sequence[tuple[float, float, float, float]]]


@dataclass(frozen=True)
class Attention(Picture):
    """How much the places of two modalities look at each other."""

    rows: Sequence[str]
    """Names of the places of one modality, such as tokens."""
    across: str
    """The other modality."""
    seconds: float | None
    """Its length, where it is known."""
    panels: Mapping[str, Float[np.ndarray, "row place"]]
    """Who looks at whom -> share of the attention."""


@dataclass(frozen=True)
class Bars(Picture):
    """Groups of horizontal bars side by side: heading -> name -> (value, utterances)."""

    groups: Mapping[str, Mapping[str, tuple[float, int]]]
    scale: Literal["percent", "correlation"]
    """What the values are: 0 to 100, or -1 to 1."""


@dataclass(frozen=True)
class PairCounts(Picture):
    """Utterances by major and minor name, before and after balancing, clear ones on the diagonal."""

    names: Sequence[str]
    before: Float[np.ndarray, "name name"]
    after: Float[np.ndarray, "name name"]


@dataclass(frozen=True)
class Scatter(Picture):
    """Predicted against true values: heading -> (true, predicted)."""

    groups: Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Points(Picture):
    """Names in a plane: group -> name -> its place."""

    groups: Mapping[str, Mapping[str, tuple[float, float]]]


@dataclass(frozen=True)
class File:
    """JSON-able content, or bytes as they are."""

    path: str
    content: Any


Exhibit = Picture | File


def npy(path: str, array: np.ndarray) -> File:
    """An array as a file in NumPy's format."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return File(path, buffer.getvalue())
