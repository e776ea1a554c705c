"""Tables of utterances: what their columns mean.

Columns: utterance_id, label, and as the corpus has them text, audio (path under the root), video (path of a film,
or of a .npy with features), speaker, session, dialogue_id, turn, start, end (seconds), votes (JSON object or Parquet
map: emotion -> annotators, or their share), split. A row without dialogue_id is a dialogue of its own. The columns in
`corpus.targets` hold numbers; with them, a label is not needed. `corpus.columns` says what the table calls a column.
All others are metadata: they are kept and listed.
"""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from raysys.corpus.finding import Finding
from raysys.corpus.names import clean_name
from raysys.corpus.table import RawCorpus, Utterance
from raysys.corpus.tables import (
    Problems,
    as_name,
    as_number,
    as_seconds,
    as_turn,
    renamed,
    require_columns,
    table_rows,
)
from raysys.errors import CorpusError, nearest

COLUMNS = tuple(item.name for item in fields(Utterance) if item.name not in ("values", "metadata"))
"""Columns that a manifest may have, besides targets and metadata."""
_NAMES = ("utterance_id", "label", "speaker", "session", "dialogue_id", "split")
_SHOWN = 80
"""Characters of a cell that a message shows."""
_TYPO = 0.8
"""How like a column that is not there an unknown one must be, to be taken for it misspelt."""


def read_manifest(
    path: Path,
    *,
    root: Path,
    name: str,
    targets: tuple[str, ...] = (),
    columns: Mapping[str, str] | None = None,
    needed: tuple[str, ...] | None = None,
) -> RawCorpus:
    """Read one table; audio paths are relative to `root`, emotions sorted by name, targets are numbers.

    Args:
        path: of the table.
        root: of the corpus.
        name: of the corpus.
        targets: columns with numbers that are predicted.
        columns: our name -> the table's.
        needed: columns that must be there; None: utterance_id, and label where no targets are.

    Raises:
        CorpusError: no table, a missing or misspelt column, values of the wrong type.
    """
    if needed is None:
        needed = ("utterance_id", *(() if targets else ("label",)))
    layout, problems = _Layout(targets, columns or {}, needed), Problems()
    utterances, origin = [], []
    for where, cells in table_rows(path, layout.take, problems):
        try:
            utterances.append(_utterance(layout.ours(cells), where, targets))
            origin.append(where)
        except CorpusError as problem:
            problems.add(problem)
    problems.refuse()
    if not utterances:
        raise CorpusError(f"{path} holds no rows: give it a row an utterance")
    emotions = tuple(sorted({row.label for row in utterances} - {""}))
    findings = layout.findings()
    if emotions and all(_is_number(emotion) for emotion in emotions):
        message = (
            f"labels are numbers ({', '.join(emotions[:5])}), taken for names of classes: for ratings set --task "
            "regression --corpus.targets"
        )
        findings.append(Finding("warning", "numbers_as_labels", message))
    return RawCorpus(
        name, root, emotions, tuple(utterances), tuple(origin), findings=tuple(findings)
    )


@dataclass
class _Layout:
    """What the columns of a table are."""

    targets: tuple[str, ...]
    columns: Mapping[str, str]
    """Our name -> the table's."""
    needed: tuple[str, ...]
    metadata: list[str] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)
    """The table's name -> ours."""

    def take(self, names: Sequence[str], path: Path) -> None:
        """Check the table's columns.

        Raises:
            CorpusError: one is missing or misspelt.
        """
        for own in self.columns:
            if own not in (*COLUMNS, *self.targets):
                raise CorpusError(f"corpus.columns: no column '{own}': {nearest(own, COLUMNS)}")
        ours = renamed(names, self.columns, path)
        self._names = dict(zip(names, ours, strict=True))
        known = (*COLUMNS, *self.targets)
        for target in self.targets:
            if target in COLUMNS:
                raise CorpusError(
                    f"corpus.targets: '{target}' has a meaning of its own: rename the column"
                )
            if target not in ours:
                raise CorpusError(
                    f"{path}: no column '{target}' (corpus.targets): {nearest(target, ours)}"
                )
        self.metadata = [name for name in ours if name not in known]
        for name in self.metadata:
            absent = [one for one in known if one not in ours]
            meant = difflib.get_close_matches(name.lower(), absent, n=1, cutoff=_TYPO)
            if meant:
                raise CorpusError(
                    f"{path}: unknown column '{name}', and no column '{meant[0]}': did you mean '{meant[0]}'? Rename "
                    f"it, or set --corpus.columns '{{{meant[0]}: {name}}}'"
                )
        try:
            require_columns(ours, path, self.needed)
        except CorpusError as error:
            remedy = "rename one, or say which it is, as by --corpus.columns '{label: emotion}'"
            raise CorpusError(f"{error}: {remedy}") from error

    def ours(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        """Cells by our names; metadata under `metadata`."""
        row = {self._names[name]: value for name, value in cells.items()}
        rest = {name: str(row.pop(name)) for name in self.metadata if name in row}
        return {**row, "metadata": rest} if rest else row

    def findings(self) -> list[Finding]:
        """A finding where columns are kept as metadata."""
        if not self.metadata:
            return []
        message = f"columns kept as metadata: {', '.join(self.metadata)}"
        return [Finding("note", "metadata", message)]


def _utterance(cells: Mapping[str, Any], where: str, targets: tuple[str, ...]) -> Utterance:
    parsers: dict[str, Callable[[Any], Any]] = {
        **{name: lambda value: clean_name(as_name(value)) for name in _NAMES},
        "audio": lambda value: as_name(value).strip(),
        "video": lambda value: as_name(value).strip(),
        "image": lambda value: as_name(value).strip(),
        "turn": as_turn,
        "start": as_seconds,
        "end": as_seconds,
        "votes": _votes,
        "metadata": dict,
        **dict.fromkeys(targets, as_number),
    }
    parsed: dict[str, Any] = {}
    for name, value in cells.items():
        try:
            parsed[name] = parsers.get(name, as_name)(value)
        except (TypeError, ValueError) as error:
            told = repr(value)
            told = f"{told[:_SHOWN]}..." if len(told) > _SHOWN else told
            raise CorpusError(f"{where}: column '{name}' holds {told}: {error}") from error
    parsed.setdefault("utterance_id", "")
    parsed.setdefault("dialogue_id", parsed["utterance_id"])
    numbers = {name: parsed.pop(name) for name in targets if name in parsed}
    return Utterance(**parsed, values=numbers or None)


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _votes(value: Any) -> dict[str, int | float]:
    """Emotion -> annotators, or their share; those without any are left out."""
    if isinstance(value, str):
        try:
            value = json.loads(value, object_pairs_hook=_Pairs)
        except json.JSONDecodeError as error:
            raise ValueError(f'not JSON ({error}): write votes as {{"joy": 2}}') from error
        if not isinstance(value, _Pairs):
            raise ValueError('votes are a map, as in {"joy": 2}')
    pairs = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise ValueError('votes are a map, as in {"joy": 2}')
    counts: dict[str, int | float] = {}
    for emotion, count in pairs:
        name = clean_name(as_name(emotion))
        if name in counts:
            raise ValueError(f"'{name}' comes twice")
        counts[name] = _count(name, count)
    given = {name: count for name, count in counts.items() if count}
    if not given:
        raise ValueError("votes must name at least one emotion with one vote")
    return given


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with every one of its keys, also those that come twice."""


def _count(name: str, count: object) -> int | float:
    try:
        number = as_number(count)
    except ValueError as error:
        raise ValueError(f"the votes for '{name}' are {count}: {error}") from error
    if number < 0:
        raise ValueError(
            f"{count} votes for '{name}', but votes count annotators, or are their share"
        )
    return int(number) if number.is_integer() else number
