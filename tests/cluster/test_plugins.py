"""The guide's plug-ins, in a folder in which nobody has installed anything, through the commands."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.test_newcomer import job, without_ray
from tests.plugins import PAGE, write_plugins

pytestmark = [pytest.mark.cluster, pytest.mark.proof("plugins")]
SHORT = ("--training.max_epochs", "2", "--folds.n_splits", "3", "--similarity.resamples", "20")


def test_the_page_runs_as_it_stands_and_its_study_searches_an_option(tmp_path: Path):
    module = write_plugins(tmp_path)
    (line,) = re.findall(r"^python -m (jobs\.cross_validate .*)$", PAGE.read_text(), re.MULTILINE)
    command = [*line.replace("DATA", "data").split(), *SHORT]
    said = job(*command, home=tmp_path)
    assert "mine:MeansConfig (text) on mine" in said
    stored = json.loads((tmp_path / "runs" / "run" / "config.json").read_text())
    assert int(stored["model"]["options"]["width"]) == 16
    job("jobs.predict", "run", "--text", "what a lovely day!", "--out", "own.csv", home=tmp_path)
    assert (tmp_path / "own.csv").is_file()

    flags = command[1:]
    space = "{model.options.width: {choices: [4, 8]}}"
    study = [
        "--search.num_trials",
        "2",
        "--search.scheduler",
        "none",
        "--search.confirm_seeds",
        "0",
    ]
    job("jobs.tune", *flags, "--name", "wide", "--search.space", space, *study, home=tmp_path)
    trials = json.loads((tmp_path / "runs" / "wide" / "result.json").read_text())["trials"]
    assert {one["params"]["model.options.width"] for one in trials} == {4, 8}

    module.write_text(module.read_text().replace("torch.relu", "torch.tanh"))
    again = subprocess.run(
        [sys.executable, "-m", *command, "--resume"],
        cwd=tmp_path,
        env={**without_ray(), "PYTHONPATH": str(PAGE.parents[1])},
        capture_output=True,
        text=True,
    )
    assert again.returncode == 2
    assert "the code of plug-ins has changed" in again.stderr


def test_the_checks_of_the_page_hold(tmp_path: Path):
    write_plugins(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "mine.py", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**without_ray(), "PYTHONPATH": str(PAGE.parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
