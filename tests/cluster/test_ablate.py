"""A whole ablation on a real Ray and a real MLflow."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from rich.console import Console

from raysys.commands.ablate import ablate
from raysys.commands.cross_validate import cross_validate
from raysys.config import Config
from raysys.config.running import AblationConfig, Variant
from raysys.errors import FoldFailedError
from raysys.models.multiemo import MultiemoConfig
from raysys.report.results import plain
from raysys.settings import replaced
from raysys.storage import as_json
from tests.conftest import with_training
from tests.here import without_cost

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("pool")]

VARIANTS = {
    "audio + text (100 %)": Variant(published=70.0),
    "text": Variant({"model.modalities": ["text"]}),
    "MultiEMO": Variant({"model.name": "multiemo", "loss.mu1": 0.2, "loss.mu2": 0.2}),
}


def run(job: Callable[..., Any], config: Config, *, resume: bool = False) -> dict[str, Any]:
    """The content of result.json, and what was printed."""
    console = Console(file=StringIO(), width=140)
    result = job(config, resume=resume, console=console)
    content = json.loads(as_json(plain(result)))
    return {**content, "printed": console.file.getvalue()}


@pytest.fixture(scope="module")
def config(small_config: Callable[[Path], Config], tmp_path_factory: Any) -> Config:
    """Three variants, two seeds each, two epochs."""
    small = small_config(tmp_path_factory.mktemp("ablation"))
    small = with_training(small, max_epochs=2, seeds=2)
    sizes = MultiemoConfig(dim=8, state=8, layers=1, heads=2, feedforward=16)
    model = replace(small.model, multiemo=sizes)
    ablation = AblationConfig(VARIANTS, source="a paper")
    return replace(small, model=model, ablation=ablation)


@pytest.fixture(scope="module")
def result(config: Config) -> dict[str, Any]:
    return run(ablate, config)


def test_a_variant_scores_as_its_cross_validation_does(
    config: Config, result: dict[str, Any], tmp_path: Path
):
    alone = replaced(config, {"model.modalities": ("text",), "storage.runs": str(tmp_path)})
    folder = Path(config.storage.runs) / "small"
    same = json.loads((folder / "text" / "result.json").read_text())
    expected = run(cross_validate, replace(alone, ablation=AblationConfig()))
    assert same["folds"] == expected["folds"]
    assert same["summary"] == expected["summary"]
    first, second = same["folds"][:5], same["folds"][5:]
    assert [fold["test"] for fold in first] != [fold["test"] for fold in second]


def test_the_report_has_a_line_a_variant(result: dict[str, Any]):
    assert [one["name"] for one in result["variants"]] == list(VARIANTS)
    whole, text, _ = result["variants"]
    assert whole["published"] == {"ua": 70.0}
    assert whole["difference"] is None
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
    by_name = {c.data.tags["raysys.trial"]: c for c in children}
    assert set(by_name) == {"audio_text_100", "text", "multiemo"}
    assert client.get_run(parent).info.status == "FINISHED"
    assert {child.info.status for child in children} == {"FINISHED"}
    child = by_name["text"]
    assert child.info.run_name.startswith("text: UA ")
    assert child.data.tags["raysys.variant"] == "text"
    assert {"test/weighted_f1", "test/f1/anger", "val/ua", "test_baseline/ua"} <= set(
        child.data.metrics
    )
    below = f"tags.`mlflow.parentRunId` = '{child.info.run_id}'"
    folds = client.search_runs([result["mlflow"]["experiment_id"]], below)
    names = {f"fold {fold} of seed {seed}" for fold in range(5) for seed in (0, 1)}
    assert {fold.info.run_name for fold in folds} == names
    assert {fold.info.status for fold in folds} == {"FINISHED"}
    files = {f.path for f in client.list_artifacts(child.info.run_id)}
    assert {
        "by_emotion.json",
        "by_speaker.json",
        "by_emotion_and_speaker.png",
        "similarity",
    } <= files
    logged = client.get_run(parent).data.metrics
    names = ["test/weighted_f1", "test_text/weighted_f1", "test_multiemo/weighted_f1"]
    for name, one in zip(names, result["variants"], strict=True):
        assert logged[name] == one["mean"]["test"]["weighted_f1"]


def test_every_variant_is_scored_on_the_same_test_utterances(
    config: Config, result: dict[str, Any]
):
    folder = Path(config.storage.runs) / "small"
    for fold in range(5):
        labels = [np.load(f) for f in folder.glob(f"*/seed_*/fold_{fold}/test_labels.npy")]
        assert len(labels) == 6
        assert all((one == labels[0]).all() for one in labels)


def test_a_killed_ablation_resumes_to_the_same_numbers(config: Config, result: dict[str, Any]):
    """As after a kill: no result, a fold lost, its trial's run unfinished."""
    folder = Path(config.storage.runs) / "small"
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "status": "KILLED"}))
    (folder / "result.json").unlink()
    shutil.rmtree(folder / "text" / "seed_1" / "fold_3")
    kept = {f: f.stat().st_mtime_ns for f in folder.glob("*/seed_*/fold_*/fold.json")}
    resumed = run(ablate, config, resume=True)
    assert without_cost(resumed["variants"]) == without_cost(result["variants"])
    assert resumed["mlflow"] == result["mlflow"]
    assert {f: f.stat().st_mtime_ns for f in kept} == kept
    assert not folder.with_name("small-2").exists()


def test_a_variant_that_fails_is_named_and_the_others_are_reported(small: Config):
    variants = {"whole": Variant(), "wild": Variant({"training.learning_rate": 1e20})}
    broken = replace(with_training(small, max_epochs=2), ablation=AblationConfig(variants))
    with pytest.raises(
        FoldFailedError, match=r"1 trial\(s\) failed: wild, fold \d: the training loss"
    ):
        run(ablate, broken)
    stored = json.loads((Path(small.storage.runs) / "small" / "result.json").read_text())
    assert [one["name"] for one in stored["variants"]] == ["whole"]
    client = MlflowClient(f"sqlite:///{small.storage.runs}/mlflow.db")
    query = f"tags.`mlflow.parentRunId` = '{stored['mlflow']['run_id']}'"
    runs = client.search_runs([stored["mlflow"]["experiment_id"]], query)
    statuses = {"whole": "FINISHED", "wild": "FAILED"}
    assert {r.data.tags["raysys.trial"]: r.info.status for r in runs} == statuses
    assert client.get_run(stored["mlflow"]["run_id"]).info.status == "FAILED"
    kept = {f: f.stat().st_mtime_ns for f in Path(small.storage.runs).glob("small/whole/fold_*/*")}
    with pytest.raises(FoldFailedError, match=r"1 trial\(s\) failed: wild"):  # tried again
        run(ablate, broken, resume=True)
    again = json.loads((Path(small.storage.runs) / "small" / "result.json").read_text())
    assert again["variants"] == stored["variants"]
    assert again["mlflow"] == stored["mlflow"]
    assert {f: f.stat().st_mtime_ns for f in kept} == kept
    runs = client.search_runs([stored["mlflow"]["experiment_id"]], query)
    assert {r.data.tags["raysys.trial"]: r.info.status for r in runs} == statuses
