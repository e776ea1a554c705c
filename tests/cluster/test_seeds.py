"""Several trainings of every fold: each is what a run with that one seed does, and what is said of all of them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from raysys.errors import StorageError
from tests.cluster.conftest import Ran, run
from tests.conftest import with_training

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("pool")]
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def three(
    pool: None, reference: Ran, small_config: Callable, tmp_path_factory: pytest.TempPathFactory
) -> Ran:
    return run(with_training(small_config(tmp_path_factory.mktemp("three")), seeds=3))


def probabilities(folder: Path) -> np.ndarray:
    return np.load(folder / "test_probabilities.npy")


def test_three_seeds_are_three_runs_of_one_seed_to_the_last_bit(
    three: Ran, reference: Ran, tmp_path: Path
):
    alone = [reference]
    for seed in SEEDS[1:]:
        storage = replace(reference.config.storage, runs=str(tmp_path / str(seed)))
        alone.append(run(replace(reference.config, seed=seed, storage=storage)))
    for seed, one in zip(SEEDS, alone, strict=True):
        assert three.result.folds[5 * seed : 5 * seed + 5] == one.result.folds
        for fold in range(5):
            ours = three.folder / f"seed_{seed}" / f"fold_{fold}"
            for file in ("test_probabilities.npy", "test_embeddings.npy", "weights.safetensors"):
                assert (ours / file).read_bytes() == (
                    one.folder / f"fold_{fold}" / file
                ).read_bytes()
    for part in ("val", "test"):
        means = np.array([one.result.mean[part]["ua"] for one in alone])
        assert three.result.mean[part]["ua"] == pytest.approx(means.mean())
        assert three.result.seed_std[part]["ua"] == pytest.approx(means.std(ddof=1))
        scores = np.array([getattr(fold, part)["ua"] for fold in three.result.folds])
        by_fold = scores.reshape(3, 5).mean(axis=0)
        assert three.result.std[part]["ua"] == pytest.approx(by_fold.std(ddof=1))
    matrices = [one.result.summary.similarity["per_fold"] for one in alone]
    ours = np.array(three.result.summary.similarity["per_fold"], dtype=float)
    np.testing.assert_allclose(ours, np.mean(np.array(matrices, dtype=float), axis=0))


def test_the_ensemble_averages_a_folds_probabilities_over_its_seeds(three: Ran):
    for fold in range(5):
        folders = [three.folder / f"seed_{seed}" / f"fold_{fold}" for seed in SEEDS]
        mean = np.mean([probabilities(folder) for folder in folders], axis=0)
        labels = np.load(folders[0] / "test_labels.npy")
        right = mean.argmax(axis=1) == labels
        assert three.result.ensemble is not None
        assert three.result.ensemble.folds[fold]["wa"] == pytest.approx(right.mean())
        recalls = [right[labels == k].mean() for k in np.unique(labels)]
        assert three.result.ensemble.folds[fold]["ua"] == pytest.approx(np.mean(recalls))


def test_the_report_and_mlflow_tell_folds_seeds_and_ensemble_apart(three: Ran, reference: Ran):
    printed, alone = (" ".join(one.printed.split()) for one in (three, reference))
    for head in ("mean of 3 seeds", "+- std, folds", "+- std, seeds", "ensemble"):
        assert head in printed
        assert head not in alone
    client = MlflowClient(f"sqlite:///{three.config.storage.runs}/mlflow.db")
    found = client.get_run(three.result.mlflow.run_id).data
    result = three.result
    assert found.metrics["test/ua"] == pytest.approx(result.mean["test"]["ua"])
    assert found.metrics["test/ua_std"] == pytest.approx(result.std["test"]["ua"])
    assert found.metrics["test/ua_seed_std"] == pytest.approx(result.seed_std["test"]["ua"])
    assert found.metrics["test_ensemble/ua"] == pytest.approx(result.ensemble.mean["ua"])
    query = f"tags.`mlflow.parentRunId` = '{result.mlflow.run_id}'"
    folds = client.search_runs([result.mlflow.experiment_id], query)
    keys = {(one.data.tags["raysys.seed"], one.data.tags["raysys.fold"]) for one in folds}
    assert keys == {(str(seed), str(fold)) for seed in SEEDS for fold in range(5)}
    by_key = {(fold.seed, fold.fold): fold for fold in result.folds}
    for one in folds:
        fold = by_key[int(one.data.tags["raysys.seed"]), int(one.data.tags["raysys.fold"])]
        assert one.info.status == "FINISHED"
        assert one.data.metrics["test/ua"] == pytest.approx(fold.test["ua"])


def test_a_run_that_lost_a_training_is_resumed_and_other_seeds_are_another_run(three: Ran):
    record = json.loads((three.folder / "run.json").read_text())
    (three.folder / "run.json").write_text(json.dumps({**record, "status": "KILLED"}))
    (three.folder / "result.json").unlink()
    shutil.rmtree(three.folder / "seed_1" / "fold_3")
    assert run(three.config, resume=True).numbers == three.numbers
    changed: Any = with_training(three.config, seeds=2)
    with pytest.raises(StorageError, match=r"training\.seeds is 2 here and 3 there"):
        run(changed, resume=True)
