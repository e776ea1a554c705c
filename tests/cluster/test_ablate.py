"""A whole ablation on a real Ray and a real MLflow."""

import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from rich.console import Console

from raysys.cluster.ablate import ablate
from raysys.cluster.cross_validate import cross_validate
from raysys.cluster.variants import make_ablation
from raysys.config import AblationConfig, Config, MultiemoConfig, Variant, replaced
from raysys.errors import FoldFailedError
from tests.conftest import with_training

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_cluster")]

VARIANTS = {
    "audio + text (100 %)": Variant(published=70.0),
    "text": Variant({"model.modalities": ["text"]}),
    "MultiEMO": Variant({"model.name": "multiemo", "loss.mu1": 0.2, "loss.mu2": 0.2}),
}


def run(job: Callable[..., Any], config: Config, *, resume: bool = False) -> dict[str, Any]:
    console = Console(file=StringIO(), width=140)
    result: dict[str, Any] = job(config, resume=resume, console=console)
    return {**result, "printed": console.file.getvalue()}


@pytest.fixture(scope="module")
def config(small_config: Callable[[Path], Config], tmp_path_factory: Any) -> Config:
    """Three variants, two seeds each, two epochs."""
    small = with_training(small_config(tmp_path_factory.mktemp("ablation")), max_epochs=2)
    sizes = MultiemoConfig(dim=8, state=8, layers=1, heads=2, feedforward=16)
    model = replace(small.model, multiemo=sizes)
    ablation = AblationConfig(VARIANTS, seeds=2, source="a paper")
    return replace(small, model=model, ablation=ablation)


@pytest.fixture(scope="module")
def result(config: Config) -> dict[str, Any]:
    return run(ablate, config)


def test_a_variant_scores_as_its_cross_validation_does(
    config: Config, result: dict[str, Any], tmp_path: Path
):
    settings = {"model.name": "multiemo", "loss.mu1": 0.2, "loss.mu2": 0.2}
    alone = replaced(config, {**settings, "storage.runs": str(tmp_path)})
    folder = Path(config.storage.runs) / "small"
    same = json.loads((folder / "multiemo-seed_0" / "result.json").read_text())
    expected = run(cross_validate, replace(alone, ablation=AblationConfig()))
    assert same["folds"] == expected["folds"]
    assert same["similarity"] == expected["similarity"]
    other = json.loads((folder / "multiemo-seed_1" / "result.json").read_text())
    assert other["folds"] != same["folds"]


def test_the_report_has_a_line_a_variant(result: dict[str, Any]):
    assert [one["name"] for one in result["variants"]] == list(VARIANTS)
    whole, text, _ = result["variants"]
    assert whole["published"] == 70.0
    assert whole["difference"]["ua"] is None
    gap = text["mean"]["test"]["ua"] - whole["mean"]["test"]["ua"]
    assert text["difference"]["ua"]["mean"] == pytest.approx(gap)
    assert "70.00" in result["printed"]
    assert "a paper" in result["printed"]


def test_a_finished_ablation_is_shown_again(config: Config, result: dict[str, Any]):
    shown = run(ablate, config, resume=True)
    assert shown["variants"] == result["variants"]
    assert "is finished already" in shown["printed"]
    assert "70.00" in shown["printed"]


def test_trials_are_nested_runs_with_matrices_and_confusions(
    config: Config, result: dict[str, Any]
):
    client = MlflowClient(f"sqlite:///{config.storage.runs}/mlflow.db")
    parent = result["mlflow"]["run_id"]
    query = f"tags.`mlflow.parentRunId` = '{parent}'"
    children = client.search_runs([result["mlflow"]["experiment_id"]], query)
    assert {child.info.run_name for child in children} == {
        f"{name}-seed_{seed}" for name in ("audio_text_100", "text", "multiemo") for seed in (0, 1)
    }
    assert client.get_run(parent).info.status == "FINISHED"
    assert {child.info.status for child in children} == {"FINISHED"}
    child = next(c for c in children if c.info.run_name == "text-seed_1")
    assert child.data.tags["raysys.variant"] == "text"
    assert {"test/weighted_f1", "test/f1/anger", "val/ua"} <= set(child.data.metrics)
    files = {f.path for f in client.list_artifacts(child.info.run_id)}
    assert {
        "by_emotion.json",
        "by_speaker.json",
        "by_emotion_and_speaker.png",
        "similarity",
    } <= files
    means = [p.value for p in client.get_metric_history(parent, "test/weighted_f1")]
    assert means == [one["mean"]["test"]["weighted_f1"] for one in result["variants"]]


def test_all_variants_see_the_same_utterances_and_folds(config: Config):
    plan, trials = make_ablation(config)
    assert set(plan.arrays.features) == {"audio", "text"}
    assert len(trials) == 6
    assert all(trial.config.ablation == AblationConfig() for trial in trials)
    assert np.unique([trial.config.seed for trial in trials]).tolist() == [0, 1]


def test_resume_does_only_what_is_missing(small: Config):
    variants = {"whole": Variant(), "wild": Variant({"training.learning_rate": 1e20})}
    broken = replace(with_training(small, max_epochs=2), ablation=AblationConfig(variants))
    with pytest.raises(FoldFailedError, match=r"5 of 10 folds failed; wild, fold 0: .*--resume"):
        run(ablate, broken)
    folder = Path(small.storage.runs) / "small"
    assert json.loads((folder / "run.json").read_text())["status"] == "FAILED"
    written = {f: f.stat().st_mtime_ns for f in (folder / "whole").glob("fold_*/fold.json")}
    assert len(written) == 5
    with pytest.raises(FoldFailedError):
        run(ablate, broken, resume=True)
    assert {f: f.stat().st_mtime_ns for f in written} == written
