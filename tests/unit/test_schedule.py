"""Learning rates over epochs, against torch's own schedulers."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from raysys.config.training import TrainingConfig
from raysys.errors import ConfigError
from raysys.training.schedule import rate_factor


def by_torch(make: Callable, losses: list[float], *, plateau: bool) -> list[float]:
    """Rates of each epoch, the first of which is 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for loss in losses:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(loss) if plateau else scheduler.step()
    return rates


@pytest.mark.parametrize("patience", [0, 1, 3, 10])
@pytest.mark.parametrize("seed", range(5))
def test_plateau_is_torchs_reduce_on_plateau(patience: int, seed: int):
    random = np.random.default_rng(seed)
    losses = (3 / np.arange(1, 61) ** 0.3 + 0.6 * random.standard_normal(60)).tolist()
    settings = TrainingConfig(lr_schedule="plateau", plateau_factor=0.95, plateau_patience=patience)
    ours = [rate_factor(settings, k + 1, losses[:k]) for k in range(60)]
    theirs = by_torch(
        lambda one: ReduceLROnPlateau(one, factor=0.95, patience=patience, threshold=1e-6),
        losses,
        plateau=True,
    )
    assert ours == pytest.approx(theirs)
    assert ours[-1] < 1


def test_cosine_is_torchs_cosine_annealing():
    settings = TrainingConfig(lr_schedule="cosine", max_epochs=20)
    ours = [rate_factor(settings, k + 1, [1.0] * k) for k in range(20)]
    theirs = by_torch(lambda one: CosineAnnealingLR(one, T_max=20), [0.0] * 20, plateau=False)
    assert ours == pytest.approx(theirs)


def test_a_constant_rate_is_one():
    assert rate_factor(TrainingConfig(), 30, [2.0] * 29) == 1.0


@pytest.mark.parametrize("setting, value", [("plateau_factor", 1.0), ("plateau_patience", -1)])
def test_settings_out_of_range_are_refused(setting: str, value: float):
    with pytest.raises(ConfigError, match=f"training.{setting}"):
        TrainingConfig(lr_schedule="plateau", **{setting: value})
