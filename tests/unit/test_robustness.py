"""Trained folds under noise: as recorded they score what the run scored; noise costs; nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import jobs.robustness
from raysys.commands.robustness import FILE, robustness_command
from raysys.config import Config
from raysys.errors import ConfigError
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


def test_the_command_refuses_what_it_cannot_score(trained: Config):
    runs = Folder(trained.storage.runs)
    console = Console(quiet=True)
    with pytest.raises(ConfigError, match="--snr_db is"):
        robustness_command("small", levels=[500.0], root="", runs=runs, console=console)
    with pytest.raises(ConfigError, match="is no run"):
        jobs.robustness.main(["nothing", "--runs", trained.storage.runs])
