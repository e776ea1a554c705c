"""A fold's model that is trained again on train and val: what a longer train part gives, and test is still unseen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raysys.config import Config
from raysys.corpus.folds import Fold
from raysys.predictions import read_predictions
from raysys.running.plan import make_plan
from raysys.storage import Folder
from raysys.training import fold as fold_module
from raysys.training.fold import run_fold
from tests.conftest import with_training
from tests.unit.test_training import FOLD, TASK, arrays, go_on, task

BOTH = np.arange(0, 48)


def predicted(folder: Path) -> np.ndarray:
    return read_predictions(Folder(str(folder)), TASK.stored).outputs


@pytest.mark.parametrize("keep", ["best", "last"])
def test_it_is_the_model_of_a_longer_train_part_and_val_scores_stay(
    keep: str, small: Config, tmp_path: Path
):
    config = with_training(small, max_epochs=4, keep=keep)
    plain = run_fold(task(config, tmp_path / "plain"), arrays(), go_on)
    again = run_fold(task(with_training(config, refit=True), tmp_path / "again"), arrays(), go_on)
    assert [one.val for one in again.history] == [one.val for one in plain.history]
    assert again.measured == plain.measured
    longer = replace(arrays(), folds=(Fold(0, BOTH, FOLD.val, FOLD.test),))
    wanted = with_training(config, max_epochs=plain.best_epoch, keep="last")
    run_fold(task(wanted, tmp_path / "longer"), longer, go_on)
    assert np.array_equal(predicted(tmp_path / "again"), predicted(tmp_path / "longer"))
    assert not np.array_equal(predicted(tmp_path / "again"), predicted(tmp_path / "plain"))


def test_a_fold_that_dies_in_its_second_training_ends_at_the_same_bytes(
    small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = with_training(small, max_epochs=4, refit=True, temperature=True, checkpoint_every=1)
    run_fold(task(config, tmp_path / "whole"), arrays(), go_on)
    train_epoch, calls = fold_module.train_epoch, []

    def dying(*given: object, **named: object) -> float:
        calls.append(given)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return train_epoch(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(fold_module, "train_epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        run_fold(task(config, tmp_path / "halves"), arrays(), go_on)
    monkeypatch.setattr(fold_module, "train_epoch", train_epoch)
    run_fold(task(config, tmp_path / "halves"), arrays(), go_on)
    for name in ("weights.safetensors", "test_probabilities.npy", "fold.json"):
        whole, halves = ((tmp_path / one / name).read_bytes() for one in ("whole", "halves"))
        assert whole == halves or name == "fold.json"
    assert not (tmp_path / "halves/refit/checkpoint.safetensors").exists()


def test_its_weights_do_not_depend_on_the_test_part(small: Config, tmp_path: Path):
    poisoned = arrays()
    for ragged in poisoned.features.values():
        ragged.shards[0][ragged.starts[48] :] = np.nan
    config = with_training(small, max_epochs=2, refit=True)
    for name, data in (("clean", arrays()), ("poisoned", poisoned)):
        run_fold(task(config, tmp_path / name), data, go_on)
    weights = [(tmp_path / n / "weights.safetensors").read_bytes() for n in ("clean", "poisoned")]
    assert weights[0] == weights[1]


def test_the_audit_says_it(small: Config):
    plan = make_plan(with_training(small, refit=True))
    assert "refit_on_val" in {one.kind for one in plan.audit}
