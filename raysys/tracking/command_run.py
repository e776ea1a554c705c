"""The MLflow run of one command: created or reopened, described by its config and corpus, ended with a status."""

import getpass
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from raysys.balance import BalancePlan
from raysys.config import Config, to_dict
from raysys.corpus.table import Corpus
from raysys.errors import TrackingError
from raysys.similarity import Origin, SimilaritySummary, similarity_record
from raysys.storage import Folder
from raysys.tracking.client import connect, experiment_id
from raysys.tracking.figures import balance_figure, emotion_dendrogram, similarity_heat_map
from raysys.tracking.run import RunLog, Writer

JOBS = {"cross_validation": "cross_validate", "study": "tune", "ablation": "ablate"}
"""Kind -> the job's verb."""


class CommandRun:
    """Opens the run that a command logs to.

    Args:
        config: everything; `tracking` says where.
        corpus: becomes the dataset input and names the experiment.
        kind: cross_validation, study or ablation, kept as a tag.
        runs: the folder of all runs.
        name: the run's name in MLflow.
        identity: digest of the command, kept as a tag.
        run_id: of the run to go on with; empty starts a new one.

    Raises:
        TrackingError: MLflow does not answer.
    """

    def __init__(
        self,
        config: Config,
        corpus: Corpus,
        *,
        kind: str,
        runs: Folder,
        name: str,
        identity: str,
        run_id: str,
    ) -> None:
        self.config = config
        self.client: MlflowClient = connect(config.tracking, runs)
        experiment = config.tracking.experiment or corpus.name
        self.experiment_id = experiment_id(self.client, experiment, runs)
        self.resumed = bool(run_id)
        self.run_id = run_id or self._create(name, kind, identity)
        if run_id:
            self._reopen(run_id)
        self.writer = Writer(self.client, config.tracking.patience_seconds)
        self.log = RunLog(self.writer, lambda: self.run_id, resumed=self.resumed)
        if not run_id:
            self.log.params(flat_settings(config))
            self.log.corpus(corpus.name, corpus.digest, str(corpus.root))
            self.log.json(to_dict(config), "config.json")

    @property
    def uri(self) -> str:
        """Tracking URI of the run."""
        return str(self.client.tracking_uri)

    def json(self, content: Any, path: str) -> None:
        """A JSON artifact."""
        self.log.json(content, path)

    def finish(self, status: str, *, patience_seconds: float | None = None) -> None:
        """End the run: FINISHED, FAILED or KILLED.

        Raises:
            TrackingError: see `Writer.finish`.
        """
        self.log.end(status)
        self.writer.finish(patience_seconds=patience_seconds)

    def _create(self, name: str, kind: str, identity: str) -> str:
        verb = JOBS[kind]
        tags = {
            "raysys.identity": identity,
            "raysys.kind": kind,
            "mlflow.user": _user(),
            "mlflow.source.name": f"jobs.{verb}",
            "mlflow.source.type": "JOB",
        }
        try:
            run = self.client.create_run(self.experiment_id, run_name=name, tags=tags)
        except MlflowException as error:
            raise TrackingError(f"MLflow at {self.uri} refused a new run: {error}") from error
        return str(run.info.run_id)

    def _reopen(self, run_id: str) -> None:
        try:
            self.client.update_run(run_id, status="RUNNING")
        except MlflowException as error:
            raise TrackingError(
                f"MLflow at {self.uri} has no run {run_id} to resume: {error}"
            ) from error


def log_similarity(
    log: RunLog,
    summary: SimilaritySummary,
    emotions: tuple[str, ...],
    origin: Origin,
    corpus: str,
) -> None:
    """The matrices of a configuration: JSON, NPY, heat map, dendrogram."""
    log.json(similarity_record(summary, emotions, origin), "similarity/average.json")
    for name in ("average", "per_fold", "low", "high"):
        buffer = io.BytesIO()
        np.save(buffer, getattr(summary, name), allow_pickle=False)
        log.file(buffer.getvalue(), f"similarity/{name}.npy")
    title = f"{corpus}: class similarity, mean of {len(summary.per_fold)} folds"
    heat_map = similarity_heat_map(summary.average, summary.low, summary.high, emotions, title)
    log.figure(heat_map, "similarity/heat_map.png")
    tree = emotion_dendrogram(summary.average, emotions, f"{corpus}: emotions")
    log.figure(tree, "similarity/dendrogram.png")


def log_balance(log: RunLog, plans: Sequence[BalancePlan], table: str, *, corpus: Corpus) -> None:
    """What mixup added: the table of pairs (CSV), counts before and after (JSON), and the bar chart of both.

    Args:
        log: run.
        plans: one a fold.
        table: the pairs of all folds, with a header.
        corpus: for the emotions' names.
    """
    log.file(table.encode(), "balance/plan.csv")
    counts = [{"before": plan.before.tolist(), "after": plan.after.tolist()} for plan in plans]
    log.json({"emotions": list(corpus.emotions), "folds": counts}, "balance/counts.json")
    before = np.mean([plan.before for plan in plans], axis=0)
    after = np.mean([plan.after for plan in plans], axis=0)
    title = f"{corpus.name}: utterances in a train part, mean of {len(plans)} folds"
    log.figure(balance_figure(before, after, corpus.emotions, title), "balance/counts.png")


def flat_settings(config: Config) -> dict[str, Any]:
    """Dotted name -> value of every setting that a result depends on; a study's or ablation's only when it is one."""
    plain = to_dict(config)
    for group, used in (("search", config.search.space), ("ablation", config.ablation.variants)):
        if not used:
            del plain[group]
    if config.ablation.variants:  # their names may hold what MLflow takes in no key
        plain["ablation"]["variants"] = ", ".join(config.ablation.variants)
    return _flatten(plain)


def _flatten(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"
