"""Commands whose runs and features are on object storage: killed, refused while the claim lasts, resumed, the same."""

import json
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from mlflow import MlflowClient

from raysys.storage import Folder
from tests.cluster.conftest import run
from tests.cluster.gate import Gate, let_go, process_at
from tests.cluster.test_interrupt import HANGS_SECONDS, SETTINGS, Command, undisturbed
from tests.cluster.test_nodes import numbers

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

STUDY = """
loss: {omega: 0.5}
search:
  num_trials: 2
  rounds: 2
  confirm_seeds: 0
  scheduler: none
  space: {loss.mu1: {low: 0.0, high: 0.5}}
"""


def on_s3(home: Path, tmp_path: Path) -> list[str]:
    places = [f"--storage.{name} s3://raysys/{tmp_path.name}/{name}" for name in ("runs", "cache")]
    return [*" ".join(places).split(), "--tracking.uri", f"sqlite:///{home}/mlflow.db"]


def finish(command: Command, flags: list[str], s3: Mapping[str, str]) -> str:
    process = command.start(*flags, more=s3, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    printed, _ = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == 0, printed
    return printed


def test_a_killed_run_is_resumed_there_to_the_same_numbers_once_its_claim_has_ended(
    pool: None,
    own_pool: None,
    cache_root: Path,
    tmp_path: Path,
    s3: Mapping[str, str],
    bucket: str,
):
    preset = tmp_path / "small.yaml"
    preset.write_text(SETTINGS)
    home = tmp_path / "home"
    home.mkdir()
    gate = Gate(tmp_path / "gate")
    command = Command("jobs.cross_validate", preset, home, cache_root, gate)
    flags = on_s3(home, tmp_path)
    point = gate.hold("small", 1, 2)
    process = command.start(*flags, more=s3, start_new_session=True)
    process_at(point, lambda: process.poll() is None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    let_go(point)
    refused = command.start(
        *flags, "--resume", more=s3, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    printed, _ = refused.communicate(timeout=HANGS_SECONDS)
    if refused.returncode:  # a slow machine may need longer to start than the claim lasts
        assert "is writing to s3://raysys/" in printed
        while refused.returncode:
            refused = command.start(
                *flags, "--resume", more=s3, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            printed, _ = refused.communicate(timeout=HANGS_SECONDS)
            assert refused.returncode == 0 or "is writing to" in printed, printed
    folder = Folder(bucket) / tmp_path.name / "runs"
    assert folder.names() == ["small"]
    found = (folder / "small").read_json("result.json")
    plain = tmp_path / "plain"
    run(undisturbed(preset, plain, cache_root))
    ours = {k: v for k, v in found.items() if k not in ("seconds", "mlflow")}
    assert json.dumps(ours) == numbers(plain)
    status = MlflowClient(f"sqlite:///{home}/mlflow.db").get_run(found["mlflow"]["run_id"])
    assert status.info.status == "FINISHED"


def test_a_study_in_rounds_feeds_its_matrices_back_from_there(
    own_pool: None, cache_root: Path, tmp_path: Path, s3: Mapping[str, str], bucket: str
):
    preset = tmp_path / "study.yaml"
    preset.write_text(SETTINGS + STUDY)
    home = tmp_path / "home"
    home.mkdir()
    command = Command("jobs.tune", preset, home, cache_root, Gate(tmp_path / "gate"))
    printed = finish(command, on_s3(home, tmp_path), s3)
    assert "round 2" in printed
    found = (Folder(bucket) / tmp_path.name / "runs" / "study").read_json("result.json")
    assert found["kind"] == "study"
