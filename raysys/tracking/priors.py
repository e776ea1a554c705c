"""The similarity matrix of an earlier run, as the prior of the next one's emotion-aware loss.

    val   (the default) each fold takes what its own model of that run measured on its own val part: no label of its
          test part is behind it, as neither train nor val have any
    test  the average over the folds that tested none of its test utterances. Their models trained on them, so their
          labels have a bearing on it: the result is marked, in the audit, its headline and MLflow

A matrix without a record of what it rests on (.npy) is marked too. Utterances are known by what they are, not by the
corpus' name.
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
    SAW_TEST_LABELS,
    FoldPrior,
    Origin,
    SimilarityPrior,
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

    values: Sequence[FoldPrior]
    """Fold by fold."""
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
        return Prior([SimilarityPrior(_WRITTEN[source](emotions).tolist())] * len(origin.tests))
    if source.startswith(_PREFIX):
        record: Any = _download(source.removeprefix(_PREFIX), config, runs)
    else:
        record = read_similarity(*split_place(source), emotions)
    if isinstance(record, np.ndarray):
        why = "nobody knows on which utterances it was measured"
        return Prior([SimilarityPrior(record.tolist())] * len(origin.tests), _marked(source, why))
    of, own = config.loss.measured_on, origin.keys or [()] * len(origin.tests)
    matrices = [similarity_from_record(record, emotions, source, of=of, tests=one) for one in own]
    known = set(record.get("known") or ())
    touched = any(known & set(one) for one in own)
    finding = None
    if of == "test" and touched:
        finding = _marked(source, "folds whose models trained on this one's test part measured it")
    elif not known:
        finding = _marked(source, "nobody knows on which utterances it was measured")
    elif touched:
        finding = Finding(
            "note",
            "prior",
            f"S ({source}) is for each fold what its own model of that run measured on its own val part: no label of "
            "its test part is behind it",
        )
    return Prior([SimilarityPrior(one.tolist()) for one in matrices], finding)


def _marked(source: str, why: str) -> Finding:
    message = f"S ({source}) saw test labels, or may have: {why}"
    return Finding("warning", SAW_TEST_LABELS, message)


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
