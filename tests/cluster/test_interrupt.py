"""Ctrl-C and kills of the whole command, as a user does them: with processes and signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
corpus: {name: demo, demo: {utterances: 150}}
features: {logmel: {n_mels: 16}, hashed: {dim: 16}}
folds: {method: leave_one_group_out, groups: session}
model: {cltnet: {channels: 8, text_dim: 8, dim: 8, layers: 1, heads: 2}}
training: {max_epochs: 60, patience: 60, batch_size: 16}
similarity: {resamples: 50}
"""


def command(preset: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "jobs.cross_validate", str(preset), *flags]


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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The numbers of a run that nobody interrupts."""
    home = tmp_path_factory.mktemp("undisturbed")
    (home / "small.yaml").write_text(SETTINGS)
    done = subprocess.run(
        command(home / "small.yaml"),
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return numbers(home)


def numbers(home: Path) -> dict:
    """The result in a home, without seconds and ids."""
    result = json.loads((home / "runs" / "small" / "result.json").read_text())
    return {key: value for key, value in result.items() if key not in ("seconds", "mlflow")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["ctrl-c", "kill", "kill -9"]
)
def test_an_interrupted_run_is_marked_cleaned_up_and_resumed_to_identical_numbers(
    tmp_path: Path, sent: signal.Signals, undisturbed: dict
):
    preset = tmp_path / "small.yaml"
    preset.write_text(SETTINGS)
    home = tmp_path / "home"
    output = (tmp_path / "output").open("w+")
    process = subprocess.Popen(
        command(preset), env=environment(home), stdout=output, stderr=output, start_new_session=True
    )
    folds = home / "runs" / "small"
    started = wait_for(lambda: list(folds.glob("fold_*/checkpoint.safetensors")), 300)
    time.sleep(0.5)
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # a terminal's Ctrl-C reaches the whole process group
    else:
        process.send_signal(sent)
        process.send_signal(sent)  # as timeout(1) does
    status = process.wait(timeout=300)
    output.seek(0)
    printed = output.read()
    assert started, printed
    assert not (folds / "result.json").exists()
    # After kill -9 nobody is left to end Ray; its processes notice by and by.
    assert wait_for(lambda: not ray_processes(home), 300), ray_processes(home)

    record = json.loads((folds / "run.json").read_text())
    client = MlflowClient(f"sqlite:///{home}/runs/mlflow.db")
    if sent != signal.SIGKILL:
        assert status == 130
        assert "--resume finishes a run" in printed
        assert "Traceback" not in printed
        assert record["status"] == client.get_run(record["run_id"]).info.status == "KILLED"

    resumed = subprocess.run(
        command(preset, "--resume"),
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert numbers(home) == undisturbed
    run = client.get_run(record["run_id"])
    assert run.info.status == "FINISHED"
    curve = client.get_metric_history(record["run_id"], "fold_0/val/ua")
    assert sorted(point.step for point in curve) == list(range(1, 61))
    assert not ray_processes(home)
