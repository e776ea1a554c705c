"""The list of runs, and what may be done to them."""

from pathlib import Path

import pytest

import jobs.runs
import raysys
from raysys.commands.runs import list_runs, remove_run
from raysys.config import Config
from raysys.errors import ConfigError, StorageError
from raysys.predicting.model import Model
from raysys.running.run_folder import RunRecord, write_record
from raysys.storage import Folder
from tests.unit.test_predicting import manifest, run_of


def test_every_run_is_listed_with_its_state_and_score(
    trained: Config, capsys: pytest.CaptureFixture[str]
):
    listed = {one.name: one for one in list_runs(Folder(trained.storage.runs))}
    assert {"small", "plain", "small-refit"} <= set(listed)
    assert listed["small"].state == "FINISHED"
    assert listed["small"].score.startswith("UA ")
    assert listed["small-refit"].kind == "refit"
    assert jobs.runs.main(["--runs", trained.storage.runs]) == 0
    assert jobs.runs.main(["show", "small-refit", "--runs", trained.storage.runs]) == 0
    assert "never tested itself" in capsys.readouterr().out


def test_a_run_that_is_interrupted_or_held_is_told_apart(tmp_path: Path):
    folder = Folder(str(tmp_path)) / "half"
    write_record(folder, RunRecord("identity", "0", "run", "RUNNING"))
    runs = Folder(str(tmp_path))
    assert [one.state for one in list_runs(runs)] == ["INTERRUPTED"]
    with folder.held():
        assert [one.state for one in list_runs(runs)] == ["RUNNING"]
        with pytest.raises(StorageError, match="another command is writing"):
            remove_run("half", runs, sure=True)
    assert folder.exists("run.json")


def test_it_asks_before_it_removes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    runs, folder = Folder(str(tmp_path)), Folder(str(tmp_path)) / "old"
    write_record(folder, RunRecord("identity", "0", "run-id", "FINISHED"))
    remove_run("old", runs, sure=False, ask=lambda question: "n")
    assert folder.exists("run.json")
    asked: list[str] = []
    remove_run("old", runs, sure=False, ask=lambda question: asked.append(question) or "yes")
    assert not folder.exists()
    assert "old" in asked[0]
    assert "run-id" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="is no run"):
        remove_run("old", runs, sure=True)


def test_what_is_handed_on_predicts_as_the_run_does(trained: Config, tmp_path: Path):
    out = tmp_path / "handed"
    assert jobs.runs.main(["export", "small", str(out), "--runs", trained.storage.runs]) == 0
    assert (out / "report.html").is_file()
    there, here = raysys.load(str(out)), raysys.load(run_of(trained))
    assert isinstance(there, Model)
    assert isinstance(here, Model)
    inputs = [str(manifest(trained))]
    assert there.predict(inputs).equals(here.predict(inputs))
    with pytest.raises(ConfigError, match="is not empty"):
        jobs.runs.main(["export", "small", str(out), "--runs", trained.storage.runs])
