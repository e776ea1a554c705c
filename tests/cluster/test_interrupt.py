"""Ctrl-C and kills of the whole command, as a user does them: with processes and signals.

The command is interrupted while a fold waits at a gate in the middle of its training.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from raysys.commandline import parse
from raysys.config import Config
from tests.cluster.conftest import fold_curve, run
from tests.cluster.gate import Gate, let_go, process_at
from tests.conftest import CLUSTER

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
HANGS_SECONDS = 1200
"""Far more than a loaded machine needs."""


def settings(home: Path, cache: Path) -> list[str]:
    """Flags that decide what a run is resumed by, here and in a process of its own."""
    storage = ["--storage.runs", str(home / "runs"), "--storage.cache", str(cache)]
    return [*storage, "--cluster.workers", str(CLUSTER.workers)]


@dataclass(frozen=True)
class Command:
    """A job in a home of its own, whose folds pass by a gate; what it reads is in a cache that all share."""

    job: str
    preset: Path
    home: Path
    cache: Path
    gate: Gate

    def start(
        self,
        *flags: str,
        more: Mapping[str, str] | None = None,
        enter: Sequence[str] = (),
        **options: Any,
    ) -> subprocess.Popen:
        """Begin it, with more in its environment, or behind a command that enters another place."""
        program = [*enter, sys.executable, "-m", "tests.cluster.gate", str(self.gate.folder)]
        arguments = [self.job, str(self.preset), *settings(self.home, self.cache), *flags]
        environment = {"RAYSYS_HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [*program, *arguments],
            env={**os.environ, **environment, **(more or {}), "PYTHONUNBUFFERED": "1"},
            text=True,
            **options,
        )

    def finish(self, *flags: str) -> None:
        """Run it to its end."""
        process = self.start(*flags, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        printed, _ = process.communicate(timeout=HANGS_SECONDS)
        assert process.returncode == 0, printed


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


def wait_for(condition: Callable[[], bool], *, pause_seconds: float = 0.1) -> None:
    """Until it holds; a command that hangs is a failure."""
    deadline = time.monotonic() + HANGS_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(pause_seconds)


def undisturbed(preset: Path, home: Path, cache: Path) -> Config:
    """What the preset says, for a command that runs here, over the pool of all tests."""
    config, _ = parse([str(preset), *settings(home, cache)], program="test")
    assert config.cluster == CLUSTER
    return config


@pytest.fixture(scope="module")
def expected(pool: None, cache_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The numbers of a run that nobody interrupts."""
    home = tmp_path_factory.mktemp("undisturbed")
    (home / "small.yaml").write_text(SETTINGS)
    run(undisturbed(home / "small.yaml", home, cache_root))
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
    tmp_path: Path, cache_root: Path, sent: signal.Signals, expected: dict
):
    preset, home, gate = tmp_path / "small.yaml", tmp_path / "home", Gate(tmp_path / "gate")
    preset.write_text(SETTINGS)
    point = gate.hold("small", 0, 4)
    output = (tmp_path / "output").open("w+")
    command = Command("jobs.cross_validate", preset, home, cache_root, gate)
    process = command.start(stdout=output, stderr=output, start_new_session=True)
    process_at(point, lambda: process.poll() is None)
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # a terminal's Ctrl-C reaches the whole process group
    else:
        process.send_signal(sent)
        process.send_signal(sent)  # as timeout(1) does
    status = process.wait(timeout=HANGS_SECONDS)
    let_go(point)
    output.seek(0)
    printed = output.read()
    folds = home / "runs" / "small"
    assert not (folds / "result.json").exists()
    # After kill -9 nobody is left to end Ray; its processes notice by and by.
    wait_for(lambda: not ray_processes(home))

    record = json.loads((folds / "run.json").read_text())
    client = MlflowClient(f"sqlite:///{home}/runs/mlflow.db")
    if sent != signal.SIGKILL:
        assert status == 130
        assert "--resume finishes a run" in printed
        assert "Traceback" not in printed
        assert record["status"] == client.get_run(record["run_id"]).info.status == "KILLED"

    run(undisturbed(preset, home, cache_root), resume=True)
    assert numbers(home) == expected
    logged = client.get_run(record["run_id"])
    assert logged.info.status == "FINISHED"
    curve = fold_curve(client, record["run_id"], 0, "val/ua")
    assert sorted(curve) == list(range(1, 9))
    seconds = json.loads((folds / "result.json").read_text())["seconds"]
    assert seconds["efficiency"] <= 1  # epochs of the first command do not count
    assert seconds["overhead"] >= 0
