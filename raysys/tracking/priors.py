"""The similarity matrix of an earlier run, as the prior of the next one's emotion-aware loss.

An averaged matrix rests on test parts. Fed back on the same corpus, it would carry a fold's test labels into its
training. So each fold then takes the average over the folds that tested none of its test utterances (in the same folds:
the others), and the audit says so.
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.artifacts import download_artifacts

from raysys.config import Config
from raysys.corpus.finding import Finding
from raysys.errors import TrackingError
from raysys.similarity.prior import (
    Origin,
    preset_similarity,
    read_similarity,
    similarity_from_record,
)
from raysys.similarity.psychology import vad_similarity
from raysys.storage import Folder, split_place
from raysys.tracking.client import connect

_PREFIX = "mlflow:"
_WRITTEN = {"preset": preset_similarity, "vad": vad_similarity}
"""Sources that nobody has to measure."""


@dataclass(frozen=True)
class Prior:
    """What objectives know beforehand, and what the audit says of it."""

    values: Sequence[Any]
    """Fold by fold, as plain types: S of the emotion-aware term, or where an emotion space is."""
    finding: Finding | None = None


def resolve_prior(
    config: Config, emotions: tuple[str, ...], origin: Origin, *, runs: Folder
) -> Prior | None:
    """S of the emotion-aware term for every fold, or None when the term is off.

    Args:
        config: `loss.omega` and `loss.similarity`.
        emotions: the classes, in order.
        origin: corpus and test utterances of the run that is going to use it.
        runs: folder of all runs, for an SQLite MLflow.

    Raises:
        ConfigError: an unknown emotion, a missing file, or something that is no similarity matrix.
        TrackingError: MLflow does not answer, or has no such run or matrix.
    """
    if not config.loss.omega:
        return None
    source = config.loss.similarity
    if source in _WRITTEN:
        return Prior([_WRITTEN[source](emotions).tolist()] * len(origin.tests))
    if source.startswith(_PREFIX):
        record: Any = _download(source.removeprefix(_PREFIX), config, runs)
    else:
        record = read_similarity(*split_place(source), emotions)
    if isinstance(record, np.ndarray):
        return Prior([record.tolist()] * len(origin.tests))
    measured = (
        set().union(*record.get("tests", ())) if record.get("corpus") == origin.corpus else set()
    )
    touched = [[row for row in ids if row in measured] for ids in origin.tests]
    matrices = [similarity_from_record(record, emotions, source, without=ids) for ids in touched]
    return Prior([one.tolist() for one in matrices], _finding(source) if any(touched) else None)


def _finding(source: str) -> Finding:
    return Finding(
        "note",
        "prior",
        f"S ({source}) was measured on test parts of this corpus: each fold takes the average of the others', "
        "which tested none of its test utterances",
    )


def _download(run_id: str, config: Config, runs: Folder) -> Mapping[str, Any]:
    client = connect(config.tracking, runs)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = download_artifacts(
                run_id=run_id,
                artifact_path="similarity/average.json",
                dst_path=folder,
                tracking_uri=client.tracking_uri,
            )
        except Exception as error:  # each artifact store raises its own family
            reason = " ".join(str(error).split())[:200]
            raise TrackingError(
                f"run {run_id} at {client.tracking_uri} has no averaged matrix ({reason}): "
                "give the id of a finished cross-validation or trial"
            ) from error
        record: dict[str, Any] = json.loads(Path(file).read_text(encoding="utf-8"))
    return record
