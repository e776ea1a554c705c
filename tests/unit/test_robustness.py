"""Trained folds under noise: as recorded they score what the run scored; noise costs; nothing else changes."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from rich.console import Console

import jobs.robustness
from raysys.commands import robustness
from raysys.commands.robustness import FILE, robustness_command
from raysys.config import Config
from raysys.errors import ConfigError, FeatureError
from raysys.predicting.members import Ensemble, load_ensemble
from raysys.report.results import TrialResult, read_result
from raysys.sealed import read_sealed
from raysys.storage import Folder


def test_scores_as_recorded_are_the_runs_own_and_noise_changes_them(
    trained: Config, tmp_path: Path
):
    runs = Folder(trained.storage.runs)
    result = read_result(runs / "small")
    assert isinstance(result, TrialResult)
    console = Console(file=(tmp_path / "out.txt").open("w"), width=100)
    found = robustness_command("small", levels=[-10.0, 30.0], root="", runs=runs, console=console)
    for name in ("ua", "wa", "weighted_f1"):
        assert found[np.inf].mean[name] == pytest.approx(result.mean["test"][name], abs=1e-9)
    assert list(found) == [np.inf, 30.0, -10.0]
    assert found[-10.0].mean != found[np.inf].mean
    assert found[30.0].mean != found[-10.0].mean
    kept = read_sealed(runs / "small", FILE)["test"]
    assert kept["-10 dB"]["mean"]["ua"] == found[-10.0].mean["ua"]
    console.file.flush()
    printed = (tmp_path / "out.txt").read_text()
    assert "as recorded" in printed
    assert "UA lost" in printed
    assert "MLflow       test_noise/..." in printed
    client = MlflowClient(f"sqlite:///{trained.storage.runs}/mlflow.db")
    run = client.get_run(result.mlflow.run_id)
    assert run.data.metrics["test_noise/-10 dB/ua"] == found[-10.0].mean["ua"]
    assert FILE in [one.path for one in client.list_artifacts(result.mlflow.run_id)]


def test_scores_are_kept_also_where_mlflow_is_gone(
    trained: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    runs, console = Folder(trained.storage.runs), Console(file=StringIO(), width=100)
    robustness_command("small", levels=[5.0], root="", runs=runs, console=console)
    assert "5 dB" in read_sealed(runs / "small", FILE)["test"]
    assert "MLflow       not there: there is no MLflow at" in console.file.getvalue()


def test_the_command_refuses_what_it_cannot_score(trained: Config):
    runs = Folder(trained.storage.runs)
    console = Console(quiet=True)
    with pytest.raises(ConfigError, match="--snr_db is"):
        robustness_command("small", levels=[500.0], root="", runs=runs, console=console)
    with pytest.raises(ConfigError, match="is no run"):
        jobs.robustness.main(["nothing", "--runs", trained.storage.runs])


def test_an_encoder_with_other_files_is_refused(
    trained: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    then, now = ({"audio": {"files": {"w": one}}, "text": {}} for one in ("then", "now"))
    own = load_ensemble

    def moved(*given: object, **named: object) -> Ensemble:
        found = own(*given, **named)
        members = tuple(
            replace(one, bundle=replace(one.bundle, encoders=then)) for one in found.members
        )
        return replace(found, members=members)

    monkeypatch.setattr(robustness, "load_ensemble", moved)
    monkeypatch.setattr(Ensemble, "fingerprints", now)
    runs, console = Folder(trained.storage.runs), Console(quiet=True)
    with pytest.raises(FeatureError, match="audio encoder at .* has other files"):
        robustness_command("small", levels=[5.0], root="", runs=runs, console=console)
