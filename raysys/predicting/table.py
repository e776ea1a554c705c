"""Answers as tables: one row an utterance, for terminals, files, DataFrames and pictures."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow

from raysys.errors import ConfigError
from raysys.predicting.members import Ensemble
from raysys.predicting.predict import Answer
from raysys.storage import as_json
from raysys.tasks.exhibits import Table
from raysys.tasks.task import Metric, Task, shown

ENDINGS = (".csv", ".parquet", ".jsonl")
NOT_SURE = "not sure"
_SHOWN = 40


def records(
    ensemble: Ensemble, answers: Sequence[Answer], *, threshold: float = 0.0
) -> Iterator[dict[str, Any]]:
    """Columns of each answer: utterance, start, end, what is predicted, agreement, members, note.

    Of a classification: emotion (`not sure` where no probability reaches the threshold), confidence and p_EMOTION; of
    others a column an output. What is not known is None.

    Args:
        ensemble: whose answers they are.
        answers: of `predict`.
        threshold: least confidence of an emotion.
    """
    names, classes = ensemble.task.outputs, ensemble.task.name == "classification"
    for one in answers:
        found: dict[str, Any] = {"utterance": one.row.utterance_id}
        if one.row.start is not None or one.row.end is not None:
            found |= {"start": one.row.start, "end": one.row.end}
        said = None if one.outputs is None else one.outputs.astype(float).tolist()
        values = said or [None] * len(names)
        if classes:
            sure = None if said is None else max(said)
            place = None if said is None else int(np.argmax(said))
            emotion = None if place is None else names[place]
            if sure is not None and sure < threshold:
                emotion = NOT_SURE
            found |= {"emotion": emotion, "confidence": sure}
            found |= {f"p_{name}": value for name, value in zip(names, values, strict=True)}
            found["agreement"] = None if math.isnan(one.agreement) else one.agreement
        else:
            found |= dict(zip(names, values, strict=True))
        yield {**found, "members": one.members, "note": one.note}


def as_arrow(rows: Sequence[Mapping[str, Any]]) -> pyarrow.Table:
    """Records as a table; each column there is in any of them."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pyarrow.table({name: [row.get(name) for row in rows] for name in names})


def check_out(file: str) -> None:
    """Refuse a file of another kind than can be written, one that is there, or in a folder that is not.

    Raises:
        ConfigError: see the message.
    """
    path = Path(file).expanduser()
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"--out is {file}, but must end with {', '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise ConfigError(f"--out {file}: there is no folder {path.parent}")
    if path.exists():
        raise ConfigError(f"--out {file} is there already: remove it, or give another name")


def as_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """Records as JSON Lines."""
    return "".join(f"{' '.join(as_json(dict(row)).split())}\n" for row in rows)


def answers_table(ensemble: Ensemble, rows: Sequence[Mapping[str, Any]]) -> Table:
    """The first records, for a terminal."""
    classes = ensemble.task.name == "classification"
    outputs = ensemble.task.outputs
    heads: tuple[str, ...]
    cells: list[tuple[str, ...]]
    if classes:
        heads = ("utterance", "emotion", "confidence %", "agreement %", "second")
        cells = [_class_cells(outputs, row) for row in rows[:_SHOWN]]
    else:
        heads = ("utterance", *outputs)
        cells = [
            (row["utterance"], *("-" if row[o] is None else f"{row[o]:.3f}" for o in outputs))
            for row in rows[:_SHOWN]
        ]
    more = f"{len(rows) - _SHOWN} more: --out FILE has all. " if len(rows) > _SHOWN else ""
    notes = dict.fromkeys(row["note"] for row in rows if row["note"] and row["members"])
    few = list(notes)[:3]
    told = "; ".join(few) + (f"; {len(notes) - 3} other notes" if len(notes) > 3 else "")
    count = len(ensemble.members)
    spoke = sorted({row["members"] for row in rows if row["members"]})
    which = f"{spoke[0]} to {spoke[-1]}" if len(spoke) > 1 else str((spoke or [count])[0])
    title = f"{ensemble.name}: mean of {which} of {count} trained folds"
    if count == 1:
        title = ensemble.name
    return Table(title, heads, cells, strong=("emotion",), note=f"{more}{told}".strip())


def _class_cells(outputs: Sequence[str], row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["confidence"] is None:
        return (row["utterance"], "-", "-", "-", "-")
    ranked = sorted(outputs, key=lambda name: -row[f"p_{name}"])
    second = ranked[1]
    return (
        row["utterance"],
        row["emotion"],
        f"{100 * row['confidence']:.1f}",
        f"{100 * row['agreement']:.0f}",
        f"{second} {100 * row[f'p_{second}']:.1f}",
    )


def scores_line(ensemble: Ensemble, labelled: Sequence[Mapping[str, Any]]) -> str:
    """Scores of the rows that have a label among the outputs; empty where none has.

    Args:
        ensemble: whose answers they are.
        labelled: records, with `label`.
    """
    task = ensemble.task
    if task.name != "classification":
        return ""
    places = {name: k for k, name in enumerate(task.outputs)}
    known = [row for row in labelled if row["members"] and row["label"] in places]
    if not known:
        return ""
    columns = [[row[f"p_{name}"] for name in task.outputs] for row in known]
    outputs = np.array(columns, dtype=np.float32)
    truth = np.array([places[row["label"]] for row in known])
    scores = task.score(outputs, truth)
    metrics: list[Metric] = shown(task.metrics)
    told = ", ".join(f"{metric.title} {metric.show(scores[metric.name])}" for metric in metrics)
    inside = sum(row["note"].startswith("in the training corpus: every") for row in known)
    warned = f"; {inside} of them in every member's training: not to be believed" if inside else ""
    others = {row["label"] for row in labelled if row["label"]} - set(places)
    unknown = f"; other labels ({', '.join(sorted(others)[:3])}) are left out" if others else ""
    return f"scores       {told} % over {len(known)} labelled rows{warned}{unknown}"


def answer_columns(task: Task) -> Mapping[str, str]:
    """Columns of `records`, with MLflow's types.

    Args:
        task: what is predicted.
    """
    found = {"utterance": "string", "start": "double", "end": "double"}
    if task.name == "classification":
        found |= {"emotion": "string", "confidence": "double"}
        found |= {f"p_{name}": "double" for name in task.outputs}
        found["agreement"] = "double"
    else:
        found |= dict.fromkeys(task.outputs, "double")
    return {**found, "members": "long", "note": "string"}
