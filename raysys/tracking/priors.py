"""The similarity matrix of an earlier run, as the prior of the next one's emotion-aware loss."""

import json
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from mlflow.artifacts import download_artifacts

from raysys.config import Config
from raysys.errors import TrackingError
from raysys.similarity import preset_similarity, read_similarity, similarity_from_record
from raysys.storage import Folder
from raysys.tracking.client import connect

_PREFIX = "mlflow:"


def resolve_similarity(
    config: Config, emotions: tuple[str, ...], runs: Folder
) -> Float64[np.ndarray, "class class"] | None:
    """S of the emotion-aware term, or None when the term is off.

    Raises:
        ConfigError: an unknown emotion, a missing file, or something that is no similarity matrix.
        TrackingError: MLflow does not answer, or has no such run or matrix.
    """
    if not config.loss.omega:
        return None
    source = config.loss.similarity
    if source == "preset":
        return preset_similarity(emotions)
    if not source.startswith(_PREFIX):
        return read_similarity(Path(source).expanduser(), emotions)
    run_id = source.removeprefix(_PREFIX)
    client = connect(config.tracking, runs)
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
                "give the id of a finished run"
            ) from error
        record = json.loads(Path(file).read_text(encoding="utf-8"))
    return similarity_from_record(record, emotions, f"run {run_id}")
