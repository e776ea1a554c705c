"""Commands whose runs and features are on object storage: killed, refused while the claim lasts, resumed, the same."""

import json
import signal
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient

from raysys.encoders import FeaturesConfig, prepare_features
from raysys.encoders.hashed import HashedConfig
from raysys.experiments.ablate import ablate
from raysys.storage import Folder
from tests.cluster.conftest import run
from tests.cluster.gate import Gate, let_go, process_at
from tests.cluster.test_ablate import run as run_here
from tests.cluster.test_extraction import corpus_of_texts, files_of, workers
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
ABLATION = """
ablation:
  variants:
    both: {}
    text: {settings: {model.modalities: [text]}}
"""


def on_s3(home: Path, tmp_path: Path) -> list[str]:
    places = [f"--storage.{name} s3://raysys/{tmp_path.name}/{name}" for name in ("runs", "cache")]
    return [*" ".join(places).split(), "--tracking.uri", f"sqlite:///{home}/mlflow.db"]


def finish(command: Command, flags: list[str], s3: Mapping[str, str]) -> str:
    process = command.start(*flags, more=s3, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    printed, _ = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == 0, printed
    return printed


def start_and_kill(
    command: Command, flags: list[str], s3: Mapping[str, str], *, trial: str, fold: int
) -> None:
    """Kill the command while a fold is in its second epoch."""
    point = command.gate.hold(trial, fold, 2)
    process = command.start(*flags, more=s3, start_new_session=True)
    process_at(point, lambda: process.poll() is None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    let_go(point)


def finish_once_free(command: Command, flags: list[str], s3: Mapping[str, str]) -> None:
    """Again while it is refused: the claim of a killed command lasts a minute more."""
    while True:
        process = command.start(*flags, more=s3, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        printed, _ = process.communicate(timeout=HANGS_SECONDS)
        if process.returncode == 0:
            return
        assert "is writing to s3://raysys/" in printed, printed


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
    command = Command("jobs.cross_validate", preset, home, cache_root, Gate(tmp_path / "gate"))
    flags = on_s3(home, tmp_path)
    start_and_kill(command, flags, s3, trial="small", fold=1)
    finish_once_free(command, [*flags, "--resume"], s3)
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


def test_a_killed_ablation_is_resumed_there_to_the_same_table(
    pool: None,
    own_pool: None,
    cache_root: Path,
    tmp_path: Path,
    s3: Mapping[str, str],
    bucket: str,
):
    preset = tmp_path / "small.yaml"
    preset.write_text(SETTINGS + ABLATION)
    home = tmp_path / "home"
    home.mkdir()
    command = Command("jobs.ablate", preset, home, cache_root, Gate(tmp_path / "gate"))
    flags = on_s3(home, tmp_path)
    start_and_kill(command, flags, s3, trial="text", fold=4)
    folder = Folder(bucket) / tmp_path.name / "runs" / "small"
    assert not folder.exists("result.json")
    finish_once_free(command, [*flags, "--resume"], s3)
    found = folder.read_json("result.json")
    alone = run_here(ablate, undisturbed(preset, tmp_path / "plain", cache_root))
    assert found["variants"] == alone["variants"]


def test_features_that_workers_write_there_are_those_of_a_local_disk(
    own_pool: None, tmp_path: Path, bucket: str
):
    corpus, features = corpus_of_texts(tmp_path, 2500), FeaturesConfig(hashed=HashedConfig(dim=8))
    there, here = Folder(bucket) / tmp_path.name, Folder(str(tmp_path))
    prepare_features(corpus, features, ["text"], cache=there, through=partial(workers, features))
    prepare_features(corpus, features, ["text"], cache=here)
    expected = files_of(tmp_path)
    (store,) = ((there / "features") / name for name in (there / "features").names())
    assert {name: store.read_bytes(name) for name in store.names()} == expected
