"""A whole cross-validation on a real Ray and a real MLflow: what is left behind, and that nothing can disturb it."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import raysys.cluster.cross_validate as driver
from mlflow import MlflowClient
from rich.console import Console

from raysys.config import Config
from raysys.corpus.folds import FoldsConfig
from raysys.errors import FoldFailedError, StorageError
from raysys.experiments.plan import make_plan
from raysys.storage import Folder
from tests.conftest import with_training

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_cluster")]


_EPOCHS = 60


def run(config: Config, *, resume: bool = False) -> dict[str, Any]:
    console = Console(file=StringIO(), width=100)
    result = driver.cross_validate(config, resume=resume, console=console)
    result["printed"] = console.file.getvalue()
    return result


def numbers(result: dict[str, Any]) -> str:
    """Everything of a result but seconds, ids and what was printed."""
    return json.dumps(
        {k: v for k, v in result.items() if k not in ("seconds", "mlflow", "printed")}
    )


def folder_of(config: Config, name: str = "small") -> Path:
    return Path(config.storage.runs) / name


@dataclass(frozen=True)
class Reference:
    """An undisturbed run of the small config, done once."""

    config: Config
    result: dict[str, Any]


@pytest.fixture(scope="module")
def reference(small_config: Callable[[Path], Config], tmp_path_factory: Any) -> Reference:
    config = small_config(tmp_path_factory.mktemp("reference"))
    return Reference(config, run(config))


def test_a_run_leaves_result_files_and_an_mlflow_run(reference: Reference):
    small, result = reference.config, reference.result
    folder = folder_of(small)
    stored = json.loads((folder / "result.json").read_text())
    assert numbers(stored) == numbers(result)
    assert [fold["fold"] for fold in stored["folds"]] == [0, 1, 2, 3, 4]
    assert json.loads((folder / "run.json").read_text())["status"] == "FINISHED"
    assert len(json.loads((folder / "folds.json").read_text())) == 5
    assert not (folder / ".pool").exists()
    assert "class similarity" in result["printed"]

    client = MlflowClient(f"sqlite:///{small.storage.runs}/mlflow.db")
    logged = client.get_run(stored["mlflow"]["run_id"])
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["test/ua"] == pytest.approx(stored["mean"]["test"]["ua"])
    assert logged.data.params["training.batch_size"] == "16"
    assert logged.inputs.dataset_inputs[0].dataset.name == "demo"
    curve = client.get_metric_history(logged.info.run_id, "val/ua")
    assert [point.step for point in curve] == [1, 2, 3, 4]
    per_fold = [
        client.get_metric_history(logged.info.run_id, f"fold_{k}/val/ua")[2].value for k in range(5)
    ]
    assert curve[2].value == pytest.approx(np.mean(per_fold))
    files = {
        f.path
        for d in ("", "similarity", "confusion", "folds/fold_3")
        for f in client.list_artifacts(logged.info.run_id, d)
    }
    assert {
        "config.json", "folds.json", "audit.json", "result.json", "similarity/average.json", "similarity/average.npy",
        "similarity/heat_map.png", "similarity/dendrogram.png", "confusion/test.png",
        "folds/fold_3/weights.safetensors",
    } <= files  # fmt: skip


def test_the_average_is_what_ten_lines_of_numpy_say(reference: Reference):
    small, result = reference.config, reference.result
    matrices = []
    for fold in range(5):
        vectors = np.load(folder_of(small) / f"fold_{fold}" / "test_embeddings.npy").astype(float)
        labels = np.load(folder_of(small) / f"fold_{fold}" / "test_labels.npy")
        means = np.full((6, vectors.shape[1]), np.nan)
        for k in set(labels):
            means[k] = vectors[labels == k].mean(axis=0)
        unit = means / np.linalg.norm(means, axis=1, keepdims=True)
        matrices.append(unit @ unit.T)
    average = np.array(result["similarity"]["average"], dtype=float)
    np.testing.assert_allclose(average, np.nanmean(matrices, axis=0), atol=1e-6)


def test_a_second_run_with_one_seed_is_identical_in_a_folder_of_its_own(reference: Reference):
    second = run(reference.config)
    assert numbers(second) == numbers(reference.result)
    assert second["mlflow"]["run_id"] != reference.result["mlflow"]["run_id"]
    assert (folder_of(reference.config, "small-2") / "result.json").exists()


def test_resuming_a_finished_run_shows_it_and_another_seed_has_nothing_to_resume(
    reference: Reference,
):
    shown = run(reference.config, resume=True)
    assert numbers(shown) == numbers(reference.result)
    with pytest.raises(StorageError, match="nothing to resume"):
        run(replace(reference.config, seed=5), resume=True)


def test_the_averaged_matrix_of_a_run_feeds_the_next_runs_loss(reference: Reference):
    source = f"mlflow:{reference.result['mlflow']['run_id']}"
    loss = replace(reference.config.loss, omega=0.5, similarity=source)
    fed = run(replace(reference.config, name="fed", loss=loss))
    assert numbers(fed) != numbers(reference.result)
    plan = make_plan(replace(reference.config, loss=loss))
    per_fold = np.array(reference.result["similarity"]["per_fold"], dtype=float)
    folder = Folder("/tmp")
    for task in plan.tasks("t", folder):
        # S rests on test parts: a fold gets the mean of the other folds' matrices
        others = np.nanmean(np.delete(per_fold, task.fold, axis=0), axis=0)
        np.testing.assert_allclose(task.similarity, others)
    assert any("each fold takes the average of the others'" in f.message for f in plan.audit)
    text = replace(reference.config.model, modalities=("text",))
    for task in make_plan(replace(reference.config, loss=loss, model=text)).tasks("t", folder):
        others = np.nanmean(np.delete(per_fold, task.fold, axis=0), axis=0)
        np.testing.assert_allclose(task.similarity, others)


def test_in_other_folds_a_matrix_comes_from_those_that_tested_no_test_utterance(
    reference: Reference,
):
    source = f"mlflow:{reference.result['mlflow']['run_id']}"
    loss = replace(reference.config.loss, omega=0.5, similarity=source)
    folds = FoldsConfig(groups="session", n_splits=2)
    plan = make_plan(replace(reference.config, loss=loss, folds=folds))
    sessions = np.array(plan.corpus.column("session"))
    per_fold = np.array(reference.result["similarity"]["per_fold"], dtype=float)
    assert plan.similarity is not None
    for fold, matrix in zip(plan.folds, plan.similarity, strict=True):
        tested = set(sessions[fold.test])
        kept = [k for k, name in enumerate(sorted(set(sessions))) if name not in tested]
        np.testing.assert_allclose(matrix, np.nanmean(per_fold[kept], axis=0))


def test_a_fold_that_diverges_fails_the_run_with_its_reason(small: Config):
    config = replace(with_training(small, learning_rate=1e30, gradient_clip=0.0), name="diverges")
    with pytest.raises(
        FoldFailedError,
        match=r"5 of 5 folds failed; fold 0: the training loss is nan in epoch \d: lower --training.learning_rate",
    ):
        run(config)
    record = json.loads((folder_of(config, "diverges") / "run.json").read_text())
    client = MlflowClient(f"sqlite:///{config.storage.runs}/mlflow.db")
    assert record["status"] == client.get_run(record["run_id"]).info.status == "FAILED"
    assert not (folder_of(config, "diverges") / "result.json").exists()


def disturb(deed: Callable[[], bool], times: int) -> tuple[threading.Thread, list[float]]:
    """Do something `times` times at random moments from a thread; the deed says whether it could."""
    done: list[float] = []
    pause = random.Random(3)

    def loop() -> None:
        deadline = time.monotonic() + 600
        while len(done) < times and time.monotonic() < deadline:
            time.sleep(pause.uniform(0.3, 1.5))
            if deed():
                done.append(time.monotonic())

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    return thread, done


@pytest.mark.slow
def test_workers_killed_in_the_middle_of_folds_change_no_bit(
    small: Config, monkeypatch: pytest.MonkeyPatch
):
    plain = with_training(small, max_epochs=_EPOCHS, patience=_EPOCHS)
    undisturbed = numbers(run(replace(plain, name="undisturbed")))
    training: dict[int, int] = {}  # rank -> process, of workers in the middle of a fold
    seen: list[tuple[int, int]] = []
    real_events = driver.FoldPool.events

    def watched(self: Any, **options: Any) -> Any:
        process: dict[int, int] = {}
        for events in real_events(self, **options):
            for event in events:
                if event.kind == "hello":
                    process[event.rank] = event.payload
                    training.pop(event.rank, None)
                if event.kind == "epoch":
                    training[event.rank] = process[event.rank]
                    seen.append((event.key[1], event.payload.epoch))
            yield events

    def kill() -> bool:
        if not training:
            return False
        _, process = training.popitem()
        training.clear()
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:  # its group has just been replaced
            return False
        return True

    monkeypatch.setattr(driver.FoldPool, "events", watched)
    thread, killed = disturb(kill, times=3)
    result = run(replace(plain, name="killed"))
    thread.join(1)
    assert len(killed) == 3
    assert numbers(result) == undisturbed
    assert len(seen) == len(set(seen)) == 5 * _EPOCHS
    client = MlflowClient(f"sqlite:///{small.storage.runs}/mlflow.db")
    curve = client.get_metric_history(result["mlflow"]["run_id"], "fold_0/val/ua")
    assert [point.step for point in curve] == list(range(1, _EPOCHS + 1))


def test_a_killed_aggregation_actor_loses_nothing(
    small: Config, reference: Reference, monkeypatch: pytest.MonkeyPatch
):
    actors: list[Any] = []
    real_actor = driver.running_aggregator
    real_watch = driver._watch

    @contextmanager
    def running(*arguments: Any) -> Iterator[Any]:
        with real_actor(*arguments) as actor:
            actors.append(actor)
            yield actor

    def watch(*arguments: Any) -> Any:
        outcome = real_watch(*arguments)
        ray.kill(actors[-1], no_restart=False)  # it holds all folds, and not yet a summary
        return outcome

    monkeypatch.setattr(driver, "running_aggregator", running)
    monkeypatch.setattr(driver, "_watch", watch)
    assert numbers(run(small)) == numbers(reference.result)
    with pytest.raises(ray.exceptions.ActorDiedError):  # it ends with the run
        ray.get(actors[-1].drop.remote("small"))
