"""The second task through the same commands: cross-validated, tuned, ablated, resumed, loaded."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import raysys
from raysys.commands.ablate import ablate
from raysys.commands.cross_validate import cross_validate
from raysys.commands.tune import tune
from raysys.config import Config
from raysys.config.running import AblationConfig, Distribution, SearchConfig, Variant
from raysys.corpus import CorpusConfig
from raysys.corpus.folds import FoldsConfig
from raysys.errors import ConfigError
from raysys.report.results import TrialResult, plain
from raysys.running.plan import make_plan
from raysys.settings import replaced
from tests.conftest import with_training

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("pool")]

WORDS = {"dreadful": 1.0, "poor": 2.0, "plain": 3.0, "good": 4.0, "splendid": 5.0}


def write_corpus(root: Path) -> None:
    """Ninety utterances of six speakers: valence is the mean of the words' values, arousal their number."""
    random = np.random.default_rng(4)
    with (root / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["utterance_id", "speaker", "text", "valence", "arousal"])
        for k in range(90):
            said = random.choice(list(WORDS), size=int(random.integers(1, 6)))
            valence = float(np.mean([WORDS[word] for word in said]))
            writer.writerow([f"u{k}", f"s{k % 6}", " ".join(said), valence, 10.0 * len(said)])


@pytest.fixture(scope="module")
def config(small_config: Callable[[Path], Config], tmp_path_factory: Any) -> Config:
    home = tmp_path_factory.mktemp("regression")
    write_corpus(home)
    small = with_training(small_config(home), max_epochs=30, patience=30, learning_rate=0.01)
    return replace(
        small,
        task="regression",
        corpus=CorpusConfig("manifest", str(home), targets=("valence", "arousal")),
        folds=FoldsConfig(n_splits=3),
        model=replace(small.model, modalities=("text",)),
    )


def run(job: Callable[..., Any], config: Config, *, resume: bool = False) -> tuple[Any, str]:
    console = Console(file=StringIO(), width=120)
    result = job(config, resume=resume, console=console)
    return result, console.file.getvalue()


@pytest.fixture(scope="module")
def validated(config: Config) -> tuple[TrialResult, str]:
    return run(cross_validate, config)


def test_it_learns_the_numbers_and_reports_them_beside_ridge(validated: tuple[TrialResult, str]):
    result, printed = validated
    assert result.task == "regression"
    assert result.mean["test"]["ccc"] > 0.5
    assert set(result.mean["test"]) == {"ccc", "pearson", "rmse"}
    assert list(result.summary.per_target) == ["valence", "arousal"]
    levels = [row["mean"] for row in result.summary.per_target.values()]
    assert levels[0] == pytest.approx(3, abs=0.5)
    assert levels[1] == pytest.approx(30, abs=6)  # in their own units
    for word in ("ridge CCC", "by target", "valence", "RMSE"):
        assert word in printed
    assert "similarity" not in printed


def test_a_loaded_bundle_predicts_in_the_corpus_units(
    config: Config, validated: tuple[TrialResult, str]
):
    plan = make_plan(config)
    folder = Path(config.storage.runs) / "small" / "fold_1"
    predictor = raysys.load(folder)
    assert predictor.outputs == ("valence", "arousal")
    found = predictor.predict(plan.data.features, rows=plan.folds[1].test)
    assert found.outputs.tobytes() == np.load(folder / "test_values.npy").tobytes()


def test_a_run_that_lost_a_fold_is_resumed_to_the_same_numbers(
    config: Config, validated: tuple[TrialResult, str]
):
    folder = Path(config.storage.runs) / "small"
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "status": "KILLED"}))
    shutil.rmtree(folder / "fold_2")
    again, _ = run(cross_validate, config, resume=True)
    kept = ("folds", "mean", "std", "summary")
    first = plain(validated[0])
    assert {k: plain(again)[k] for k in kept} == {k: first[k] for k in kept}


def test_it_is_tuned(config: Config, tmp_path: Path):
    space = {
        "loss.regression": Distribution(choices=("ccc", "mse")),
        "training.learning_rate": Distribution(1e-3, 1e-2, log=True),
    }
    search = SearchConfig(
        space=space, num_trials=2, concurrency=1, scheduler="none", confirm_seeds=1
    )
    study = replaced(replace(config, search=search), {"storage.runs": str(tmp_path)})
    result, printed = run(tune, with_training(study, max_epochs=3, patience=3))
    assert result.objectives == ("ccc",)
    assert [trial.state for trial in result.trials] == ["COMPLETE"] * 2
    assert set(result.difference) == {"ccc", "pearson", "rmse"}
    assert "chosen - untuned" in printed
    assert (result.confirmed is None) == (result.chosen.name == "untuned")
    assert (tmp_path / "small" / "best.yaml").exists()


def test_it_is_ablated(config: Config, tmp_path: Path):
    variants = {"concordance": Variant(), "squared error": Variant({"loss.regression": "mse"})}
    ablation = replace(config, ablation=AblationConfig(variants, metric="rmse"))
    changed = replaced(ablation, {"storage.runs": str(tmp_path)})
    result, printed = run(ablate, with_training(changed, max_epochs=3, patience=3, seeds=2))
    assert [one.name for one in result.variants] == list(variants)
    assert "folds of the mean of 2 seeds" in printed
    assert "test RMSE" in printed
    assert "CCC by target" in printed


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"corpus.targets": ()}, "corpus.targets is \\[\\], but must be numeric columns"),
        ({"balance.method": "pdds"}, "must be 'off' with the task regression"),
        ({"loss.mu1": 0.2}, "loss.mu1 is 0.2, but must be 0.0 with the task regression"),
        ({"training.select": "ua"}, "'ua', but the task regression is scored otherwise"),
        ({"task": "regresion"}, "unknown task 'regresion': did you mean 'regression'"),
        ({"task": "classification"}, "corpus.targets is .* must be \\[\\] with the task class"),
    ],
)
def test_settings_of_another_task_are_refused(
    config: Config, changes: dict[str, Any], message: str
):
    with pytest.raises(ConfigError, match=message):
        replaced(config, changes)
