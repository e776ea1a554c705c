"""Ctrl-C and SIGTERM to the whole command, as users and schedulers do it: with processes and signals.

The command is interrupted while a fold waits at a gate in the middle of its training.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.cluster.command import (
    SETTINGS,
    Command,
    numbers,
    processes_of,
    undisturbed,
    wait_for,
)
from tests.cluster.conftest import fold_curve, run
from tests.cluster.gate import HANGS_SECONDS, Gate, let_go, process_at

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.usefixtures("pool"),
    pytest.mark.proof("background", "cluster", "commandline", "running", "commands", "tracking"),
]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(signal.SIGINT, id="ctrl-c"),
        pytest.param(signal.SIGTERM, id="kill"),
    ],
)
def test_an_interrupted_run_is_marked_cleaned_up_and_resumed_to_identical_numbers(
    tmp_path: Path, cache_root: Path, sent: signal.Signals, expected: dict[str, Any]
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
    wait_for(lambda: not processes_of(home))

    record = json.loads((folds / "run.json").read_text())
    client = MlflowClient(f"sqlite:///{home}/runs/mlflow.db")
    assert status == 130
    assert "with --resume finishes it" in printed
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
