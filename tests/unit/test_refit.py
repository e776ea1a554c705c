"""One model on everything: its epochs are the folds' median, and nobody takes it for a tested one."""

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import jobs.refit
import raysys
from raysys.commands.refit import refit
from raysys.config import Config
from raysys.errors import ConfigError
from raysys.predicting.members import load_ensemble
from raysys.predicting.model import Model
from raysys.report.results import RefitResult, TrialResult, read_result
from raysys.storage import Folder
from tests.here import do_folds_here
from tests.unit.test_predicting import manifest, run_of


def test_it_is_trained_on_all_utterances_for_the_epochs_that_folds_kept(trained: Config):
    runs = Folder(trained.storage.runs)
    result, source = read_result(runs / "small-refit"), read_result(runs / "small")
    assert isinstance(result, RefitResult)
    assert isinstance(source, TrialResult)
    kept = [fold.best_epoch for fold in source.folds]
    assert result.epochs == round(float(np.median(kept)))
    assert result.utterances == 150
    assert result.seeds == (0, 1)
    assert result.expected.mean == source.mean["test"]
    members = load_ensemble("small-refit", runs).members
    assert [one.seed for one in members] == [0, 1]
    given = [fold.calibrated["temperature"] for fold in source.folds]
    for one in members:
        assert float(one.bundle.fitted["temperature"]) == pytest.approx(np.median(given))


def test_it_says_of_training_utterances_that_it_has_learnt_from_them(trained: Config):
    found = raysys.load(run_of(trained, "small-refit"))
    assert isinstance(found, Model)
    said = found.predict([str(manifest(trained))])
    assert said["note"].str.contains("every member has learnt from it").all()


def test_another_corpus_is_refused(trained: Config, monkeypatch: pytest.MonkeyPatch, small: Config):
    do_folds_here(monkeypatch)
    run = Folder(trained.storage.runs) / "small"
    record = run.read_json("run.json")
    from raysys.running.run_folder import read_record, write_record

    kept = read_record(run)
    write_record(run, replace(kept, parts={**kept.parts, "data": "another"}))
    try:
        with pytest.raises(ConfigError, match="corpus or its features are others"):
            refit(
                run,
                replace(trained, name="x"),
                epochs=None,
                resume=None,
                console=Console(quiet=True),
            )
    finally:
        write_record(run, kept)
    assert record == run.read_json("run.json")


def test_the_command_takes_places_and_epochs_and_nothing_else(
    trained: Config, monkeypatch: pytest.MonkeyPatch
):
    do_folds_here(monkeypatch)
    args = ["plain", "--storage.runs", trained.storage.runs]
    assert jobs.refit.main([*args, "--training.max_epochs", "1", "--name", "again"]) == 0
    result = read_result(Folder(trained.storage.runs) / "again")
    assert isinstance(result, RefitResult)
    assert (result.epochs, result.seeds) == (1, (7,))
    with pytest.raises(ConfigError, match="is the run's own"):
        jobs.refit.main([*args, "--loss.mu1", "0.2"])
