"""Ctrl-C and kills of the whole command, as a user does them: with processes and signals.

The command is interrupted while a fold waits at a gate in the middle of its training.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.cluster.gate import Gate, let_go, process_at

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
corpus: {name: demo, demo: {utterances: 150}}
features: {logmel: {n_mels: 16}, hashed: {dim: 16}}
folds: {method: leave_one_group_out, groups: session}
model: {cltnet: {channels: 8, text_dim: 8, dim: 8, layers: 1, heads: 2}}
training: {max_epochs: 8, patience: 8, batch_size: 16}
similarity: {resamples: 50}
"""


def command(gate: Gate, job: str, preset: Path, *flags: str) -> list[str]:
    """A job whose folds pass by a gate."""
    program = [sys.executable, "-m", "tests.cluster.gate", str(gate.folder)]
    return [*program, job, str(preset), *flags]


def environment(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "RAYSYS_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


def ray_processes(home: Path) -> list[str]:
    """Command lines of processes that were started with this home."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if f"RAYSYS_HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def wait_for(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def finish(gate: Gate, job: str, preset: Path, home: Path, *flags: str) -> None:
    """Run a job to its end."""
    done = subprocess.run(
        command(gate, job, preset, *flags),
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The numbers of a run that nobody interrupts."""
    home = tmp_path_factory.mktemp("undisturbed")
    (home / "small.yaml").write_text(SETTINGS)
    finish(Gate(home / "gate"), "jobs.cross_validate", home / "small.yaml", home)
    return numbers(home)


def numbers(home: Path) -> dict:
    """The result in a home, without seconds and ids."""
    result = json.loads((home / "runs" / "small" / "result.json").read_text())
    return {key: value for key, value in result.items() if key not in ("seconds", "mlflow")}


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(signal.SIGINT, id="ctrl-c"),
        pytest.param(signal.SIGTERM, id="kill", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, id="kill -9", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_is_marked_cleaned_up_and_resumed_to_identical_numbers(
    tmp_path: Path, sent: signal.Signals, undisturbed: dict
):
    preset, home, gate = tmp_path / "small.yaml", tmp_path / "home", Gate(tmp_path / "gate")
    preset.write_text(SETTINGS)
    point = gate.hold("small", 0, 4)
    output = (tmp_path / "output").open("w+")
    process = subprocess.Popen(
        command(gate, "jobs.cross_validate", preset),
        env=environment(home),
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    process_at(point, lambda: process.poll() is None)
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # a terminal's Ctrl-C reaches the whole process group
    else:
        process.send_signal(sent)
        process.send_signal(sent)  # as timeout(1) does
    status = process.wait(timeout=900)
    let_go(point)
    output.seek(0)
    printed = output.read()
    folds = home / "runs" / "small"
    assert not (folds / "result.json").exists()
    # After kill -9 nobody is left to end Ray; its processes notice by and by.
    assert wait_for(lambda: not ray_processes(home), 900), ray_processes(home)

    record = json.loads((folds / "run.json").read_text())
    client = MlflowClient(f"sqlite:///{home}/runs/mlflow.db")
    if sent != signal.SIGKILL:
        assert status == 130
        assert "--resume finishes a run" in printed
        assert "Traceback" not in printed
        assert record["status"] == client.get_run(record["run_id"]).info.status == "KILLED"

    finish(gate, "jobs.cross_validate", preset, home, "--resume")
    assert numbers(home) == undisturbed
    run = client.get_run(record["run_id"])
    assert run.info.status == "FINISHED"
    curve = client.get_metric_history(record["run_id"], "fold_0/val/ua")
    assert sorted(point.step for point in curve) == list(range(1, 9))
    assert not ray_processes(home)
    seconds = json.loads((folds / "result.json").read_text())["seconds"]
    assert seconds["efficiency"] <= 1  # epochs of the first command do not count
    assert seconds["overhead"] >= 0
