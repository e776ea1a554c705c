"""Whole studies on a real Ray, Optuna and MLflow: what they leave, whom they stop, what fails, what repeats."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import ViewType
from rich.console import Console

from raysys.commandline import parse
from raysys.commands.cross_validate import cross_validate
from raysys.commands.tune import tune
from raysys.config import Config
from raysys.config.running import Distribution, SearchConfig
from raysys.errors import ConfigError, FoldFailedError, PoolError
from raysys.models.multiemo import MultiemoConfig
from raysys.report.results import plain
from raysys.settings import replaced
from raysys.storage import as_json

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("pool")]
PROOF = pytest.mark.proof("search", "running", "commands", "trials", "report")

SPACE = {
    "loss.mu1": Distribution(0.0, 0.5),
    "loss.mu2": Distribution(0.0, 0.3),
    "balance.sigma": Distribution(0.3, 0.6),
    "balance.p": Distribution(0.5, 0.9),
}


def study(config: Config, **search: Any) -> Config:
    settings = {
        "space": SPACE,
        "num_trials": 4,
        "concurrency": 1,
        "scheduler": "none",
        "confirm_seeds": 0,
    }
    pdds = replace(config.balance, method="pdds")
    return replace(
        config, name="study", balance=pdds, search=SearchConfig(**{**settings, **search})
    )


def run(config: Config, *, resume: bool = False) -> dict[str, Any]:
    console = Console(file=StringIO(), width=120)
    result = tune(config, resume=resume, console=console)
    return {**json.loads(as_json(plain(result))), "printed": console.file.getvalue()}


def numbers(result: dict[str, Any]) -> str:
    """Everything but seconds, ids and what was printed."""
    left_out = ("seconds", "mlflow", "printed", "cost")
    return json.dumps({k: v for k, v in result.items() if k not in left_out})


def trial_runs(config: Config, result: dict[str, Any]) -> dict[str, Any]:
    """MLflow runs under the study's run, by trial."""
    client = MlflowClient(f"sqlite:///{config.storage.runs}/mlflow.db")
    parent = result["mlflow"]["run_id"]
    runs = client.search_runs(
        [result["mlflow"]["experiment_id"]],
        f"tags.`mlflow.parentRunId` = '{parent}'",
        ViewType.ALL,
    )
    assert len({r.data.tags["raysys.trial"] for r in runs}) == len(runs)  # no duplicate
    return {r.data.tags["raysys.trial"]: r for r in runs}


@pytest.fixture(scope="module")
def reference(
    small_config: Callable[[Path], Config], tmp_path_factory: Any
) -> tuple[Config, dict[str, Any]]:
    config = study(small_config(tmp_path_factory.mktemp("study")))
    return config, run(config)


def test_a_study_reports_its_choice_and_leaves_files(reference: tuple[Config, dict[str, Any]]):
    config, result = reference
    folder = Path(config.storage.runs) / "study"
    assert [trial["state"] for trial in result["trials"]] == ["COMPLETE"] * 4
    assert result["trials"][0]["values"]["balance.p"] == 0.8  # a published point, inside the space
    for trial in result["trials"]:
        assert trial["values"]["loss.mu1"] + trial["values"]["loss.mu2"] <= 1
    best = max(result["trials"], key=lambda trial: trial["scores"]["ua"])
    untuned = np.mean([
        json.loads((folder / f"trials/untuned/fold_{k}/fold.json").read_text())["val"]["ua"]
        for k in range(5)
    ])  # fmt: skip
    expected = best["name"] if best["scores"]["ua"] > untuned else "untuned"
    assert result["chosen"]["name"] == expected
    assert len(result["by_fold_choice"]) == 5
    assert json.loads((folder / "run.json").read_text())["status"] == "FINISHED"
    for word in ("chosen", "chosen fold by fold", "untuned", "SVM, same folds", "best.yaml"):
        assert word in result["printed"]


def test_trial_runs_are_nested_and_hold_no_test_score(reference: tuple[Config, dict[str, Any]]):
    config, result = reference
    runs = trial_runs(config, result)
    assert sorted(runs) == [*(f"trial_00{k}" for k in range(4)), "untuned"]
    client = MlflowClient(f"sqlite:///{config.storage.runs}/mlflow.db")
    for trial in result["trials"]:
        logged = runs[trial["name"]]
        assert set(logged.data.params) == set(trial["values"])
        assert float(logged.data.params["loss.mu1"]) == trial["values"]["loss.mu1"]
        assert not [key for key in logged.data.metrics if "test" in key]
        assert logged.data.metrics["val_best/ua"] == pytest.approx(trial["scores"]["ua"])
        curve = client.get_metric_history(logged.info.run_id, "val/ua")
        assert sorted(point.step for point in curve) == [1, 2, 3, 4]
        assert logged.info.status == "FINISHED"
        files = {f.path for f in client.list_artifacts(logged.info.run_id, "similarity")}
        assert "similarity/average.npy" in files
        assert client.list_artifacts(logged.info.run_id, "balance")
    parent = client.get_run(result["mlflow"]["run_id"])
    assert parent.data.metrics["test/ua"] == pytest.approx(result["test"]["mean"]["ua"])
    names = {f.path for f in client.list_artifacts(parent.info.run_id, "figures")}
    wanted = ("history", "importances", "contour", "parallel_coordinate")
    assert names == {f"figures/{name}.png" for name in wanted}


def test_the_plan_of_mixtures_is_a_table_of_clear_pairs(reference: tuple[Config, dict[str, Any]]):
    config, result = reference
    client = MlflowClient(f"sqlite:///{config.storage.runs}/mlflow.db")
    logged = trial_runs(config, result)["trial_000"]
    file = client.download_artifacts(logged.info.run_id, "balance/plan.csv")
    rows = list(csv.DictReader(Path(file).open()))
    folds = json.loads((Path(config.storage.runs) / "study/folds.json").read_text())
    assert rows
    for row in rows:
        train = folds[int(row["fold"])]["train"]
        assert row["major_utterance"] in train
        assert row["minor_utterance"] in train
        same = row["major_emotion"] == row["minor_emotion"]
        assert float(row["p"]) == (0.5 if same else 0.8)


def test_the_best_preset_repeats_the_trials_score_exactly(
    reference: tuple[Config, dict[str, Any]], tmp_path: Path
):
    config, result = reference
    preset = Path(config.storage.runs) / "study" / "best.yaml"
    assert yaml.safe_load(preset.read_text())
    again, _ = parse([str(preset)], program="")
    again = replace(
        again, storage=replace(config.storage, runs=str(tmp_path)), cluster=config.cluster
    )
    repeated = cross_validate(again, resume=False, console=Console(file=StringIO()))
    for metric in ("ua", "wa", "weighted_f1"):
        assert repeated.mean["val"][metric] == result["chosen"]["val"][metric]
        assert repeated.mean["test"][metric] == result["test"]["mean"][metric]


def test_a_finished_study_is_shown(reference: tuple[Config, dict[str, Any]]):
    config, result = reference
    assert numbers(run(config, resume=True)) == numbers(result)


def test_a_finished_study_goes_on_when_more_trials_are_wanted(
    reference: tuple[Config, dict[str, Any]],
):
    config, result = reference
    more = run(replace(config, search=replace(config.search, num_trials=5)), resume=True)
    assert [t["values"] for t in more["trials"][:4]] == [t["values"] for t in result["trials"]]
    assert len(more["trials"]) == 5
    assert more["mlflow"] == result["mlflow"]
    assert len(trial_runs(config, more)) == 6  # and the untuned one
    client = MlflowClient(f"sqlite:///{config.storage.runs}/mlflow.db")
    logged = client.get_metric_history(more["mlflow"]["run_id"], "test/ua")
    assert [point.step for point in logged] == [4, 5]
    assert logged[-1].value == pytest.approx(more["test"]["mean"]["ua"])


@PROOF
def test_asha_stops_planted_bad_trials_early(small: Config):
    """Half of the learning rates learn nothing."""
    rates = Distribution(choices=(0.005, 0.004, 0.003, 1e-9, 2e-9, 3e-9))
    config = replaced(
        study(small), {"training.max_epochs": 12, "training.patience": 12, "balance.method": "off"}
    )
    search = SearchConfig(
        space={"training.learning_rate": rates},
        num_trials=10,
        confirm_seeds=0,
        grace_epochs=2,
        reduction_factor=2,
        concurrency=2,
    )
    result = run(replace(config, search=search))
    bad = [t for t in result["trials"] if t["values"]["training.learning_rate"] < 1e-6]
    assert len(bad) >= 2
    early = [t for t in bad if t["state"] == "PRUNED" and t["epochs"] < t["most_epochs"] / 2]
    assert len(early) >= len(bad) / 2
    assert result["epochs"]["saved"] > 0.1
    assert f"{100 * result['epochs']['saved']:.0f} % saved" in result["printed"]
    assert result["chosen"]["values"].get("training.learning_rate", 1.0) > 1e-6
    for trial in result["trials"]:
        if trial["state"] == "PRUNED":
            folder = Path(config.storage.runs) / "study" / "trials" / trial["name"]
            assert not list(folder.glob("fold_*"))


def test_failing_trials_are_recorded_and_the_study_goes_on(small: Config):
    space = {
        "training.learning_rate": Distribution(choices=(0.005, 1e30)),
        "model.cltnet.heads": Distribution(choices=(2, 3)),
        "model.cltnet.text_dim": Distribution(choices=(8, 9)),
    }
    config = replaced(study(small, num_trials=6), {"training.gradient_clip": 0.0})
    config = replace(config, search=replace(config.search, space=space, concurrency=2))
    result = run(config)
    reasons = {t["name"]: t["reason"] for t in result["trials"] if t["state"] == "FAILED"}
    wrong = [
        t
        for t in result["trials"]
        if t["values"]["model.cltnet.text_dim"] % t["values"]["model.cltnet.heads"]
    ]
    diverged = [
        t for t in result["trials"] if t["values"]["training.learning_rate"] > 1 and t not in wrong
    ]
    assert wrong
    for trial in wrong:
        assert "must be a divisor" in reasons[trial["name"]]
    for trial in diverged:
        assert "training loss is nan" in reasons[trial["name"]]
    assert len(reasons) == len(wrong) + len(diverged)
    runs = trial_runs(config, result)
    assert {runs[name].info.status for name in reasons} == {"FAILED"}


def test_an_unknown_model_among_the_choices_ends_before_ray(small: Config):
    space = {"model.name": Distribution(choices=("cltnet", "cltnett"))}
    with pytest.raises(ConfigError, match="did you mean 'cltnet'"):
        run(study(small, space=space))


def test_an_untuned_configuration_that_fails_ends_the_study(small: Config):
    config = study(replaced(small, {"training.learning_rate": 1e30, "training.gradient_clip": 0.0}))
    with pytest.raises(FoldFailedError, match="of the untuned configuration failed"):
        run(config)


@PROOF
def test_rounds_feed_the_best_matrix_back_and_say_how_much_it_moved(small: Config):
    config = replaced(study(small, num_trials=2, rounds=2), {"loss.omega": 0.5})
    result = run(config)
    assert [one["round"] for one in result["rounds"]] == [1, 2]
    assert all(one["moved"] > 0 for one in result["rounds"])
    first = result["rounds"][0]["name"]
    folder = Path(config.storage.runs) / "study" / "trials"
    measured = json.loads((folder / first / "similarity/average.json").read_text())
    second = result["rounds"][1]["name"]
    later = json.loads((folder / second / "similarity/average.json").read_text())
    both = [
        np.nanmean(np.array(one["val_per_fold"], dtype=float), axis=0) for one in (later, measured)
    ]
    distance = np.linalg.norm(both[0] - both[1])
    assert result["rounds"][1]["moved"] == pytest.approx(distance)
    values = {t["name"]: t["values"] for t in result["trials"]}
    assert values["trial_002"] == values[first]  # the best goes first in the next round
    settings = {
        **values[second],
        "loss.similarity": str(folder / first / "similarity/average.json"),
    }
    alone = replaced(replace(config, search=SearchConfig(), name="again"), settings)
    repeated = cross_validate(alone, resume=False, console=Console(file=StringIO()))
    (scores,) = [trial["scores"] for trial in result["trials"] if trial["name"] == second]
    assert repeated.mean["val"]["ua"] == scores["ua"]
    assert "the matrix moved by" in result["printed"]
    assert any("on its own val part" in finding["message"] for finding in result["audit"])


@PROOF
def test_a_dialogue_model_is_tuned_and_its_study_resumed_like_any_other(small: Config):
    sizes = MultiemoConfig(dim=8, state=8, layers=1, heads=2, feedforward=16)
    model = replace(small.model, name="multiemo", multiemo=sizes)
    config = study(replace(small, model=model), num_trials=2)
    first = run(config)
    assert [trial["state"] for trial in first["trials"]] == ["COMPLETE"] * 2
    for trial in trial_runs(config, first).values():
        assert trial.info.status == "FINISHED"
    longer = run(replace(config, search=replace(config.search, num_trials=3)), resume=True)
    assert longer["trials"][:2] == first["trials"]
    assert len(longer["trials"]) == 3
    assert set(longer["summary"]["speakers"]) == {f"S{k}{who}" for k in range(1, 6) for who in "FM"}


@PROOF
def test_several_objectives_give_a_pareto_front(small: Config):
    config = study(small, num_trials=2, objectives=("weighted_f1", "worst_recall"))
    result = run(config)
    names = [one["name"] for one in result["pareto"]]
    assert result["chosen"]["name"] in names
    assert "Pareto" in result["printed"]
    client = MlflowClient(f"sqlite:///{config.storage.runs}/mlflow.db")
    figures = client.list_artifacts(result["mlflow"]["run_id"], "figures")
    assert "figures/pareto_front.png" in {f.path for f in figures}


@PROOF
def test_after_its_time_a_study_starts_no_trial_and_reports_what_it_has(small: Config):
    config = study(small, num_trials=500, seconds=20.0)
    result = run(config)
    count = len(result["trials"])
    assert 1 <= count < 500
    assert result["chosen"]["name"]
    late = [trial["name"] for trial in result["trials"] if trial["state"] == "STOPPED"]
    assert ("stopped by the time limit" in result["printed"]) == bool(late)
    search = replace(config.search, seconds=0.0, num_trials=count)
    whole = run(replace(config, search=search), resume=True)
    assert [trial["state"] for trial in whole["trials"]] == ["COMPLETE"] * count
    names = [trial["name"] for trial in whole["trials"]]
    assert sorted(trial_runs(config, whole)) == [*names, "untuned"]


def test_the_choice_is_confirmed_with_fresh_seeds_beside_the_untuned_configuration(small: Config):
    """Learning rates of which the untuned one learns nothing, so that there is a choice."""
    space = {"training.learning_rate": Distribution(choices=(0.005, 0.006))}
    slow = replaced(small, {"training.learning_rate": 1e-9})
    config = study(slow, space=space, num_trials=1, confirm_seeds=2, objectives=("loss",))
    result = run(replace(config, balance=small.balance))
    claim, folder = result["confirmed"], Path(config.storage.runs) / "study" / "trials"
    assert claim["seeds"] == [1, 2]  # the search had seed 0
    tests = {}
    for name in ("trial_000-confirmed", "untuned-confirmed"):
        for seed in claim["seeds"]:
            for fold in range(5):
                place = folder / name / f"seed_{seed}" / f"fold_{fold}"
                labels = np.load(place / "test_labels.npy")
                found = np.load(place / "test_probabilities.npy").argmax(axis=1)
                tests[name, seed, fold] = float((found == labels).mean())
    by_fold = [
        np.mean(
            [tests["trial_000-confirmed", s, k] - tests["untuned-confirmed", s, k] for s in (1, 2)]
        )
        for k in range(5)
    ]
    found = claim["difference"]["wa"]
    assert found["mean"] == pytest.approx(np.mean(by_fold))
    assert found["low"] < found["mean"] < found["high"]
    assert set(claim["enough"]) == {"wa", "ua", "weighted_f1"}
    printed = " ".join(result["printed"].split())
    assert "on 2 seeds that took no part in the choice" in printed
    assert ("can be distinguished from noise" in printed) != (
        "cannot be distinguished from noise" in printed
    )
    assert "detecting a 1-point UA difference" in printed
    runs = trial_runs(config, result)
    assert sorted(runs) == ["trial_000", "trial_000-confirmed", "untuned", "untuned-confirmed"]
    assert not [k for one in runs.values() for k in one.data.metrics if "test" in k]
    client = MlflowClient(f"sqlite:///{config.storage.runs}/mlflow.db")
    logged = client.get_run(result["mlflow"]["run_id"]).data.metrics
    assert logged["test_confirmed_difference/wa"] == pytest.approx(found["mean"])


def test_a_study_without_anything_to_confirm_says_so(reference: tuple[Config, dict[str, Any]]):
    _, result = reference
    assert result["confirmed"] is None
    why = (
        "the untuned configuration was chosen" if result["chosen"]["name"] == "untuned" else "is 0"
    )
    assert f"confirmed    nothing: {why}"[:30] in result["printed"]


@PROOF
def test_a_race_trains_folds_in_turn_and_stops_planted_bad_trials(small: Config):
    rates = Distribution(choices=(0.005, 0.004, 0.003, 1e-9, 2e-9, 3e-9))
    search = {"scheduler": "race", "grace_epochs": 2, "num_trials": 8}
    config = study(small, space={"training.learning_rate": rates}, **search)
    config = replace(config, balance=small.balance)
    result = run(config)
    bad = [t for t in result["trials"] if t["values"]["training.learning_rate"] < 1e-6]
    good = [t for t in result["trials"] if t not in bad]
    assert bad
    assert good
    complete = {trial["name"] for trial in result["trials"] if trial["state"] == "COMPLETE"}
    stopped = [trial for trial in bad if trial["name"] not in complete]
    assert len(stopped) >= len(bad) - 1  # the first may come before two are complete
    for trial in stopped:
        assert trial["state"] == "PRUNED"
        assert trial["epochs"] < trial["most_epochs"] / 2
        assert trial["scores"]["ua"] > 0
    storage = replace(config.storage, runs=str(Path(config.storage.runs) / "again"))
    assert numbers(run(replace(config, storage=storage))) == numbers(result)


def test_a_pool_without_room_ends_the_study(small: Config):
    config = replaced(study(small), {"cluster.cpus_per_fold": 64.0, "cluster.hello_seconds": 4.0})
    with pytest.raises(PoolError, match="no worker for"):
        run(config)
