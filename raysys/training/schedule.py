"""The learning rate of an epoch, from the settings and the epochs before it: nothing has to be stored or resumed."""

import math
from collections.abc import Sequence

from raysys.config.training import TrainingConfig

_THRESHOLD = 1e-6
"""Share by which a validation loss must be below the lowest so far to count as lower (MultiEMO authors' script)."""


def rate_factor(settings: TrainingConfig, epoch: int, losses: Sequence[float]) -> float:
    """What the rates of the settings are multiplied by in an epoch; 1 for a constant schedule.

        cosine    1/2 (1 + cos(pi (epoch - 1) / max_epochs))     Loshchilov & Hutter 2017, arXiv:1608.03983, Eq. 5
        plateau   plateau_factor ^ (times that the loss stopped falling)     torch.optim.lr_scheduler.ReduceLROnPlateau

    Args:
        settings: of the training.
        epoch: from 1.
        losses: validation losses of the epochs before it, in their order.
    """
    if settings.lr_schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (epoch - 1) / settings.max_epochs))
    if settings.lr_schedule == "plateau":
        return float(settings.plateau_factor ** _plateaus(losses, settings.plateau_patience))
    return 1.0


def _plateaus(losses: Sequence[float], patience: int) -> int:
    """How often more than `patience` epochs in a row did not bring a lower loss; counting begins anew each time."""
    lowest, waited, found = math.inf, 0, 0
    for loss in losses:
        if loss < lowest * (1 - _THRESHOLD):
            lowest, waited = loss, 0
        else:
            waited += 1
        if waited > patience:
            waited, found = 0, found + 1
    return found
