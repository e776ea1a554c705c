"""Kills of a study at random moments, and what --resume makes of it."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.cluster.test_interrupt import SETTINGS, environment, ray_processes, wait_for

pytestmark = pytest.mark.cluster

STUDY = """
balance: {method: pdds}
search:
  num_trials: 5
  concurrency: 1
  grace_epochs: 5
  space:
    loss.mu1: {low: 0.0, high: 0.9}
    loss.mu2: {low: 0.0, high: 0.9}
    balance.sigma: {low: 0.3, high: 0.6}
    balance.p: {low: 0.5, high: 0.9}
"""


def command(preset: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "jobs.tune", str(preset), *flags]


def write_preset(folder: Path) -> Path:
    shorter = SETTINGS.replace("max_epochs: 60, patience: 60", "max_epochs: 15, patience: 15")
    assert shorter != SETTINGS
    preset = folder / "study.yaml"
    preset.write_text(shorter + STUDY)
    return preset


def run(preset: Path, home: Path, *flags: str) -> None:
    done = subprocess.run(
        command(preset, *flags), env=environment(home), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr


def numbers(home: Path) -> dict[str, Any]:
    """What must repeat: everything but times, ids, and epochs that a stopped fold did while it was told."""
    result = json.loads((home / "runs" / "study" / "result.json").read_text())
    trials = [{k: v for k, v in trial.items() if k != "epochs"} for trial in result["trials"]]
    kept = ("chosen", "test", "nested", "nested_choice", "untuned", "difference", "rounds")
    return {"trials": trials, **{key: result[key] for key in kept}}


def written(home: Path) -> set[tuple[Path, int]]:
    """Checkpoints and weights of a study so far, with the times they were written at."""
    found = set()
    for path in home.glob("runs/study/trials/*/fold_*/*.safetensors"):
        with contextlib.suppress(FileNotFoundError):  # a finished fold removes its checkpoint
            found.add((path, path.stat().st_mtime_ns))
    return found


def kill_all(home: Path) -> None:
    """SIGKILL to Ray's processes of this home, each by its id."""
    for process in Path("/proc").iterdir():
        try:
            if f"RAYSYS_HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
        except (OSError, ValueError):
            continue


@pytest.mark.slow
def test_a_study_that_is_killed_three_times_ends_like_an_undisturbed_one(tmp_path: Path):
    preset = write_preset(tmp_path)
    run(preset, tmp_path / "undisturbed")
    home, flags, moments = tmp_path / "home", [], []
    output = (tmp_path / "output").open("w+")
    for _ in range(3):
        process = subprocess.Popen(
            command(preset, *flags), env=environment(home), stdout=output, stderr=output
        )
        before = written(home)
        began = wait_for(lambda seen=before: written(home) - seen, 300)
        moments.append(random.uniform(0.0, 3.0))
        time.sleep(moments[-1])
        process.kill()
        process.wait()
        output.seek(0)
        assert began, output.read()
        kill_all(home)  # the whole Ray dies with it
        assert wait_for(lambda: not ray_processes(home), 300), ray_processes(home)
        assert not (home / "runs" / "study" / "result.json").exists(), moments
        flags = ["--resume"]
    run(preset, home, "--resume")
    assert numbers(home) == numbers(tmp_path / "undisturbed"), moments

    result = json.loads((home / "runs" / "study" / "result.json").read_text())
    client = MlflowClient(f"sqlite:///{home}/runs/mlflow.db")
    parent = f"tags.`mlflow.parentRunId` = '{result['mlflow']['run_id']}'"
    runs = client.search_runs([result["mlflow"]["experiment_id"]], parent)
    assert sorted(r.data.tags["raysys.trial"] for r in runs) == [
        trial["name"] for trial in result["trials"]
    ]
    states = {trial["name"]: trial for trial in result["trials"]}
    for logged in runs:
        trial = states[logged.data.tags["raysys.trial"]]
        assert logged.data.tags["raysys.state"] == trial["state"].lower()
        steps = [p.step for p in client.get_metric_history(logged.info.run_id, "val/ua")]
        last = trial["curve"][-1]["epoch"]
        complete = trial["state"] == "COMPLETE"
        assert sorted(steps) == list(range(1, last + 1 + complete))
        assert logged.data.metrics["best_val/ua"] == pytest.approx(trial["scores"]["ua"])
    parents = client.search_runs(
        [result["mlflow"]["experiment_id"]], "tags.`raysys.kind` = 'study'"
    )
    assert len(parents) == 1
