"""Folds that one worker trains at the same time: a run's scores are those of folds alone, also when the worker dies."""

import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from raysys.config import Config
from raysys.errors import ConfigError
from raysys.models.multiemo import MultiemoConfig
from raysys.running import session
from raysys.running.session import standing_pool
from raysys.settings import replaced
from tests.cluster.conftest import Ran, run
from tests.cluster.gate import Gate, gated_fold_together, kill_at

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("own_pool")]
SIZES = MultiemoConfig(dim=8, state=6, hidden=8, layers=1, heads=2, feedforward=12)
DIGITS = 1e-4
"""Of probabilities after a whole training."""


def dialogues(config: Config) -> Config:
    """A small run of MultiEMO, every fold with two seeds."""
    return replaced(
        config,
        {
            "model.name": "multiemo",
            "model.multiemo": SIZES,
            "training.batch_size": 4,
            "training.seeds": 2,
            "loss.mu1": 0.1,
            "loss.mu2": 0.1,
        },
    )


def probabilities(ran: Ran) -> list[np.ndarray]:
    folders = [ran.folder / f"seed_{seed}" / f"fold_{fold}" for seed in (0, 1) for fold in range(5)]
    return [np.load(folder / "test_probabilities.npy") for folder in folders]


@pytest.mark.proof("cluster", "training", "running")
def test_ten_trainings_three_at_a_time_end_as_alone_though_their_worker_dies(
    small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = dialogues(small)
    alone = run(config)
    gate = Gate(tmp_path / "gate")
    point = gate.hold("small", 1, 3)
    monkeypatch.setattr(session, "run_fold_together", partial(gated_fold_together, gate))
    killed: list[int] = []
    thread = threading.Thread(target=lambda: killed.append(kill_at(point)), daemon=True)
    thread.start()
    more = {"training.together": 3, "cluster.workers": 1, "storage.runs": str(tmp_path / "again")}
    together = run(replaced(config, more))
    thread.join(10)
    assert len(killed) == 1
    assert "3 at a time" in together.printed
    for ours, theirs in zip(probabilities(together), probabilities(alone), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=DIGITS)
    for ours, theirs in zip(together.result.folds, alone.result.folds, strict=True):
        assert (ours.epochs, ours.best_epoch) == (theirs.epochs, theirs.best_epoch)
        assert ours.val == pytest.approx(theirs.val, abs=DIGITS)


@pytest.mark.proof("cluster", "running")
def test_a_pool_that_stands_trains_as_many_together_as_it_was_opened_for(small: Config):
    config = replaced(dialogues(small), {"training.together": 5, "training.seeds": 1})
    with standing_pool(config.cluster, together=5):
        first = run(config)
        second = run(replaced(config, {"name": "second"}))
        with pytest.raises(
            ConfigError, match=r"training.together is 1, but must be 5 within stand"
        ):
            run(replaced(config, {"training.together": 1}))
    assert "5 at a time" in first.printed
    assert "efficiency" not in first.printed
    for ours, theirs in zip(first.result.folds, second.result.folds, strict=True):
        assert ours.val == pytest.approx(theirs.val, abs=DIGITS)
    with (
        standing_pool(config.cluster),
        pytest.raises(ConfigError, match=r"training.together is 5, but must be 1 within stand"),
    ):
        run(config)
