"""A cross-validation as one MLflow run: what is logged, and under which name.

epochs   fold_K/val/ua, fold_K/train/loss, ... per epoch; val/ua, ... the mean over all folds that reached it
result   test/ua, test/ua_std, best_val/ua, baseline/ua, fold_K/test/ua, seconds/..., efficiency
files    config.json, audit.json, folds.json, result.json, similarity/*, confusion/*, folds/fold_K/weights.safetensors
"""

import getpass
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from raysys.config import Config, to_dict
from raysys.corpus.table import Corpus
from raysys.errors import TrackingError
from raysys.similarity import SimilaritySummary
from raysys.storage import Folder
from raysys.tracking.client import connect, experiment_id
from raysys.tracking.figures import confusion_figure, emotion_dendrogram, similarity_heat_map
from raysys.tracking.run import RunLog
from raysys.training.checkpoint import EpochRecord

_CURVES = ("loss", "wa", "ua", "weighted_f1")


class CrossValidationLog:
    """Logs one cross-validation.

    Args:
        config: everything; `tracking` says where.
        corpus: becomes the dataset input and names the experiment.
        runs: the folder of all runs.
        name: the run's name in MLflow.
        identity: digest of the run, kept as a tag.
        run_id: of the run to go on with; empty starts a new one.

    Raises:
        TrackingError: MLflow does not answer.
    """

    def __init__(
        self, config: Config, corpus: Corpus, *, runs: Folder, name: str, identity: str, run_id: str
    ) -> None:
        self._client: MlflowClient = connect(config.tracking, runs)
        experiment = config.tracking.experiment or corpus.name
        self.experiment_id = experiment_id(self._client, experiment, runs)
        self.run_id = run_id or self._create(name, identity)
        if run_id:
            self._reopen(run_id)
        patience = config.tracking.patience_seconds
        self._log = RunLog(
            self._client, self.run_id, patience_seconds=patience, resumed=bool(run_id)
        )
        self._epochs: dict[int, dict[int, EpochRecord]] = {}
        self._emotions = corpus.emotions
        if not run_id:
            self._log.params(_flatten(to_dict(config)))
            self._log.corpus(corpus.name, corpus.digest, str(corpus.root))
            self._log.json(to_dict(config), "config.json")

    @property
    def uri(self) -> str:
        """Tracking URI of the run."""
        return str(self._client.tracking_uri)

    def json(self, content: Any, path: str) -> None:
        """A JSON artifact."""
        self._log.json(content, path)

    def epoch(self, fold: int, record: EpochRecord, n_folds: int) -> None:
        """One epoch of one fold, and the mean curve as soon as all folds have reached that epoch."""
        values = {f"val/{name}": record.val[name] for name in _CURVES}
        values["train/loss"] = record.train_loss
        self._log.metrics({f"fold_{fold}/{k}": v for k, v in values.items()}, step=record.epoch)
        reached = self._epochs.setdefault(record.epoch, {})
        reached[fold] = record
        if len(reached) == n_folds:
            means = {
                f"val/{name}": float(np.mean([r.val[name] for r in reached.values()]))
                for name in _CURVES
            }
            means["train/loss"] = float(np.mean([r.train_loss for r in reached.values()]))
            self._log.metrics(means, step=record.epoch)

    def result(
        self,
        result: Mapping[str, Any],
        similarity: SimilaritySummary,
        confusion: np.ndarray,
        folders: Mapping[int, Folder],
    ) -> None:
        """The numbers, matrices, pictures and weights of a finished run."""
        self._log.metrics(_summary_metrics(result))
        self._log.json(result, "result.json")
        self._log.json(similarity_record(similarity, self._emotions), "similarity/average.json")
        for name in ("average", "per_fold", "low", "high"):
            buffer = io.BytesIO()
            np.save(buffer, getattr(similarity, name), allow_pickle=False)
            self._log.file(buffer.getvalue(), f"similarity/{name}.npy")
        title = f"{result['corpus']}: class similarity, mean of {len(folders)} folds"
        heat_map = similarity_heat_map(
            similarity.average, similarity.low, similarity.high, self._emotions, title
        )
        self._log.figure(heat_map, "similarity/heat_map.png")
        tree = emotion_dendrogram(
            similarity.average, self._emotions, f"{result['corpus']}: emotions"
        )
        self._log.figure(tree, "similarity/dendrogram.png")
        title = f"{result['corpus']}: test predictions of all folds"
        self._log.figure(confusion_figure(confusion, self._emotions, title), "confusion/test.png")
        self._log.json(
            {"emotions": self._emotions, "test": confusion.tolist()}, "confusion/test.json"
        )
        for fold, folder in folders.items():
            weights = folder.read_bytes("weights.safetensors")
            self._log.file(weights, f"folds/fold_{fold}/weights.safetensors")

    def finish(self, status: str, *, patience_seconds: float | None = None) -> None:
        """End the run: FINISHED, FAILED or KILLED.

        Raises:
            TrackingError: see `RunLog.finish`.
        """
        self._log.finish(status, patience_seconds=patience_seconds)

    def _create(self, name: str, identity: str) -> str:
        tags = {
            "raysys.identity": identity,
            "raysys.kind": "cross_validation",
            "mlflow.user": _user(),
            "mlflow.source.name": "jobs.cross_validate",
            "mlflow.source.type": "JOB",
        }
        try:
            run = self._client.create_run(self.experiment_id, run_name=name, tags=tags)
        except MlflowException as error:
            raise TrackingError(f"MLflow at {self.uri} refused a new run: {error}") from error
        return str(run.info.run_id)

    def _reopen(self, run_id: str) -> None:
        try:
            self._client.update_run(run_id, status="RUNNING")
        except MlflowException as error:
            raise TrackingError(
                f"MLflow at {self.uri} has no run {run_id} to resume: {error}"
            ) from error


def similarity_record(similarity: SimilaritySummary, emotions: tuple[str, ...]) -> dict[str, Any]:
    """The matrices as JSON; `loss.similarity` reads it back."""
    names = ("average", "low", "high", "per_fold", "fold_counts", "utterance_counts")
    arrays = {name: _with_null(getattr(similarity, name).tolist()) for name in names}
    return {"emotions": list(emotions), **arrays}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"


def _with_null(values: Any) -> Any:
    if isinstance(values, list):
        return [_with_null(value) for value in values]
    return None if values != values else values


def _summary_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, mean in result["mean"]["test"].items():
        values[f"test/{name}"] = mean
        values[f"test/{name}_std"] = result["std"]["test"][name]
        values[f"best_val/{name}"] = result["mean"]["val"][name]
        values[f"baseline/{name}"] = result["mean"]["baseline"][name]
    for fold in result["folds"]:
        values |= {f"fold_{fold['fold']}/test/{name}": v for name, v in fold["test"].items()}
    return values | {f"seconds/{name}": v for name, v in result["seconds"].items()}


def _flatten(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
