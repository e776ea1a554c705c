"""The MLflow run of one command, and below it one nested run a trial: the one listener that writes to MLflow.

    command   settings, corpus as dataset input, config.json; at the end result.json and its numbers (see `metrics`)
    trial     its values under their papers' symbols, config.json; val/ua, ... by epoch, mean over the folds;
              fold_K/val/ua, fold_K/train/loss by epoch, but for studies; what the task shows of it; tags raysys.trial,
              raysys.state, raysys.variant

A cross-validation is one trial, and logs it into the command's own run. No trial of a study ever holds a test score:
the study opens the chosen one's, on the parent.
"""

import getpass
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from raysys.config import Config
from raysys.config.names import symbol
from raysys.corpus.table import Corpus
from raysys.errors import TrackingError
from raysys.report.results import AblationResult, StudyResult, TrialResult, plain
from raysys.settings import to_dict
from raysys.storage import Folder
from raysys.tasks.exhibits import Exhibit
from raysys.tracking.client import connect, experiment_id
from raysys.tracking.metrics import ablation_metrics, study_metrics, trial_metrics
from raysys.tracking.runs import RunLog, Writer
from raysys.training.records import EpochRecord
from raysys.trials.curve import Point
from raysys.trials.listener import Listener
from raysys.trials.trial import Trial, TrialOutcome

JOBS = {"cross_validation": "cross_validate", "study": "tune", "ablation": "ablate"}
"""Kind -> the job's verb."""
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAILED": "FAILED", "STOPPED": "KILLED"}
"""Trial state -> MLflow status. A stopped trial is KILLED there: MLflow has no word for it."""


class CommandLog(Listener):
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
        self._kind = kind
        self.client: MlflowClient = connect(config.tracking, runs)
        experiment = config.tracking.experiment or corpus.name
        self.experiment_id = experiment_id(self.client, experiment, runs)
        self._resumed = bool(run_id)
        self.run_id = run_id or self._create(name, identity)
        if run_id:
            self._reopen(run_id)
        self._writer = Writer(self.client, config.tracking.patience_seconds)
        self.log = RunLog(self._writer, lambda: self.run_id, resumed=self._resumed)
        self._open: dict[str, RunLog] = {}
        self._whole: set[str] | None = None
        if not run_id:
            self.log.params(flat_settings(config))
            self.log.corpus(corpus.name, corpus.digest, str(corpus.root))
            self.log.json(to_dict(config), "config.json")

    @property
    def uri(self) -> str:
        """Tracking URI of the run."""
        return str(self.client.tracking_uri)

    def of(self, trial: str) -> RunLog:
        """The run of a trial that has started."""
        return self._open[trial]

    def recalled(self, outcome: TrialOutcome) -> None:
        """Logged where MLflow lacks it; a COMPLETE one must be `close`d then."""
        if self._whole is None:
            self._whole = self._find_whole()
        if outcome.name not in self._whole:
            self.started(outcome.trial)
            for point in outcome.curve:
                self.point(outcome.trial, point)
            self.ended(outcome)

    def is_open(self, trial: str) -> bool:
        """Whether a trial's run awaits its end."""
        return trial in self._open

    def started(self, trial: Trial) -> None:
        """Open the trial's run: the one that it has, when the command was resumed."""
        if self._kind == "cross_validation":
            self._open[trial.name] = self.log
            return
        find = partial(self._find, trial.name)
        log = self._open[trial.name] = RunLog(self._writer, find, resumed=self._resumed)
        log.params({symbol(key): value for key, value in trial.values.items()})
        if trial.variant:
            log.tags({"raysys.variant": trial.variant})
        log.json(to_dict(trial.config), "config.json")

    def epoch(self, trial: Trial, fold: int, record: EpochRecord) -> None:
        """One epoch of one fold."""
        if self._kind != "study":
            values = {f"val/{name}": value for name, value in record.val.items()}
            values["train/loss"] = record.train_loss
            named = {f"fold_{fold}/{key}": value for key, value in values.items()}
            self._open[trial.name].metrics(named, step=record.epoch)

    def point(self, trial: Trial, point: Point) -> None:
        """The mean over the folds."""
        values = {f"val/{name}": value for name, value in point.val.items()}
        values["train/loss"] = point.train_loss
        self._open[trial.name].metrics(values, step=point.epoch)

    def ended(self, outcome: TrialOutcome) -> None:
        """Its state and the scores that it ended with; a COMPLETE one stays open for what is made of it."""
        if self._kind == "cross_validation":
            return
        log = self._open[outcome.name]
        log.metrics({f"best_val/{name}": value for name, value in outcome.scores.items()})
        if outcome.reason:
            log.tags({"raysys.reason": outcome.reason})
        if outcome.state != "COMPLETE":
            self.close(outcome)

    def close(self, outcome: TrialOutcome) -> None:
        """End the trial's run; its state is written last."""
        log = self._open.pop(outcome.name)
        if self._kind == "cross_validation":
            return
        if outcome.state != "STOPPED":  # such a trial may go on
            log.tags({"raysys.state": outcome.state.lower()})
        log.end(_STATUS[outcome.state])

    def trial_result(self, trial: str, result: TrialResult, shown: Iterable[Exhibit]) -> None:
        """Opened test scores of a trial."""
        log = self._open[trial]
        log.metrics(trial_metrics(result))
        log.json(plain(result), "result.json")
        log.exhibits(shown)

    def ablation_result(self, result: AblationResult, table: str) -> None:
        """The end of an ablation, and what the terminal shows."""
        self.log.metrics(ablation_metrics(result))
        self.log.json(plain(result), "result.json")
        self.log.file(table.encode(), "table.txt")

    def study_result(
        self,
        result: StudyResult,
        shown: Iterable[Exhibit],
        figures: Mapping[str, Any],
        best: str,
    ) -> None:
        """The end of a study: what it shows of its choice, its pictures, and its preset."""
        # A study that was extended has a result at each of its lengths.
        self.log.metrics(study_metrics(result), step=len(result.trials))
        self.log.exhibits(shown)
        self.log.json(plain(result), "result.json")
        self.log.json(plain(result.trials), "trials.json")
        self.log.file(best.encode(), "best.yaml")
        self.log.tags({"raysys.chosen": result.chosen.name})
        for name, figure in figures.items():
            self.log.figure(figure, f"figures/{name}.png")

    def finish(self, status: str, *, patience_seconds: float | None = None) -> None:
        """End the run (FINISHED, FAILED or KILLED), and the runs of trials that it leaves unfinished.

        Raises:
            TrackingError: see `Writer.finish`.
        """
        for log in self._open.values():
            if log is not self.log:
                log.end("KILLED")
        self.log.end(status)
        self._writer.finish(patience_seconds=patience_seconds)

    def _create(self, name: str, identity: str) -> str:
        tags = {
            "raysys.identity": identity,
            "raysys.kind": self._kind,
            "mlflow.user": _user(),
            **self._source(),
        }
        return self._answered(
            lambda: self.client.create_run(self.experiment_id, run_name=name, tags=tags),
            "refused a new run",
        )

    def _reopen(self, run_id: str) -> None:
        self._answered(
            lambda: self.client.update_run(run_id, status="RUNNING") or self.client.get_run(run_id),
            f"has no run {run_id} to resume",
        )

    def _answered(self, call: Callable[[], Any], trouble: str) -> str:
        try:
            return str(call().info.run_id)
        except MlflowException as error:
            raise TrackingError(f"MLflow at {self.uri} {trouble}: {error}") from error

    def _source(self) -> dict[str, str]:
        return {"mlflow.source.name": f"jobs.{JOBS[self._kind]}", "mlflow.source.type": "JOB"}

    def _below(self) -> str:
        return f"tags.`mlflow.parentRunId` = '{self.run_id}'"

    def _find_whole(self) -> set[str]:
        """Names of the trials whose runs are complete: their state is written last."""
        found = self.client.search_runs([self.experiment_id], self._below(), max_results=50_000)
        return {r.data.tags["raysys.trial"] for r in found if "raysys.state" in r.data.tags}

    def _find(self, trial: str) -> str:
        """The run of a trial, made where there is none."""
        query = f"{self._below()} and tags.`raysys.trial` = '{trial}'"
        found = self.client.search_runs([self.experiment_id], query, max_results=1)
        if found:
            self.client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        tags = {
            "mlflow.parentRunId": self.run_id,
            "raysys.trial": trial,
            "raysys.kind": "trial",
            **self._source(),
        }
        run = self.client.create_run(self.experiment_id, run_name=trial, tags=tags)
        return str(run.info.run_id)


def flat_settings(config: Config) -> dict[str, Any]:
    """Dotted name -> value of every setting that a result depends on; a study's or ablation's only when it is one."""
    content = to_dict(config)
    for group, used in (("search", config.search.space), ("ablation", config.ablation.variants)):
        if not used:
            del content[group]
    if config.ablation.variants:  # their names may hold what MLflow takes in no key
        content["ablation"]["variants"] = ", ".join(config.ablation.variants)
    return _flatten(content)


def _flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
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
