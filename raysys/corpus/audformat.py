"""Reader `audformat`: databases in audEERING's format, which nkululeko uses too (audeering.github.io/audformat).

    DB/db.yaml (schemes, splits, tables) + db.TABLE.csv or .parquet -> rows of the table, or tables, of labels
        a row's speaker -> the misc table, or the labels of the scheme, that say more of speakers (gender, age)
        filewise tables, such as `files` -> further columns of the same files

Tables are read as text and Parquet; the pickles that audformat keeps next to them are never opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from raysys.corpus.columns import COLUMNS
from raysys.corpus.files import SourceConfig, corpus_root
from raysys.corpus.finding import Finding
from raysys.corpus.names import clean_name
from raysys.corpus.table import RawCorpus, Utterance
from raysys.corpus.tables import Problems, as_name, as_number, as_seconds, table_rows
from raysys.errors import CorpusError, nearest
from raysys.storage import Folder

_PARTS = {"train": "train", "dev": "val", "test": "test"}
"""Type of a split -> part."""
_PLACES = ("file", "start", "end")
_FILES = "files"
"""The table that, by convention, says who speaks in a file."""
_AS_THEY_ARE = ("text", "audio", "video", "image")
"""Columns that are no names."""


@dataclass(frozen=True)
class AudformatConfig:
    """Which database, and which of its tables."""

    table: tuple[str, ...] = ()
    """Tables with the labels, such as [emotion], or one a split; empty: the only one that is not `files`."""
    joined: tuple[str, ...] = ()
    """Filewise tables whose columns are added to the same files; empty: `files`, where there is one."""
    audb: str = ""
    """Name of a database that audb fetches, instead of corpus.root; needs raysys[audb]."""
    version: str = ""
    """Version of the database that audb fetches; empty: the latest."""


@dataclass(frozen=True)
class _Database:
    """What its header says."""

    root: Path
    name: str
    schemes: Mapping[str, Mapping[str, Any]]
    splits: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, Mapping[str, Any]]
    misc: Mapping[str, Mapping[str, Any]]
    licence: str = ""
    rows: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)
    """Table -> its rows, as `read` returns them; only tables that have been read."""

    def read(self, table: str) -> list[tuple[str, dict[str, Any]]]:
        """Rows of a table: where each stands, and its cells.

        Raises:
            CorpusError: it is not there, or holds other columns than the header says.
        """
        if table not in self.rows:
            stem = self.root / f"db.{table}"
            there = [p for end in ("parquet", "csv") if (p := Path(f"{stem}.{end}")).is_file()]
            if not there:
                pickled = Path(f"{stem}.pkl").is_file()
                why = "there is only a pickle, which raysys does not open" if pickled else "missing"
                raise CorpusError(
                    f"table '{table}': no {stem.name}.parquet or .csv in {self.root}: {why}: save the database again "
                    "by audformat: db.save(root, storage_format='parquet')"
                )
            problems = Problems()
            found = []
            columns = {**self.misc, **self.tables}[table].get("columns") or {}
            labels = {column: self.labels(table, column) for column in columns}
            for where, cells in table_rows(there[0], _nothing_to_check, problems):
                try:
                    found.append((where, _decoded(cells, labels, where)))
                except CorpusError as problem:
                    problems.add(problem)
            problems.refuse()
            self.rows[table] = found
        return self.rows[table]

    def labels(self, table: str, column: str) -> Any:
        """Labels of a column's scheme: a list, a map, or the name of a misc table; None where it has none.

        Raises:
            CorpusError: the header names a scheme that it does not describe.
        """
        known = {**self.misc, **self.tables}[table].get("columns") or {}
        name = (known.get(column) or {}).get("scheme_id")
        if name and name not in self.schemes:
            raise CorpusError(
                f"{self.root / 'db.yaml'}: column '{column}' of table '{table}' has the scheme '{name}', which is not "
                f"there: {nearest(str(name), self.schemes)}"
            )
        return (self.schemes[name] or {}).get("labels") if name else None


def _decoded(cells: Mapping[str, Any], labels: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Cells with what their schemes say that their codes mean."""
    found = dict(cells)
    for column, scheme in labels.items():
        if column in cells and isinstance(scheme, list | dict):
            known = {str(one): one for one in scheme}
            code = _as_code(cells[column], known)
            if code not in known:
                raise CorpusError(
                    f"{where}: column '{column}' holds '{code}', which its scheme does not know: "
                    f"{nearest(code, known)}"
                )
            told = scheme[known[code]] if isinstance(scheme, dict) else code
            found[column] = told if isinstance(told, str) else code
    return found


def _as_code(value: Any, known: Mapping[str, Any]) -> str:
    """A cell as the scheme writes it: 1.0 where a column of whole numbers has gaps is 1."""
    text = as_name(value)
    whole = text.removesuffix(".0")
    return whole if whole in known else text


def _nothing_to_check(names: Sequence[str], path: Path) -> None:
    """The header says what the columns are."""


def read(config: SourceConfig, settings: AudformatConfig | None, cache: Folder) -> RawCorpus:
    """Read the tables of labels, with what else the database knows of their files and speakers.

    Raises:
        CorpusError: no database; a table or scheme that is not there; a value that its scheme does not know.
    """
    settings = settings or AudformatConfig()
    base = _header(_fetched(settings) if settings.audb else corpus_root(config))
    names = _tables(base, settings)
    columns = {table: _columns(base, table, config) for table in names}
    known = _by_file(base, settings, names, config)
    rows, origin, problems, unlabelled = list[Utterance](), list[str](), Problems(), 0
    for table in names:
        part = _split(base, table)
        for where, cells in base.read(table):
            more = known.get(str(cells.get("file")), {})
            try:
                row = _utterance({**more, **cells}, columns[table], where, config.targets)
            except CorpusError as problem:
                problems.add(problem)
                continue
            if not row.label and not row.values:
                unlabelled += 1
                continue
            rows.append(replace(row, split=row.split or part))
            origin.append(where)
    problems.refuse()
    if not rows:
        raise CorpusError(f"no row of {', '.join(names)} in {base.root} has a label")
    findings = [Finding("note", "licence", f"licence of {base.name}: {base.licence}")]
    if unlabelled:
        message = f"{unlabelled} rows of {', '.join(names)} have no label and are left out"
        findings.append(Finding("note", "unlabelled", message))
    return RawCorpus(
        base.name,
        base.root,
        tuple(sorted({row.label for row in rows} - {""})),
        tuple(rows),
        tuple(origin),
        findings=tuple(findings[0 if base.licence else 1 :]),
    )


def _fetched(settings: AudformatConfig) -> Path:
    try:
        import audb
    except ImportError as error:
        raise CorpusError(
            "corpus.audformat.audb needs the package audb: pip install 'raysys[audb]', or set --corpus.root to a "
            "database's folder"
        ) from error
    try:
        base = audb.load(
            settings.audb, version=settings.version or None, full_path=False, verbose=False
        )
    except Exception as error:  # audb and its backends raise errors of many kinds
        reason = " ".join(str(error).split())[:200]
        raise CorpusError(f"audb cannot load '{settings.audb}': {reason}") from error
    return Path(str(base.root))


def _header(root: Path) -> _Database:
    path = root / "db.yaml"
    if not path.is_file():
        raise CorpusError(f"{root} holds no db.yaml: set --corpus.root to an audformat database")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CorpusError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("tables"), dict):
        raise CorpusError(f"{path} names no tables: save the database again by audformat")
    schemes, splits, misc = (content.get(key) or {} for key in ("schemes", "splits", "misc_tables"))
    licence = str(content.get("license") or "")
    name = str(content.get("name") or root.name)
    return _Database(root, name, schemes, splits, content["tables"], misc, licence)


def _tables(base: _Database, settings: AudformatConfig) -> tuple[str, ...]:
    for name in (*settings.table, *settings.joined):
        if name not in base.tables:
            raise CorpusError(
                f"{base.root / 'db.yaml'} has no table '{name}' (corpus.audformat.table): "
                f"{nearest(name, base.tables)}"
            )
    if settings.table:
        return settings.table
    labelled = [name for name in base.tables if name != _FILES]
    if len(labelled) != 1:
        raise CorpusError(
            f"{base.root / 'db.yaml'} has the tables {', '.join(base.tables)}: set --corpus.audformat.table to those "
            "with the labels"
        )
    return (labelled[0],)


def _columns(base: _Database, table: str, config: SourceConfig) -> dict[str, str]:
    """Our name of a column -> the database's."""
    own = list(base.tables[table].get("columns") or {})
    if not own:
        raise CorpusError(f"{base.root / 'db.yaml'}: table '{table}' has no columns")
    joined = [c for name in base.tables for c in base.tables[name].get("columns") or {}]
    found = dict(config.columns)
    for ours, theirs in found.items():
        if ours not in COLUMNS:
            raise CorpusError(f"corpus.columns: no column '{ours}': {nearest(ours, COLUMNS)}")
        if theirs not in joined:
            raise CorpusError(
                f"table '{table}' of {base.name} has no column '{theirs}' (corpus.columns: {ours}): "
                f"{nearest(theirs, joined)}"
            )
    for target in config.targets:
        if target not in joined:
            raise CorpusError(
                f"table '{table}' of {base.name} has no column '{target}' (corpus.targets): {nearest(target, joined)}"
            )
    for ours, others in (("speaker", ("speaker",)), ("text", ("transcription", "text"))):
        there = [c for c in others if c in joined]
        if there and ours not in found:
            found[ours] = there[0]
    if "label" not in found and not config.targets:
        guess = [c for c in ("emotion", "label") if c in own] or (own if len(own) == 1 else [])
        if not guess:
            raise CorpusError(
                f"table '{table}' of {base.name} has the columns {', '.join(own)}: say which is the emotion, as by "
                f"--corpus.columns '{{label: {own[0]}}}'"
            )
        found["label"] = guess[0]
    return found


def _by_file(
    base: _Database, settings: AudformatConfig, names: Sequence[str], config: SourceConfig
) -> dict[str, dict[str, Any]]:
    """What filewise tables say of a file."""
    joined = settings.joined or tuple(t for t in base.tables if t == _FILES and t not in names)
    found: dict[str, dict[str, Any]] = {}
    for table in joined:
        if base.tables[table].get("type") != "filewise":
            raise CorpusError(
                f"table '{table}' is {base.tables[table].get('type')}: corpus.audformat.joined takes filewise ones"
            )
        for _, cells in base.read(table):
            own = {k: v for k, v in cells.items() if k not in _PLACES}
            found.setdefault(str(cells.get("file")), {}).update(own)
    speakers = {t: _speakers(base, t, config) for t in (*joined, *names)}
    for table, said in speakers.items():
        for _, cells in base.read(table) if said else ():
            who = cells.get(config.columns.get("speaker", "speaker"))
            if who is not None:
                more = said.get(as_name(who), {})
                found.setdefault(str(cells.get("file")), {}).update(more)
    return found


def _speakers(base: _Database, table: str, config: SourceConfig) -> dict[str, dict[str, str]]:
    """What is known of speakers: by the misc table, or the labels, of the scheme of a table's speaker column."""
    labels = base.labels(table, config.columns.get("speaker", "speaker"))
    if isinstance(labels, dict):
        told = {str(who): one for who, one in labels.items() if isinstance(one, dict)}
        return {who: {k: as_name(v) for k, v in one.items()} for who, one in told.items()}
    return _misc(base, labels) if isinstance(labels, str) and labels in base.misc else {}


def _split(base: _Database, table: str) -> str:
    """Part of a table's rows; empty where it has none."""
    name = base.tables[table].get("split_id")
    kind = str((base.splits.get(name) or {}).get("type", "")) if name else ""
    return _PARTS.get(kind, kind)


def _utterance(
    cells: Mapping[str, Any],
    columns: Mapping[str, str],
    where: str,
    targets: tuple[str, ...],
) -> Utterance:
    """One row: columns by our names, the rest as metadata."""
    values: dict[str, Any] = {}
    for ours, theirs in columns.items():
        if theirs in cells:
            value = as_name(cells[theirs])
            values[ours] = clean_name(value) if ours not in _AS_THEY_ARE else value
    if "split" in values:
        values["split"] = _PARTS.get(values["split"], values["split"])
    try:
        start, end = (
            as_seconds(cells[name]) if cells.get(name) is not None else None
            for name in ("start", "end")
        )
        numbers = {one: as_number(cells[one]) for one in targets if one in cells}
    except ValueError as error:
        raise CorpusError(f"{where}: {error}") from error
    file = str(cells.get("file", ""))
    name = PurePosixPath(file).with_suffix("").as_posix()
    if start or end is not None:
        name += f"-{start or 0:g}-{'' if end is None else f'{end:g}'}"
    taken = (*columns.values(), *targets, *_PLACES)
    more = {k: as_name(v) for k, v in cells.items() if k not in taken}
    return Utterance(
        **{"utterance_id": name, "dialogue_id": name, "audio": file, **values},
        start=start or None,
        end=end,
        values=numbers or None,
        metadata=more or None,
    )


def _misc(base: _Database, table: str) -> dict[str, dict[str, str]]:
    """A misc table by its first level."""
    levels = list(base.misc[table].get("levels") or {})
    found: dict[str, dict[str, str]] = {}
    for _, cells in base.read(table):
        own = {k: as_name(v) for k, v in cells.items() if k not in levels}
        found[as_name(cells[levels[0]])] = own
    return found
