"""A whole cross-validation on a real Ray and a real MLflow: what is left behind, and that nothing can disturb it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

import raysys
from raysys.config import Config
from raysys.corpus.folds import FoldsConfig
from raysys.errors import ConfigError, FoldFailedError, StorageError
from raysys.running.plan import make_plan
from raysys.settings import replaced
from raysys.similarity.prior import SimilarityPrior
from raysys.tracking.models import models_of
from tests.cluster.conftest import Ran, fold_curve, run
from tests.conftest import with_training

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("pool")]


def test_a_run_leaves_result_files_and_an_mlflow_run(reference: Ran):
    folder, result = reference.folder, reference.result
    stored = json.loads((folder / "result.json").read_text())
    assert stored["version"] == 4
    assert [fold["fold"] for fold in stored["folds"]] == [0, 1, 2, 3, 4]
    assert json.loads((folder / "run.json").read_text())["status"] == "FINISHED"
    assert len(json.loads((folder / "folds.json").read_text())) == 5
    assert "class similarity" in reference.printed
    assert 0 < result.seconds["efficiency"] <= 1

    client = MlflowClient(f"sqlite:///{reference.config.storage.runs}/mlflow.db")
    logged = client.get_run(result.mlflow.run_id)
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["test/ua"] == pytest.approx(result.mean["test"]["ua"])
    assert logged.data.params["training.batch_size"] == "16"
    assert logged.data.params["training.gradient_clip"] == "1.0"  # a default, under the same name
    assert not any(name.startswith("with_defaults") for name in logged.data.params)
    assert "training.batch_size 16" in logged.data.tags["raysys.settings"]
    assert {one.dataset.name for one in logged.inputs.dataset_inputs} == {"demo", "demo folds"}
    assert logged.info.run_name.startswith("small: UA ")
    described = logged.data.tags["mlflow.note.content"]
    assert "| fold | kept |" in described
    assert min(sorted(logged.data.metrics)).startswith("test/")  # what the UI shows first
    query = f"tags.`mlflow.parentRunId` = '{logged.info.run_id}' and tags.`raysys.fold` = '3'"
    (fold,) = client.search_runs([logged.info.experiment_id], query)
    parts = {one.tags[0].value: one.dataset for one in fold.inputs.dataset_inputs}
    assert {part: one.name for part, one in parts.items()} == {
        part: f"demo fold 3 {part}" for part in ("train", "val", "test")
    }
    assert len({one.digest for one in parts.values()}) == 3
    curve = client.get_metric_history(logged.info.run_id, "val/ua")
    assert [point.step for point in curve] == [1, 2, 3, 4]
    per_fold = [fold_curve(client, logged.info.run_id, k, "val/ua")[3] for k in range(5)]
    assert curve[2].value == pytest.approx(np.mean(per_fold))
    files = {
        f.path
        for d in ("", "similarity", "confusion")
        for f in client.list_artifacts(logged.info.run_id, d)
    }
    assert {
        "config.json", "folds.json", "audit.json", "result.json", "similarity/average.json", "similarity/average.npy",
        "similarity/heat_map.png", "similarity/dendrogram.png", "confusion/test.png",
        "report.html",
    } <= files  # fmt: skip
    [model] = models_of(client, logged.info.experiment_id, logged.info.run_id)
    assert str(model.status) == "READY"
    assert {f.path for f in client.list_logged_model_artifacts(model.model_id)} >= {"MLmodel"}


def test_a_loaded_bundle_repeats_the_stored_test_predictions_to_the_last_bit(reference: Ran):
    plan = make_plan(reference.config)
    for fold in plan.folds[:2]:
        folder = reference.folder / f"fold_{fold.index}"
        predictor = raysys.load(folder)
        assert predictor.outputs == plan.corpus.emotions
        found = predictor.predict(plan.data.features, rows=fold.test, encoders=plan.data.encoders)
        assert found.outputs.tobytes() == np.load(folder / "test_probabilities.npy").tobytes()
        assert found.embeddings.tobytes() == np.load(folder / "test_embeddings.npy").tobytes()


def test_the_average_is_what_ten_lines_of_numpy_say(reference: Ran):
    matrices = []
    for fold in range(5):
        vectors = np.load(reference.folder / f"fold_{fold}/test_embeddings.npy").astype(float)
        labels = np.load(reference.folder / f"fold_{fold}/test_labels.npy")
        means = np.full((6, vectors.shape[1]), np.nan)
        for k in set(labels):
            means[k] = vectors[labels == k].mean(axis=0)
        unit = means / np.linalg.norm(means, axis=1, keepdims=True)
        matrices.append(unit @ unit.T)
    average = np.array(reference.result.summary.similarity["average"], dtype=float)
    np.testing.assert_allclose(average, np.nanmean(matrices, axis=0), atol=1e-6)


def test_a_second_run_with_one_seed_is_identical_in_a_folder_of_its_own(reference: Ran):
    second = run(reference.config)
    assert second.numbers == reference.numbers
    assert second.result.mlflow.run_id != reference.result.mlflow.run_id
    assert (reference.folder.with_name("small-2") / "result.json").exists()


def test_a_finished_run_is_resumed_anywhere_by_showing_it_and_another_seed_has_nothing_to_resume(
    reference: Ran,
):
    elsewhere = {"cluster.address": "elsewhere:6379", "cluster.workers": 64}
    shown = run(replaced(reference.config, elsewhere), resume=True)
    assert shown.numbers == reference.numbers
    assert "is finished already" in shown.printed
    with pytest.raises(StorageError, match=r"nothing to resume.*\(seed is 5 here and 0 there\)"):
        run(replace(reference.config, seed=5), resume=True)


def prior_of(reference: Ran, **changes: Any) -> Config:
    """A config that feeds the reference's matrix back."""
    source = f"mlflow:{reference.result.mlflow.run_id}"
    loss = replace(reference.config.loss, omega=0.5, similarity=source)
    return replace(reference.config, loss=loss, **changes)


def test_the_matrices_of_a_run_feed_the_next_runs_loss(reference: Ran):
    fed = run(prior_of(reference, name="fed"))
    assert fed.numbers != reference.numbers
    client = MlflowClient(f"sqlite:///{reference.config.storage.runs}/mlflow.db")
    run_id = reference.result.mlflow.run_id
    record = json.loads(
        Path(client.download_artifacts(run_id, "similarity/average.json")).read_text()
    )
    text = replace(reference.config.model, modalities=("text",))
    for changes in ({}, {"model": text}):
        plan = make_plan(prior_of(reference, **changes))
        assert plan.prior is not None
        for own, prior in zip(record["val_per_fold"], plan.prior, strict=True):
            known = np.array(own, dtype=float)
            there = ~np.isnan(known)
            assert isinstance(prior, SimilarityPrior)
            np.testing.assert_array_equal(np.array(prior.matrix)[there], known[there])
        assert any("on its own val part" in finding.message for finding in plan.audit)


def test_from_test_parts_a_fold_gets_those_that_tested_none_of_its_utterances(reference: Ran):
    per_fold = np.array(reference.result.summary.similarity["per_fold"], dtype=float)
    other = prior_of(reference, folds=FoldsConfig(groups="session", n_splits=2))
    with pytest.raises(ConfigError, match="every fold of it has learnt from test utterances"):
        make_plan(other)
    for config in (prior_of(reference), other):
        plan = make_plan(replaced(config, {"loss.measured_on": "test"}))
        sessions = np.array(plan.corpus.column("session"))
        assert plan.prior is not None
        for fold, prior in zip(plan.folds, plan.prior, strict=True):
            assert isinstance(prior, SimilarityPrior)
            tested = set(sessions[fold.test])
            kept = [k for k, name in enumerate(sorted(set(sessions))) if name not in tested]
            np.testing.assert_allclose(prior.matrix, np.nanmean(per_fold[kept], axis=0))
        assert "saw_test_labels" in {finding.kind for finding in plan.audit}


def test_a_fold_that_diverges_fails_the_run_with_its_reason(small: Config):
    config = replace(with_training(small, learning_rate=1e30, gradient_clip=0.0), name="diverges")
    with pytest.raises(
        FoldFailedError,
        match=r"^fold \d: the training loss is nan in epoch \d: lower --training.learning_rate",
    ):
        run(config)
    folder = Path(config.storage.runs) / "diverges"
    record = json.loads((folder / "run.json").read_text())
    client = MlflowClient(f"sqlite:///{config.storage.runs}/mlflow.db")
    assert record["status"] == client.get_run(record["run_id"]).info.status == "FAILED"
    assert not (folder / "result.json").exists()
