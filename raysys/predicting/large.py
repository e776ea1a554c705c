"""Many utterances into a file: portion by portion, here or on Ray's workers, and resumed after an end of any kind.

    rows -> portions -> a table each, next to the file -> the file, when all are there

A portion that is there is not predicted again by the same command. Memory holds one portion a worker.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet

from raysys.config.running import ClusterConfig
from raysys.corpus.table import Utterance
from raysys.predicting.members import Ensemble, load_ensemble
from raysys.predicting.predict import AT_ONCE, divided, predict
from raysys.predicting.table import answer_columns, as_lines, records
from raysys.settings import digest
from raysys.storage import Folder

_SENT = 64
"""Utterances that a worker is given at a time."""
MANY = 2000
"""From so many on, workers are worth their start."""
_OWN = ("text", "speaker", "dialogue_id")
"""Columns of inputs that a table keeps where they hold something, besides those that raysys gives no meaning."""
_TYPES = {"string": pyarrow.string(), "double": pyarrow.float64(), "long": pyarrow.int64()}


@dataclass(frozen=True)
class Source:
    """The run whose models answer: enough for a worker to load it."""

    run: str
    runs: str
    fold: int | None
    threshold: float
    columns: tuple[str, ...] = ()
    """The inputs' own, which the table keeps."""
    encoders: Mapping[str, str] = field(default_factory=dict)
    """See `raysys.training.bundle.with_encoders`."""


def predict_into(
    file: Path,
    ensemble: Ensemble,
    rows: Sequence[Utterance],
    source: Source,
    *,
    workers: int | None,
    told: Callable[[int], None] = lambda count: None,
) -> Iterator[pyarrow.Table]:
    """Predict all rows, write the file, and give its portions in order.

    Args:
        file: .csv, .parquet or .jsonl.
        ensemble: that predicts here.
        rows: audio paths are absolute.
        source: the same ensemble, for workers.
        workers: Ray's; 0: none; None: as many as there is room for, where rows are many.
        told: called with how many further rows are done.

    Raises:
        RaysysError: see `predict`, or Ray cannot be reached.
    """
    many = len(rows) >= MANY if workers is None else workers > 0
    portions = divided(ensemble, rows, _SENT if many else AT_ONCE)
    own = {name for row in rows for name in row.metadata or ()}
    own |= {name for name in _OWN if any(getattr(row, name) for row in rows)}
    source = replace(source, columns=tuple(sorted(own)))
    weights = [[m.fold, m.seed, _weights(m.bundle)] for m in ensemble.members]
    key = digest(weights, source.threshold, [[vars(row) for row in one] for one in portions])
    parts = file.with_name(f".{file.name}.{key[:16]}.parts")
    for left in file.parent.glob(f".{file.name}.*.parts"):
        if left != parts:  # of another command for the same file
            shutil.rmtree(left)
    parts.mkdir(exist_ok=True)
    there = [part_of(parts, place).is_file() for place in range(len(portions))]
    told(sum(len(one) for one, is_done in zip(portions, there, strict=True) if is_done))
    todo = [place for place, is_done in enumerate(there) if not is_done]
    if many and len(todo) > 1:
        from raysys.cluster.mapping import on_workers  # Ray takes a second

        cluster = ClusterConfig(workers=workers or 0)
        done = on_workers(partial(_work, source), [portions[place] for place in todo], cluster)
    else:
        done = ((k, _tabled(ensemble, source, portions[place])) for k, place in enumerate(todo))
    for k, table in done:
        _keep(part_of(parts, todo[k]), table)
        told(len(portions[todo[k]]))
    tables = (pyarrow.parquet.read_table(part_of(parts, k)) for k in range(len(portions)))
    yield from _written(file, tables)
    shutil.rmtree(parts)


def part_of(parts: Path, place: int) -> Path:
    """The file of a portion.

    Args:
        parts: folder of all.
        place: of the portion.
    """
    return parts / f"{place:06d}.parquet"


def _weights(bundle: Any) -> str:
    tensors = bundle.model.state_dict()
    return digest({name: value.double().sum().item() for name, value in tensors.items()})


def _work(source: Source) -> Callable[[Sequence[Utterance]], pyarrow.Table]:
    ensemble = load_ensemble(
        source.run, Folder(source.runs), fold=source.fold, encoders=source.encoders
    )
    return partial(_tabled, ensemble, source)


def _tabled(ensemble: Ensemble, source: Source, rows: Sequence[Utterance]) -> pyarrow.Table:
    """Answers with one type a column, whatever of them is unknown; labels stand last."""
    answers = list(predict(ensemble, rows))
    kinds = {**answer_columns(ensemble.task), "label": "string"}
    own = {name: f"{name} (given)" if name in kinds else name for name in source.columns}
    found = [
        {**_given(answer.row, own), **record, "label": answer.row.label or None}
        for answer, record in zip(
            answers, records(ensemble, answers, threshold=source.threshold), strict=True
        )
    ]
    kinds |= dict.fromkeys(own.values(), "string")
    schema = pyarrow.schema([(name, _TYPES[kind]) for name, kind in kinds.items()])
    return pyarrow.Table.from_pylist(found, schema=schema)


def _given(row: Utterance, own: Mapping[str, str]) -> dict[str, str | None]:
    """What the input said of a row, by the table's names of its columns."""
    return {
        theirs: str(getattr(row, name) if name in _OWN else (row.metadata or {}).get(name) or "")
        or None
        for name, theirs in own.items()
    }


def _keep(part: Path, table: pyarrow.Table) -> None:
    aside = part.with_suffix(".part")
    pyarrow.parquet.write_table(table, aside)
    aside.replace(part)


def _written(file: Path, tables: Iterator[pyarrow.Table]) -> Iterator[pyarrow.Table]:
    """Write tables one after the other, whole or not at all."""
    aside, writer = file.with_name(f".{file.name}.part"), None
    kind = file.suffix.lower()
    with aside.open("wb") as stream:
        for table in tables:
            if kind == ".jsonl":
                stream.write(as_lines(table.to_pylist()).encode())
            else:
                if writer is None:
                    make = (
                        pyarrow.csv.CSVWriter if kind == ".csv" else pyarrow.parquet.ParquetWriter
                    )
                    writer = make(stream, table.schema)
                writer.write_table(table)
            yield table
        if writer is not None:
            writer.close()
    aside.replace(file)
