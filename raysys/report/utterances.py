"""What a run says of every test utterance, as a table: which were wrong is a filter, not a join.

utterance, speaker, session, dialogue, text, fold, seed, metadata.*  +  what the task says (truth, predicted, ...)
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from raysys.corpus.folds import Fold, FoldKey
from raysys.corpus.table import Corpus
from raysys.predictions import Predictions
from raysys.tasks.exhibits import File
from raysys.tasks.task import Task

PARQUET, SHOWN = "predictions.parquet", "predictions.json"
"""The table, and its first rows as MLflow shows tables."""
_MOST_SHOWN = 10_000


def predictions_table(
    task: Task, corpus: Corpus, folds: Sequence[Fold], opened: Mapping[FoldKey, Predictions]
) -> pyarrow.Table:
    """A row for every test utterance and seed.

    Args:
        task: what was predicted.
        corpus: its utterances.
        folds: whose test parts they are.
        opened: (seed, fold) -> test predictions, in the order of the fold's test part.
    """
    tests = {fold.index: fold.test for fold in folds}
    metadata = sorted({name for row in corpus.utterances for name in row.metadata or ()})
    pieces = []
    for (seed, fold), predictions in sorted(opened.items()):
        rows = [corpus.utterances[k] for k in tests[fold]]
        known: dict[str, Any] = {
            "utterance": [row.utterance_id for row in rows],
            "speaker": [row.speaker for row in rows],
            "session": [row.session for row in rows],
            "dialogue": [row.dialogue_id for row in rows],
            "text": [row.text for row in rows],
            "fold": np.full(len(rows), fold),
            "seed": np.full(len(rows), seed),
            **task.columns(predictions.outputs, predictions.truth),
            **{
                # Of one type also where a fold has none.
                f"metadata.{name}": pyarrow.array(
                    [(row.metadata or {}).get(name) for row in rows], pyarrow.string()
                )
                for name in metadata
            },
        }
        pieces.append(pyarrow.table(known))
    table = pyarrow.concat_tables(pieces)
    empty = [
        name
        for name in ("speaker", "session", "dialogue", "text")
        if not any(table.column(name).to_pylist())
    ]
    return table.drop_columns(empty)


def predictions_files(table: pyarrow.Table) -> list[File]:
    """The table as Parquet, and its first rows as MLflow's table."""
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream)
    first = table.slice(0, _MOST_SHOWN)
    columns = [column.to_pylist() for column in first.columns]
    data = [list(row) for row in zip(*columns, strict=True)]
    return [
        File(PARQUET, stream.getvalue()),
        File(SHOWN, {"columns": first.column_names, "data": data}),
    ]
