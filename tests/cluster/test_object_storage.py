"""Commands whose runs and features are on object storage: ended, refused while a claim lasts, resumed, the same."""

import signal
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from raysys.commands.ablate import ablate
from raysys.encoders import FeaturesConfig, prepare_features
from raysys.encoders.hashed import HashedConfig
from raysys.errors import StorageError
from raysys.storage import Folder
from tests.cluster.command import SETTINGS, Command, undisturbed, wait_for
from tests.cluster.gate import HANGS_SECONDS, Gate, let_go, process_at
from tests.cluster.test_ablate import run as run_here
from tests.cluster.test_extraction import corpus_of_texts, files_of, workers
from tests.conftest import StandingPool
from tests.here import without_cost

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.proof("storage", "object_storage", "running", "commands"),
]

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


def start_and_end(
    command: Command,
    flags: list[str],
    s3: Mapping[str, str],
    *,
    at: tuple[str, int],
    sent: signal.Signals,
) -> None:
    """End the command by a signal while a fold of a trial is in its second epoch."""
    point = command.gate.hold(*at, 2)
    process = command.start(*flags, more=s3, start_new_session=True)
    process_at(point, lambda: process.poll() is None)
    process.send_signal(sent)
    process.wait()
    let_go(point)


def finish_once_free(
    command: Command, flags: list[str], s3: Mapping[str, str], folder: Folder
) -> None:
    """Again when it was refused: the claim of a killed command lasts a minute more."""
    while True:
        process = command.start(*flags, more=s3, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        printed, _ = process.communicate(timeout=HANGS_SECONDS)
        if process.returncode == 0:
            return
        assert "is writing to s3://raysys/" in printed, printed
        wait_for(lambda: is_free(folder), pause_seconds=1)


def is_free(folder: Folder) -> bool:
    """Whether a command could have it."""
    try:
        with folder.held():
            return True
    except StorageError:
        return False


def test_a_killed_run_is_resumed_there_to_the_same_numbers_once_its_claim_has_ended(
    expected: dict[str, Any],
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
    start_and_end(command, flags, s3, at=("small", 1), sent=signal.SIGKILL)
    folder = Folder(bucket) / tmp_path.name / "runs"
    finish_once_free(command, [*flags, "--resume"], s3, folder / "small")
    assert folder.names() == ["small"]
    found = (folder / "small").read_json("result.json")
    assert {
        k: v for k, v in found.items() if k not in ("seconds", "mlflow", "sha256", "cost")
    } == expected
    status = MlflowClient(f"sqlite:///{home}/mlflow.db").get_run(found["mlflow"]["run_id"])
    assert status.info.status == "FINISHED"


def test_an_ablation_that_is_ended_there_is_resumed_to_the_table_of_a_local_disk(
    standing: StandingPool, cache_root: Path, tmp_path: Path, s3: Mapping[str, str], bucket: str
):
    preset = tmp_path / "small.yaml"
    preset.write_text(SETTINGS + ABLATION)
    home = tmp_path / "home"
    home.mkdir()
    command = Command("jobs.ablate", preset, home, cache_root, Gate(tmp_path / "gate"))
    flags = on_s3(home, tmp_path)
    start_and_end(command, flags, s3, at=("text", 4), sent=signal.SIGTERM)
    folder = Folder(bucket) / tmp_path.name / "runs" / "small"
    assert not folder.exists("result.json")
    finish(command, [*flags, "--resume"], s3)
    found = folder.read_json("result.json")
    standing.open()
    alone = run_here(ablate, undisturbed(preset, tmp_path / "plain", cache_root))
    standing.close()
    assert without_cost(found["variants"]) == without_cost(alone["variants"])


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
