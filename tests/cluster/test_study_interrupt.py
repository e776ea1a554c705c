"""Kills of a study in the middle of its folds, and what --resume makes of it."""

import json
import os
import signal
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from rich.console import Console

from raysys.commands.tune import tune
from tests.cluster.command import SETTINGS, Command, processes_of, undisturbed, wait_for
from tests.cluster.gate import Gate, let_go, process_at

pytestmark = pytest.mark.cluster

STUDY = """
balance: {method: pdds}
search:
  objectives: [loss]
  num_trials: 5
  concurrency: 1
  grace_epochs: 3
  confirm_seeds: 1
  space:
    loss.mu1: {low: 0.0, high: 0.9}
    loss.mu2: {low: 0.0, high: 0.9}
    balance.sigma: {low: 0.3, high: 0.6}
    balance.p: {low: 0.5, high: 0.9}
    training.learning_rate: {choices: [0.003, 0.004]}
"""
"""The untuned configuration learns nothing, so there is a choice to confirm."""


def write_preset(folder: Path) -> Path:
    preset = folder / "study.yaml"
    slow = SETTINGS.replace("batch_size: 16", "batch_size: 16, learning_rate: 1.0e-9")
    preset.write_text(slow + STUDY)
    return preset


def numbers(home: Path) -> dict[str, Any]:
    """What must repeat: everything but times, ids, and epochs that a stopped fold did while it was told."""
    result = json.loads((home / "runs" / "study" / "result.json").read_text())
    trials = [{k: v for k, v in trial.items() if k != "epochs"} for trial in result["trials"]]
    kept = (
        "chosen",
        "test",
        "by_fold",
        "by_fold_choice",
        "untuned",
        "difference",
        "confirmed",
        "rounds",
    )
    return {"trials": trials, **{key: result[key] for key in kept}}


def kill_all(home: Path) -> None:
    """SIGKILL to Ray's processes of this home, each by its id."""
    for process in processes_of(home):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


@pytest.mark.proof("search", "running", "commands", "trials", "tracking")
def test_a_study_that_is_killed_three_times_ends_like_an_undisturbed_one(
    pool: None, tmp_path: Path, cache_root: Path
):
    preset, gate, home = write_preset(tmp_path), Gate(tmp_path / "gate"), tmp_path / "home"
    config = undisturbed(preset, tmp_path / "undisturbed", cache_root)
    tune(config, resume=False, console=Console(file=StringIO()))
    command, flags = Command("jobs.tune", preset, home, cache_root, gate), list[str]()
    output = (tmp_path / "output").open("w+")
    chosen = numbers(tmp_path / "undisturbed")["chosen"]["name"]
    # Where a fold waits when the command and all of Ray are killed.
    moments = [("untuned", 1, 3), ("trial_001", 0, 2), (f"{chosen}-confirmed", 2, 2)]
    for moment in moments:
        point = gate.hold(*moment)
        process = command.start(*flags, stdout=output, stderr=output)
        process_at(point, lambda: process.poll() is None)  # noqa: B023
        process.kill()
        process.wait()
        kill_all(home)  # the whole Ray dies with it
        let_go(point)
        wait_for(lambda: not processes_of(home))
        assert not (home / "runs" / "study" / "result.json").exists()
        flags = ["--resume"]
    finished = undisturbed(preset, home, cache_root)
    tune(finished, resume=True, console=Console(file=StringIO()))
    assert numbers(home) == numbers(tmp_path / "undisturbed")

    result = json.loads((home / "runs" / "study" / "result.json").read_text())
    client = MlflowClient(f"sqlite:///{home}/runs/mlflow.db")
    parent = f"tags.`mlflow.parentRunId` = '{result['mlflow']['run_id']}'"
    runs = client.search_runs([result["mlflow"]["experiment_id"]], parent)
    names = [trial["name"] for trial in result["trials"]]
    again = [f"{chosen}-confirmed", "untuned-confirmed"]
    assert sorted(r.data.tags["raysys.trial"] for r in runs) == sorted([*names, "untuned", *again])
    states = {trial["name"]: trial for trial in result["trials"]}
    for logged in runs:
        if logged.data.tags["raysys.trial"] not in names:
            continue
        trial = states[logged.data.tags["raysys.trial"]]
        assert logged.data.tags["raysys.state"] == trial["state"].lower()
        steps = [p.step for p in client.get_metric_history(logged.info.run_id, "val/loss")]
        last = trial["curve"][-1]["epoch"]
        complete = trial["state"] == "COMPLETE"
        assert sorted(steps) == list(range(1, last + 1 + complete))
        assert logged.data.metrics["val_best/loss"] == pytest.approx(trial["scores"]["loss"])
    parents = client.search_runs(
        [result["mlflow"]["experiment_id"]], "tags.`raysys.kind` = 'study'"
    )
    assert len(parents) == 1
