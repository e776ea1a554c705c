"""Runs below a command's run: one a trial, by the parent tag, found again when the command is resumed."""

from functools import partial

from mlflow import MlflowClient

from raysys.tracking.command_run import JOBS, CommandRun
from raysys.tracking.run import RunLog

_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAILED": "FAILED", "STOPPED": "KILLED"}
"""Trial state -> MLflow status. A stopped trial is KILLED there: MLflow has no word for it."""


class NestedRuns:
    """The trials of one command.

    Args:
        parent: the command's run.
        kind: of the command.
    """

    def __init__(self, parent: CommandRun, kind: str) -> None:
        self._parent = parent
        self._job = f"jobs.{JOBS[kind]}"
        self._open: dict[str, RunLog] = {}

    def __getitem__(self, name: str) -> RunLog:
        return self._open[name]

    def start(self, name: str) -> RunLog:
        """Open a trial's run: the one that it has, when the command was resumed."""
        find = partial(self._find, name)
        log = self._open[name] = RunLog(self._parent.writer, find, resumed=self._parent.resumed)
        return log

    def end(self, name: str, state: str) -> None:
        """The trial is COMPLETE, PRUNED, FAILED, or STOPPED: such a trial may go on."""
        log = self._open.pop(name)
        if state != "STOPPED":
            log.tags({"raysys.state": state.lower()})
        log.end(_STATUS[state])

    def leave(self) -> None:
        """End the runs of trials that the command leaves unfinished."""
        for log in self._open.values():
            log.end("KILLED")

    def ended(self) -> set[str]:
        """Names of the trials whose runs are complete: their state is written last."""
        parent = self._parent
        found = parent.client.search_runs([parent.experiment_id], self._below(), max_results=50_000)
        return {r.data.tags["raysys.trial"] for r in found if "raysys.state" in r.data.tags}

    def _below(self) -> str:
        return f"tags.`mlflow.parentRunId` = '{self._parent.run_id}'"

    def _find(self, name: str) -> str:
        client: MlflowClient = self._parent.client
        experiment = self._parent.experiment_id
        query = f"{self._below()} and tags.`raysys.trial` = '{name}'"
        found = client.search_runs([experiment], query, max_results=1)
        if found:
            client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        tags = {
            "mlflow.parentRunId": self._parent.run_id,
            "raysys.trial": name,
            "raysys.kind": "trial",
            "mlflow.source.name": self._job,
            "mlflow.source.type": "JOB",
        }
        run = client.create_run(experiment, run_name=name, tags=tags)
        return str(run.info.run_id)
