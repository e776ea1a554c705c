"""Reader `ratings`: words or texts that people have rated in one or several formats, a table a format.

    corpus.ratings.tables: {vad: {file: words.csv, item: word}, plutchik8: {file: nrc.json}}
        -> an item a row: its text, and its ratings in every format that has them, brought to 0..1

Items of the same name in several tables are one. Tables are CSV, TSV, or JSON that maps an item to the variables that
are there. A format of one's own is named under `corpus.ratings.formats`.
"""

import importlib.util
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from raysys.corpus.files import SourceConfig, corpus_root
from raysys.corpus.finding import Finding
from raysys.corpus.formats import EQUIVALENT, FORMATS, PERSPECTIVE, Format, Kind, equivalents
from raysys.corpus.names import clean_name
from raysys.corpus.table import RawCorpus, Utterance
from raysys.corpus.tables import Problems, csv_rows, require_columns
from raysys.errors import ConfigError, CorpusError, lookup, nearest
from raysys.settings import require
from raysys.storage import Folder

_PACKAGE = "package:"
_NARROW = 0.6
"""Share of its scale that a format's ratings fill at least, where they are many."""
_FEW = 20


@dataclass(frozen=True)
class RatingsTable:
    """Ratings in one format."""

    file: str = ""
    """CSV, TSV, or JSON {item: [variables that are there]}; relative to corpus.root, or package:NAME/PATH for a file of
    an installed Python package."""
    item: str = "item"
    """Column that names the item."""
    text: str = ""
    """Column with the item's text. Empty: its name is the text."""
    image: str = ""
    """Column with the item's picture, a path under corpus.root. Empty: none."""
    split: str = ""
    """Column with the official part (train, val or test; dev counts as val). Empty: none."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Variable -> its column, where they differ; of a categorical format {label: column}."""
    low: float | None = None
    """Smallest rating. None: the format's own."""
    high: float | None = None
    """Largest rating. None: the format's own."""
    ignored: tuple[str, ...] = ()
    """JSON: names that are left out, since they are no variables of the format."""
    generated: bool = False
    """The ratings are a model's: learnt from, never tested on."""


@dataclass(frozen=True)
class OwnFormat:
    """A format that raysys does not know."""

    variables: tuple[str, ...] = ()
    """Names of its variables, or of its classes."""
    kind: Kind = "numeric"
    """numeric (a rating of each), binary (each is there or not) or categorical (one of them is)."""
    low: float = 0.0
    """Smallest rating of a numeric format."""
    high: float = 1.0
    """Largest."""


@dataclass(frozen=True)
class RatingsConfig:
    """Tables of ratings; for the reader `ratings`."""

    tables: Mapping[str, RatingsTable] = field(default_factory=dict)
    """Format (va, vad, be5, be6, izard, plutchik8, fer7, affectnet8, or one of `formats`), or FORMAT@PERSPECTIVE as in
    vad@reader and vad@writer -> {file[, item, text, image, split, columns, low, high, ignored, generated]}."""
    formats: Mapping[str, OwnFormat] = field(default_factory=dict)
    """Formats of your own: name -> {variables[, kind, low, high]}."""
    equivalent: tuple[tuple[str, ...], ...] = ()
    """Names of variables of different formats that mean the same, besides those of one name and the usual ones (joy and
    happiness, ...): [[hopefulness, optimism], ...]."""

    def __post_init__(self) -> None:
        for name, own in self.formats.items():
            where = f"corpus.ratings.formats: {name}"
            names = own.variables
            rule = "the names of two or more variables, each once"
            require(len(names) == len(set(names)) >= 2, f"{where}: variables", names, rule)
            require(own.low < own.high, f"{where}: low", own.low, f"below high ({own.high:g})")
            rule = f"a name without '{PERSPECTIVE}': perspectives are named with tables"
            require(PERSPECTIVE not in name, where, name, rule)
            taken = (*FORMATS, "audio", "text", "video", "image")
            rule = "another name than a known format's, audio, text, video and image"
            require(name not in taken, where, name, rule)
        for name, table in self.tables.items():
            require(bool(table.file), f"corpus.ratings.tables: {name}: file", "", "a file")
            known = self.format_of(name)
            fits = known.low < known.high
            rule = f"below high ({known.high:g})"
            require(fits, f"corpus.ratings.tables: {name}: low", known.low, rule)

    def format_of(self, name: str) -> Format:
        """A table's format, with the range of its ratings.

        Raises:
            ConfigError: there is none of that name.
        """
        own = {
            key: Format(key, one.variables, one.kind, one.low, one.high)
            for key, one in self.formats.items()
        }
        base, mark, perspective = name.partition(PERSPECTIVE)
        known = replace(lookup({**FORMATS, **own}, base, kind="label format"), name=name)
        if mark and not perspective.isidentifier():
            raise ConfigError(
                f"corpus.ratings.tables: '{name}' has no name of a perspective after '{PERSPECTIVE}' (letters, digits "
                f"and _): write {base}@reader, or {base}"
            )
        table = self.tables[name]
        low = known.low if table.low is None else table.low
        high = known.high if table.high is None else table.high
        return replace(known, low=float(low), high=float(high), generated=table.generated)


@dataclass
class _Item:
    """What the tables say of one item."""

    where: str
    text: str
    image: str
    split: str
    values: dict[str, float] = field(default_factory=dict)


def read(config: SourceConfig, settings: RatingsConfig, cache: Folder) -> RawCorpus:
    """Read every table.

    Raises:
        ConfigError: no tables, an unknown format, or an equivalence class with an unknown variable.
        CorpusError: a file or column is missing, or a rating is none.
    """
    if not settings.tables:
        raise ConfigError(
            "corpus.ratings.tables is empty: name a table of ratings for each format, as in configs/labels/words.yaml"
        )
    root = corpus_root(config)
    formats = tuple(settings.format_of(name) for name in settings.tables)
    equivalents(formats, settings.equivalent)
    items: dict[str, _Item] = {}
    targets = tuple(f"{one.name}.{name}" for one in formats for name in one.variables)
    for known in formats:
        _read_table(settings.tables[known.name], known, root, items)
    findings = [finding for known in formats if (finding := _narrow(known, list(items.values())))]
    return RawCorpus(
        config.name,
        root,
        emotions=(),
        utterances=tuple(
            Utterance(
                name,
                text=one.text,
                image=one.image,
                dialogue_id=name,
                split=one.split,
                values={target: one.values.get(target, math.nan) for target in targets},
            )
            for name, one in items.items()
        ),
        origin=tuple(one.where for one in items.values()),
        targets=targets,
        formats=formats,
        equivalent=(*EQUIVALENT, *settings.equivalent),
        findings=tuple(findings),
    )


def _narrow(known: Format, items: Sequence[_Item]) -> Finding | None:
    """A finding where ratings fill only a part of their scale, as those in 1 to 5 do when they are read as 1 to 9."""
    names = [f"{known.name}.{variable}" for variable in known.variables]
    values = [one.values[name] for one in items for name in names if name in one.values]
    if known.kind != "numeric" or len(values) < _FEW:
        return None
    low, high = min(values), max(values)
    if high - low >= _NARROW:
        return None
    width = known.high - known.low
    message = (
        f"ratings in {known.name} lie in {known.low + low * width:g} to {known.low + high * width:g}, but its scale is "
        f"{known.low:g} to {known.high:g}: if theirs is another, set the table's low and high"
    )
    return Finding("warning", "narrow_ratings", message)


def _read_table(table: RatingsTable, known: Format, root: Path, items: dict[str, _Item]) -> None:
    path = _path(table.file, root)
    rows = _json_rows if path.suffix == ".json" else _csv_rows
    seen: set[str] = set()
    problems = Problems()
    for name, found in rows(path, table, known, problems):
        before = items.setdefault(name, found)
        if name in seen and any(before.values[key] != value for key, value in found.values.items()):
            raise CorpusError(
                f"{found.where}: '{name}' is rated twice in {known.name}, and not alike (first at {before.where}): "
                "keep one of the rows, or their mean"
            )
        if before.text != found.text and name not in (before.text, found.text):
            raise CorpusError(
                f"{found.where}: '{name}' has another text than at {before.where}: give the two different names"
            )
        if before.image and found.image and before.image != found.image:
            raise CorpusError(
                f"{found.where}: '{name}' has another picture than at {before.where}: give the two different names"
            )
        if before.text == name:  # a table without texts came first
            before.text = found.text
        before.image = before.image or found.image
        seen.add(name)
        before.split = before.split or found.split
        before.values |= found.values
    problems.refuse()
    if not seen:
        raise CorpusError(f"{path} holds no rows")


def _path(file: str, root: Path) -> Path:
    """Path of a table; `package:NAME/PATH` is inside an installed package."""
    if file.startswith(_PACKAGE):
        package, _, inner = file.removeprefix(_PACKAGE).partition("/")
        try:
            spec = importlib.util.find_spec(package)
        except ImportError:  # of a package above it
            spec = None
        folders = list(spec.submodule_search_locations or ()) if spec else []
        if not folders:
            raise CorpusError(f"{file}: the package {package} is not there: pip install {package}")
        path = Path(folders[0]) / inner
    else:
        path = root / file
    if not path.is_file():
        raise CorpusError(f"corpus.ratings.tables: {path} is not a file: give a path under {root}")
    return path


def _csv_rows(
    path: Path, table: RatingsTable, known: Format, problems: Problems
) -> Iterator[tuple[str, _Item]]:
    if table.ignored:
        raise ConfigError(
            f"corpus.ratings.tables: {known.name}: ignored is for JSON tables; of CSV tables other columns are left "
            "out"
        )
    if len(set(table.columns.values())) < len(table.columns):
        raise ConfigError(
            f"corpus.ratings.tables: {known.name}: columns reads two variables from one column: {dict(table.columns)}"
        )
    named = ("label",) if known.kind == "categorical" else known.variables
    for variable in table.columns:
        if variable not in named:
            raise ConfigError(
                f"corpus.ratings.tables: {known.name}: columns: no variable '{variable}': {nearest(variable, named)}"
            )
    columns = {name: table.columns.get(name, name) for name in named}
    extra = [column for column in (table.text, table.image, table.split) if column]

    def check(names: Sequence[str], _: Path) -> None:
        require_columns(names, path, (table.item, *columns.values(), *extra))

    for where, row in csv_rows(path, check, problems):
        name = clean_name(row[table.item])
        text = row[table.text] if table.text else name
        image = row[table.image].strip() if table.image else ""
        split = row[table.split].replace("dev", "val") if table.split else ""
        cells = {variable: row[column] for variable, column in columns.items()}
        try:
            if known.kind == "categorical":
                values = _chosen([cells["label"]], known, where, "or leave the row out")
            else:
                values = {v: _rating(cell, v, known, where) for v, cell in cells.items()}
        except CorpusError as problem:
            problems.add(problem)
            continue
        yield name, _item(where, text, image, split, values, known)


def _json_rows(
    path: Path, table: RatingsTable, known: Format, problems: Problems
) -> Iterator[tuple[str, _Item]]:
    try:
        text = path.read_text(encoding="utf-8")
        content: Any = json.loads(text, object_pairs_hook=partial(_once, path))
    except ValueError as error:
        raise CorpusError(f"{path} is not JSON: {error}") from error
    if known.kind == "numeric" or not isinstance(content, dict):
        raise CorpusError(
            f"{path} must map each item to the variables that are there, of a binary or categorical format; "
            f"{known.name} is {known.kind}: give a CSV table otherwise"
        )
    for said, there in content.items():
        name = clean_name(said)
        where = f"{path}: '{name}'"
        if not isinstance(there, list):
            problems.add(f"{where} must be a list of variables, not {there!r}")
            continue
        names = [str(one) for one in there if one not in table.ignored]
        try:
            values = _chosen(names, known, where, "or list it under 'ignored' of the table")
        except CorpusError as problem:
            problems.add(problem)
            continue
        yield name, _item(where, name, "", "", values, known)


def _once(path: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping whose keys come once, or with the same value again."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            raise CorpusError(
                f"{path}: '{name}' is rated twice, and not alike: keep one of the two"
            )
    return found


def _item(
    where: str, text: str, image: str, split: str, values: Mapping[str, float], known: Format
) -> _Item:
    ratings = {f"{known.name}.{name}": value for name, value in values.items()}
    return _Item(where, text, image, split, ratings)


def _chosen(names: Sequence[str], known: Format, where: str, other: str) -> dict[str, float]:
    """1 for the variables that are there."""
    for name in names:
        if name not in known.variables:
            raise CorpusError(
                f"{where}: '{name}' is none of {known.name} ({nearest(name, known.variables)}): fix it, {other}"
            )
    if known.kind == "categorical" and len(names) != 1:
        raise CorpusError(f"{where}: {known.name} is categorical: give one class, not {names}")
    return {name: float(name in names) for name in known.variables}


def _rating(cell: str, variable: str, known: Format, where: str) -> float:
    """A rating as 0..1."""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    allowed = value in (0, 1) if known.kind == "binary" else known.low <= value <= known.high
    if not allowed:
        rule, other = f"a number in {known.low:g} to {known.high:g}", "set the table's low and high"
        if known.kind == "binary":
            rule, other = "0 or 1", "make the format numeric"
        if not math.isfinite(value):
            other = "write a point for a decimal comma" if "," in cell else "leave the row out"
        raise CorpusError(
            f"{where}: {variable} is '{cell}', but {known.name} takes {rule}: fix it, or {other}"
        )
    return known.scaled(value) if known.kind == "numeric" else value
