"""A real command that dies at one of its steps, in a process of its own, with its folds done there.

A step is a write of a file, a call of MLflow or an event of the pool. A process that dies so runs no `finally`, as
after `kill -9`. Processes come of a fork server that has imported everything and done nothing.
"""

import json
import multiprocessing
import os
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from rich.console import Console

from raysys.commands.ablate import ablate
from raysys.commands.cross_validate import cross_validate
from raysys.commands.tune import tune
from raysys.config import Config
from raysys.storage import as_json
from tests.here import HerePool, do_folds_here, numbers

JOBS: dict[str, Callable[..., Any]] = {
    "cross_validate": cross_validate,
    "tune": tune,
    "ablate": ablate,
}
_CALLS = (
    "create_experiment",
    "create_run",
    "log_artifact",
    "log_batch",
    "log_figure",
    "log_inputs",
    "set_terminated",
    "update_run",
)
DIED = 9
"""Exit status of a command that was ended at its step."""

_SPAWN = multiprocessing.get_context("forkserver")
_SPAWN.set_forkserver_preload(["tests.killed"])


class Steps:
    """Counts steps, and ends the process at one of them: before it is done, or after.

    Args:
        last: number of the step at which the process dies; 0: none.
        after: the step is done first.
    """

    def __init__(self, last: int, *, after: bool) -> None:
        self.count = 0
        self._last = last
        self._after = after
        self._lock = threading.Lock()

    def around(self, done: Callable[..., Any]) -> Callable[..., Any]:
        """The same, as a step."""

        def step(*args: Any, **named: Any) -> Any:
            with self._lock:
                self.count += 1
                is_last = self.count == self._last
            if is_last and not self._after:
                os._exit(DIED)
            result = done(*args, **named)
            if is_last:
                os._exit(DIED)
            return result

        return step


def command(
    job: str, config: Config, told: Path, *, last: int = 0, after: bool = False
) -> tuple[int, dict[str, Any]]:
    """Run a command, or go on with the one that is there, and have it die at a step.

    Args:
        job: see `JOBS`.
        config: its config, on local files.
        told: file in which the process says what came of it.
        last: see `Steps`.
        after: see `Steps`.

    Returns:
        exit status, and of a command that ended: its number of steps, its result's numbers, what MLflow holds, the
        error.
    """
    told.unlink(missing_ok=True)
    process = _SPAWN.Process(target=_child, args=(job, config, last, after, str(told)))
    process.start()
    process.join()
    return process.exitcode or 0, json.loads(told.read_text()) if told.exists() else {}


def _child(job: str, config: Config, last: int, after: bool, told: str) -> None:
    torch.set_num_threads(1)
    steps = Steps(last, after=after)
    patch = pytest.MonkeyPatch()
    do_folds_here(patch)
    patch.setattr(Path, "replace", steps.around(Path.replace))
    patch.setattr(HerePool, "poll", steps.around(HerePool.poll))
    for name in _CALLS:
        patch.setattr(MlflowClient, name, steps.around(getattr(MlflowClient, name)))
    console = Console(file=StringIO(), width=120)
    said: dict[str, Any] = {}
    try:
        result = JOBS[job](config, resume=None, console=console)
        said["result"] = numbers(result)
    except Exception as error:  # a test tells what
        said["error"] = f"{type(error).__name__}: {error}"
    # Here, since a process goes on reading an SQLite file that was deleted.
    said["logged"] = logged(Path(config.storage.runs) / "mlflow.db")
    said |= {"steps": steps.count, "printed": console.file.getvalue()}  # type: ignore[attr-defined]
    Path(told).write_text(as_json(said))


def logged(database: Path) -> dict[str, Any]:
    """What MLflow holds of a command: its runs by what they are, without ids and times."""
    client = MlflowClient(tracking_uri=f"sqlite:///{database}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    by_id = {run.info.run_id: run for run in runs}
    named = {_name(run, by_id): _content(client, run) for run in runs}
    assert len(named) == len(runs), "a run is there twice"
    return named


def _name(run: Run, by_id: dict[str, Run]) -> str:
    tags = run.data.tags
    own = "/".join(tags.get(f"raysys.{one}", "") for one in ("kind", "trial", "seed", "fold"))
    parent = by_id.get(tags.get("mlflow.parentRunId", ""))
    return f"{_name(parent, by_id)} > {own}" if parent else own


def _content(client: MlflowClient, run: Run) -> dict[str, Any]:
    run_id = run.info.run_id
    points = {}
    for key in sorted(run.data.metrics):
        history = client.get_metric_history(run_id, key)
        points[key] = sorted((point.step, point.value) for point in history)
    inputs = sorted(
        (one.dataset.name, one.dataset.digest, one.tags[0].value)
        for one in run.inputs.dataset_inputs
    )
    return {
        "status": run.info.status,
        "params": dict(run.data.params),
        "points": {
            k: v
            for k, v in points.items()
            if "seconds" not in k and not k.startswith(("usage", "time"))
        },
        "inputs": inputs,
        "artifacts": sorted(_files(client, run_id, "")),
        "tags": {k: v for k, v in run.data.tags.items() if k.startswith("raysys.")},
    }


def _files(client: MlflowClient, run_id: str, path: str) -> list[str]:
    found = []
    for one in client.list_artifacts(run_id, path or None):
        found += _files(client, run_id, one.path) if one.is_dir else [one.path]
    return found
