"""Runs as MLflow models: logged with their scores, named, the best one found by its alias, loaded anywhere."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import pytest
from mlflow import MlflowClient

import jobs.register
import raysys
from raysys.commands.register import judge
from raysys.config import Config
from raysys.errors import ConfigError
from raysys.predicting.export import export_run
from raysys.predicting.members import load_ensemble
from raysys.predicting.model import Model
from raysys.report.comparison import Standing, standing_of
from raysys.report.results import TrialResult, read_result
from raysys.storage import Folder
from raysys.tracking.models import ModelLog, find_model, models_of
from tests.fresh import predict_in_fresh_environment
from tests.unit.test_predicting import manifest, run_of


def client_of(config: Config) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{config.storage.runs}/mlflow.db")


def runs_of(config: Config) -> Folder:
    return Folder(config.storage.runs)


def result_of(config: Config, name: str) -> TrialResult:
    found = read_result(runs_of(config) / name)
    assert isinstance(found, TrialResult)
    return found


def test_every_run_has_one_model_with_its_test_scores_and_its_corpus(trained: Config):
    client = client_of(trained)
    for name in ("small", "plain", "small-refit"):
        ids = read_result(runs_of(trained) / name).mlflow
        [logged] = models_of(client, ids.experiment_id, ids.run_id)
        assert str(logged.status) == "READY"
        assert "never tested" in logged.tags["mlflow.note.content"] or name != "small-refit"
        metrics = {one.key: one for one in logged.metrics}
        key = "test_of_folds/ua" if name == "small-refit" else "test/ua"
        run = client.get_run(ids.run_id)
        assert metrics[key].value == run.data.metrics[key]
        assert metrics[key].dataset_name == "demo"
        digests = {one.dataset.digest for one in run.inputs.dataset_inputs}
        assert metrics[key].dataset_digest in digests
        assert len(client.get_metric_history(ids.run_id, key)) == 1


def test_a_model_in_mlflow_says_what_the_run_says(trained: Config):
    ids = result_of(trained, "small").mlflow
    runs = runs_of(trained)
    own = raysys.load(run_of(trained)).predict([str(manifest(trained))])  # type: ignore[call-arg,arg-type]
    for place in (
        f"runs:/{ids.run_id}",
        f"models:/{find_model(client_of(trained), 'runs:/' + ids.run_id).model_id}",
    ):
        found = Model(load_ensemble(place, runs)).predict([str(manifest(trained))])
        assert found.equals(own)


def test_the_champion_is_not_worse_than_any_before_on_the_same_folds(
    trained: Config, capsys: pytest.CaptureFixture[str]
):
    scores = {name: result_of(trained, name).mean["test"]["ua"] for name in ("small", "plain")}
    worse, better = sorted(scores, key=scores.__getitem__)
    client, name = client_of(trained), "emotions"
    for run in (better, worse):
        assert jobs.register.main([run, "--name", name, "--runs", trained.storage.runs]) == 0
    told = capsys.readouterr().out
    assert "first version" in told
    assert "without the alias" in told
    assert str(client.get_model_version_by_alias(name, "champion").version) == "1"
    assert load_ensemble(f"models:/{name}@champion", runs_of(trained)).config.seed == {
        "small": 0, "plain": 7
    }[better]  # fmt: skip
    assert (
        jobs.register.main([worse, "--name", name, "--runs", trained.storage.runs, "--force"]) == 0
    )
    assert str(client.get_model_version_by_alias(name, "champion").version) == "2"
    refit = ["small-refit", "--name", name, "--runs", trained.storage.runs, "--force"]
    assert jobs.register.main(refit) == 0
    assert f"against champion ({worse})" in capsys.readouterr().out
    latest = load_ensemble(f"models:/{name}/latest", runs_of(trained))
    assert len(latest.members) == 2  # its seeds
    with pytest.raises(ConfigError, match="MLflow has no"):
        load_ensemble(f"models:/{name}/17", runs_of(trained))


def test_other_folds_or_corpora_are_no_holder_to_be_compared_with(trained: Config):
    ours = standing_of(runs_of(trained) / "small")
    others = replace(ours, tests=ours.tests[:3])
    assert judge(ours, others)[0] is False
    elsewhere = replace(ours, result=replace(ours.result, corpus="elsewhere"))
    assert "elsewhere" in judge(ours, elsewhere)[1]
    assert judge(ours, ours)[0] is True
    assert isinstance(ours, Standing)


def test_in_an_environment_without_raysys_and_ray_a_model_gives_the_same_numbers(
    trained: Config, tmp_path: Path
):
    root = manifest(trained).parent
    rows = [line.split(",") for line in manifest(trained).read_text().splitlines()]
    audio, text = rows[0].index("audio"), rows[0].index("text")
    table = "\n".join(["audio,text", *(f"{root / row[audio]},{row[text]}" for row in rows[1:4])])
    (tmp_path / "inputs.csv").write_text(table + "\n")
    ids = result_of(trained, "small").mlflow
    place = f"models:/{find_model(client_of(trained), 'runs:/' + ids.run_id).model_id}"
    inputs, out = tmp_path / "inputs.csv", tmp_path / "found.csv"
    predict_in_fresh_environment(tmp_path, client_of(trained).tracking_uri, place, inputs, out)
    found = pandas.read_csv(tmp_path / "found.csv")
    own = raysys.load(run_of(trained)).predict([str(tmp_path / "inputs.csv")])  # type: ignore[call-arg,arg-type]
    columns = [name for name in own if name.startswith("p_")]
    assert len(columns) == 6
    np.testing.assert_allclose(found[columns], own[columns], atol=1e-5)


def test_a_study_that_is_extended_has_a_further_model_and_one_half_done_is_made_again(
    trained: Config,
):
    client, run = client_of(trained), runs_of(trained) / "plain"
    ids = read_result(run).mlflow
    [first] = models_of(client, ids.experiment_id, ids.run_id)

    def logged(card: str, *, dies: bool = False) -> ModelLog:
        about = ("demo", "digest"), ("audio", "text"), {"note": "string"}
        found = ModelLog(client, ids.experiment_id, "plain", *about, card, partial(export_run, run))
        found.begin(ids.run_id)
        if not dies:
            found.finish()
        return found

    again = logged(first.tags["mlflow.note.content"])
    assert again.model_id == first.model_id
    half = logged("longer", dies=True)
    longer = logged("longer")
    kept = [one.model_id for one in models_of(client, ids.experiment_id, ids.run_id)]
    assert kept == [longer.model_id, first.model_id]
    assert half.model_id not in kept
    assert find_model(client, f"runs:/{ids.run_id}").model_id == longer.model_id
    client.delete_logged_model(longer.model_id)
