"""The MLflow runs of one command, written by one listener.

    command   settings, corpus as dataset input, config.json; at the end result.json and its numbers (see `metrics`)
    trial     its values under their papers' symbols, config.json; val/ua, ... by epoch, mean over folds and seeds; what
              the task shows of it; tags raysys.trial, raysys.state, raysys.variant
    fold      val/ua, train/loss, ... by epoch, and its test scores, under the same names, so that the UI draws a
              trial's folds into one chart; tags raysys.fold, raysys.seed; not in studies

A cross-validation is one trial, and logs it into the command's own run. No trial of a study ever holds a test score:
the study opens the chosen one's, on the parent.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from raysys.config import Config
from raysys.corpus.folds import Fold, FoldKey
from raysys.corpus.table import Corpus
from raysys.errors import TrackingError
from raysys.report.headline import headline
from raysys.report.markdown import as_markdown
from raysys.report.results import (
    AblationResult,
    RefitResult,
    Result,
    StudyResult,
    TrialResult,
    plain,
)
from raysys.report.utterances import SHOWN
from raysys.settings import digest, to_dict, without_password
from raysys.similarity.prior import SAW_TEST_LABELS
from raysys.storage import Folder
from raysys.tasks.exhibits import Exhibit
from raysys.tracking.client import connect, experiment_id, kept_run, ui_address
from raysys.tracking.datasets import profile_of
from raysys.tracking.metrics import ablation_metrics, study_metrics, trial_metrics
from raysys.tracking.models import ModelLog
from raysys.tracking.provenance import (
    code_digest,
    flat_settings,
    git_commit,
    told_settings,
    user_name,
    varied_settings,
)
from raysys.tracking.runs import RunLog, Writer
from raysys.tracking.views import view_link, view_tag
from raysys.training.records import EpochRecord
from raysys.trials.curve import Point
from raysys.trials.listener import Listener
from raysys.trials.trial import Trial, TrialOutcome

JOBS = {
    "cross_validation": "cross_validate",
    "study": "tune",
    "ablation": "ablate",
    "refit": "refit",
}
"""Kind -> the job's verb."""
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAILED": "FAILED", "STOPPED": "KILLED"}
"""Trial state -> MLflow status. A stopped trial is KILLED there: MLflow has no word for it."""


class CommandLog(Listener):
    """Opens the run that a command logs to.

    Args:
        config: everything; `tracking` says where.
        corpus: becomes the dataset input and names the experiment.
        folds: their parts become dataset inputs of the folds' runs.
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
        folds: Sequence[Fold] = (),
    ) -> None:
        self._kind, self._name = kind, name
        self.client: MlflowClient = connect(config.tracking, runs)
        experiment = config.tracking.experiment or corpus.name
        self.experiment_id = experiment_id(self.client, experiment, runs)
        self.run_id = self._reopen(run_id, identity, name)
        self._resumed = bool(self.run_id)
        self.run_id = self.run_id or self._create(name, identity)
        self._writer = Writer(self.client, config.tracking.patience_seconds)
        self.log = RunLog(self._writer, lambda: self.run_id, resumed=self._resumed)
        ids = [row.utterance_id for row in corpus.utterances]
        self._corpus = corpus.name
        self._dataset = (corpus.name, corpus.digest[:36])
        self._parts = [
            {part: digest([ids[k] for k in rows]) for part, rows in fold.parts().items()}
            for fold in folds
        ]
        self._profiles = [
            {part: profile_of(corpus, rows) for part, rows in fold.parts().items()}
            for fold in folds
        ]
        self._open: dict[str, RunLog] = {}
        self._folds: dict[tuple[str, FoldKey], RunLog] = {}
        self._whole: set[str] | None = None
        self._config = config
        view = view_tag(config, kind, name)
        self._writer.put(partial(self.client.set_experiment_tag, self.experiment_id, *view))
        self.log.params(flat_settings(config))
        self.log.tags({"raysys.settings": told_settings(config)})
        told = (corpus.digest, str(corpus.root), profile_of(corpus))
        self.log.corpus(corpus.name, *told, context="cross_validation")
        self.log.corpus(f"{corpus.name} folds", digest(self._parts), "folds.json", context="folds")
        self.log.json(to_dict(config), "config.json")

    def model(
        self,
        result: Result,
        config: Config,
        outputs: Mapping[str, str],
        export: Callable[[Folder], None],
    ) -> ModelLog:
        """What a command has trained, as an MLflow model that its result is logged with.

        Args:
            result: its scores become the model's.
            config: of what was trained.
            outputs: columns of its answers -> MLflow's types.
            export: writes the folder that `raysys.load` reads.
        """
        return ModelLog(
            self.client,
            self.experiment_id,
            self._name,
            self._dataset,
            config.model.modalities,
            outputs,
            as_markdown(result),
            export,
        )

    @property
    def uri(self) -> str:
        """Tracking URI of the run."""
        return str(self.client.tracking_uri)

    @property
    def view(self) -> str:
        """Link to the experiment's runs of this kind, once MLflow's UI is open."""
        return f"{ui_address(self.uri)}/{view_link(self.experiment_id, self._kind, self._name)}"

    def of(self, trial: str) -> RunLog:
        """The run of a trial that has started."""
        return self._open[trial]

    def recalled(self, outcome: TrialOutcome) -> None:
        """Logged where MLflow lacks it; a COMPLETE one must be `close`d then."""
        if self._whole is None:
            self._whole = self._find_whole()
        if outcome.name not in self._whole:
            self.started(outcome.trial)
            for point in outcome.points:
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
        tags = {"raysys.trial": trial.name, "raysys.kind": "trial"}
        find = partial(self._find, self.log, trial.name, tags)
        log = self._open[trial.name] = RunLog(self._writer, find, resumed=self._resumed)
        log.params(varied_settings(self._config, trial))
        if trial.variant:
            log.tags({"raysys.variant": trial.variant})
        log.json(to_dict(trial.config), "config.json")

    def epoch(self, trial: Trial, key: FoldKey, record: EpochRecord) -> None:
        """One epoch of one fold."""
        if self._kind == "study":
            return
        if (trial.name, key) not in self._folds:
            seed, fold = key
            name = trial.title(key)
            tags = {"raysys.fold": str(fold), "raysys.seed": str(seed), "raysys.kind": "fold"}
            find = partial(self._find, self._open[trial.name], name, tags)
            log = RunLog(self._writer, find, resumed=self._resumed)
            log.params({"fold": fold, "seed": seed, **varied_settings(self._config, trial)})
            for part, rows in self._parts[fold].items():
                name = f"{self._corpus} fold {fold} {part}"
                log.corpus(name, rows, "folds.json", self._profiles[fold][part], context=part)
            self._folds[trial.name, key] = log
        self._folds[trial.name, key].metrics(_curve(record), step=record.epoch)

    def point(self, trial: Trial, point: Point) -> None:
        """The mean over the folds."""
        self._open[trial.name].metrics(_curve(point), step=point.epoch)

    def ended(self, outcome: TrialOutcome) -> None:
        """Its state and the scores that it ended with; a COMPLETE one stays open for what is made of it."""
        if self._kind == "cross_validation":
            return
        if outcome.state == "FAILED":
            self._end_folds(outcome.name, "FAILED")
        log = self._open[outcome.name]
        if self._kind == "study" or outcome.state != "COMPLETE":  # else they are among its result
            log.metrics({f"val_best/{name}": value for name, value in outcome.scores.items()})
        if outcome.reason:
            log.tags({"raysys.reason": outcome.reason})
        if outcome.state != "COMPLETE":
            self.close(outcome)

    def close(self, outcome: TrialOutcome) -> None:
        """End the trial's run; its state is written last."""
        log = self._open.pop(outcome.name)
        if self._kind == "cross_validation":
            return
        log.end(_STATUS[outcome.state])
        if outcome.state != "STOPPED":  # such a trial may go on; last: the trial is whole
            log.tags({"raysys.state": outcome.state.lower()})

    def trial_result(
        self,
        trial: str,
        result: TrialResult,
        shown: Iterable[Exhibit],
        model: ModelLog | None = None,
    ) -> None:
        """Opened test scores of a trial, and what was trained as an MLflow model."""
        log = self._open[trial]
        self._tell(log, trial, result, trial_metrics(result), model=model)
        for fold in result.folds:
            values = {f"test/{name}": value for name, value in fold.test.items()}
            self._folds[trial, (fold.seed, fold.fold)].metrics(values)
        self._end_folds(trial, "FINISHED")
        _show(log, shown)

    def ablation_result(self, result: AblationResult, table: str, shown: Iterable[Exhibit]) -> None:
        """The end of an ablation, what the terminal shows, and its pictures."""
        self._tell(self.log, self._name, result, ablation_metrics(result))
        self.log.file(table.encode(), "table.txt")
        self.log.exhibits(shown)

    def refit_result(self, result: RefitResult, model: ModelLog) -> None:
        """A model that was trained on everything, with what is expected of it."""
        expected = {f"test_of_folds/{name}": value for name, value in result.expected.mean.items()}
        self._tell(self.log, self._name, result, expected, model=model)

    def study_result(
        self,
        result: StudyResult,
        shown: Iterable[Exhibit],
        figures: Mapping[str, Any],
        best: str,
        model: ModelLog | None = None,
    ) -> None:
        """The end of a study: what it shows of its choice, its pictures, its preset, and its choice as a model."""
        # A study that was extended has a result at each of its lengths.
        step = len(result.trials)
        self._tell(self.log, self._name, result, study_metrics(result), step=step, model=model)
        _show(self.log, shown)
        self.log.json(plain(result.trials), "trials.json")
        self.log.file(best.encode(), "best.yaml")
        self.log.tags({"raysys.chosen": result.chosen.name})
        for name, figure in figures.items():
            self.log.figure(figure, f"figures/{name}.png")

    def _tell(
        self,
        log: RunLog,
        name: str,
        result: Result,
        metrics: Mapping[str, float],
        step: int = 0,
        model: ModelLog | None = None,
    ) -> None:
        """A result in numbers, as its run's description, in its name, and whole; also as those of its model."""
        if model is not None:
            log.begin_model(model)
        log.metrics(metrics, step=step, model=model)
        if model is not None:
            log.finish_model(model)
        log.json(plain(result), "result.json")
        named = f"{name}: {headline(result)}"
        log.tags({"mlflow.note.content": as_markdown(result), "mlflow.runName": named})
        if any(finding.kind == SAW_TEST_LABELS for finding in result.audit):
            log.tags({f"raysys.{SAW_TEST_LABELS}": "true"})

    def finish(self, status: str, *, patience_seconds: float | None = None) -> None:
        """End the run (FINISHED, FAILED or KILLED), and the runs of trials that it leaves unfinished.

        Raises:
            TrackingError: see `Writer.finish`.
        """
        for name, log in list(self._open.items()):
            self._end_folds(name, "KILLED")
            if log is not self.log:
                log.end("KILLED")
        self.log.end(status)
        self._writer.finish(patience_seconds=patience_seconds)

    def _create(self, name: str, identity: str) -> str:
        tags = {
            "raysys.identity": identity,
            "raysys.folder": name,
            "raysys.kind": self._kind,
            "mlflow.user": user_name(),
            **self._source(),
        }
        try:
            run = self.client.create_run(self.experiment_id, run_name=name, tags=tags)
        except MlflowException as error:
            raise TrackingError(
                f"MLflow at {without_password(self.uri)} refused a new run: {error}"
            ) from error
        return str(run.info.run_id)

    def _reopen(self, run_id: str, identity: str, name: str) -> str:
        """The run to go on with, RUNNING again; empty where MLflow has none, so that it is logged anew from the folder.

        A command that died between MLflow's run and run.json left a run that only its tags identify.
        """
        try:
            run = kept_run(self.client, run_id) if run_id else self._left_over(identity, name)
            if run is None or run.info.experiment_id != self.experiment_id:
                return ""
            self.client.update_run(run.info.run_id, status="RUNNING")
        except MlflowException as error:
            raise TrackingError(
                f"MLflow at {without_password(self.uri)} cannot resume run {run_id or name}: {error}"
            ) from error
        return str(run.info.run_id)

    def _left_over(self, identity: str, name: str) -> Run | None:
        query = f"tags.`raysys.identity` = '{identity}' and tags.`raysys.folder` = '{name}'"
        runs = self.client.search_runs([self.experiment_id], query, max_results=1)
        return runs[0] if runs and runs[0].info.status == "RUNNING" else None

    def _source(self) -> dict[str, str]:
        named = {"mlflow.source.name": f"jobs.{JOBS[self._kind]}", "mlflow.source.type": "JOB"}
        commit = git_commit()
        own = {"raysys.command": self._kind, "raysys.run": self._name, "raysys.code": code_digest()}
        return {**named, **own, **({"mlflow.source.git.commit": commit} if commit else {})}

    def _find_whole(self) -> set[str]:
        """Names of the trials whose runs are complete: their state is written last."""
        below = f"tags.`mlflow.parentRunId` = '{self.run_id}'"
        found = self.client.search_runs([self.experiment_id], below, max_results=50_000)
        return {r.data.tags["raysys.trial"] for r in found if "raysys.state" in r.data.tags}

    def _end_folds(self, trial: str, status: str) -> None:
        for key in [key for key in self._folds if key[0] == trial]:
            self._folds.pop(key).end(status)

    def _find(self, parent: RunLog, name: str, tags: Mapping[str, str]) -> str:
        """The run below another one that has these tags, made where there is none."""
        tags = {**tags, "mlflow.parentRunId": parent.run_id}
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        found = self.client.search_runs([self.experiment_id], query, max_results=1)
        if found:  # of a resumed command, or a call whose answer was lost
            self.client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        tags = {**tags, **self._source()}
        run = self.client.create_run(self.experiment_id, run_name=name, tags=tags)
        return str(run.info.run_id)


def _curve(point: Point | EpochRecord) -> dict[str, float]:
    values = {f"val/{name}": value for name, value in point.val.items()}
    return {**values, "train/loss": point.train_loss}


def _show(log: RunLog, shown: Iterable[Exhibit]) -> None:
    """Exhibits; MLflow shows a table that a tag names as one."""
    for one in shown:
        log.exhibits([one])
        if one.path == SHOWN:
            log.tags({"mlflow.loggedArtifacts": json.dumps([{"path": SHOWN, "type": "table"}])})
