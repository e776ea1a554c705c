"""What a command says has ended has ended in MLflow too; what MLflow lacks is logged again from the folder."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from raysys.commands.cross_validate import cross_validate
from raysys.commands.tune import tune
from raysys.config import Config
from raysys.config.running import Distribution
from raysys.errors import FoldFailedError
from raysys.running.run_folder import read_record, write_record
from raysys.storage import Folder
from raysys.tracking.command_log import CommandLog
from tests.here import do_folds_here, numbers, small_study, tiny
from tests.killed import logged


def console() -> Console:
    return Console(file=StringIO(), width=120)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    do_folds_here(monkeypatch)


def test_finished_is_written_after_mlflow_has_everything(
    small: Config, monkeypatch: pytest.MonkeyPatch
):
    config, seen = tiny(small), []
    folder = Folder(config.storage.runs) / "small"
    finish = CommandLog.finish

    def watched(self: CommandLog, status: str, **named: float) -> None:
        finish(self, status, **named)
        seen.append((status, read_record(folder).status))

    monkeypatch.setattr(CommandLog, "finish", watched)
    cross_validate(config, resume=False, console=console())
    assert seen == [("FINISHED", "RUNNING")]
    assert read_record(folder).status == "FINISHED"


def test_a_run_that_was_deleted_in_mlflow_is_logged_again_from_the_folder(small: Config):
    config = tiny(small)
    result = cross_validate(config, resume=False, console=console())
    database = Path(config.storage.runs) / "mlflow.db"
    client = MlflowClient(f"sqlite:///{database}")
    whole = logged(database)
    for run in client.search_runs([result.mlflow.experiment_id]):
        client.delete_run(run.info.run_id)
    assert logged(database) == {}
    again = cross_validate(config, resume=True, console=console())
    assert [fold.test for fold in again.folds] == [fold.test for fold in result.folds]
    assert logged(database) == whole


def test_a_study_without_a_complete_trial_fails_with_the_reason(small: Config):
    space = {"training.learning_rate": Distribution(choices=(1e30, 2e30))}
    config = small_study(small, space=space)
    with pytest.raises(
        FoldFailedError, match=r"no trial of the study has all its folds \(2 failed\); .*"
    ):
        tune(config, resume=False, console=console())
    folder = Folder(config.storage.runs) / "study"
    assert not folder.exists("best.yaml")
    assert read_record(folder).status == "FAILED"


def test_a_study_prepares_every_modality_that_it_searches(small: Config):
    narrow = replace(small, model=replace(small.model, modalities=("text",)))
    space = {"model.modalities": Distribution(choices=(("text",), ("audio", "text")))}
    result = tune(small_study(narrow, space=space, num_trials=3), resume=False, console=console())
    tried = {trial.values["model.modalities"]: trial.state for trial in result.trials}
    assert tried[("audio", "text")] == "COMPLETE"


def test_a_trial_whose_record_and_its_copy_are_damaged_is_done_again_with_a_note(small: Config):
    config = small_study(small)
    whole = tune(config, resume=False, console=console())
    place = Path(config.storage.runs) / "study" / "trials" / "trial_000"
    for name in ("trial.json", "trial.json.copy"):
        (place / name).write_text("[]")
    record = Folder(config.storage.runs) / "study"
    write_record(record, replace(read_record(record), status="KILLED"))
    paper = console()
    again = tune(config, resume=True, console=paper)
    assert "trial_000/trial.json and its copy are damaged" in "".join(
        paper.file.getvalue().split("\n")
    )  # type: ignore[attr-defined]
    assert numbers(again) == numbers(whole)
