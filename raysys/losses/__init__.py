"""Losses and the objective, in torch only."""

from raysys.losses.classification import emotion_aware_loss, kl_loss
from raysys.losses.objective import Objective, balanced_class_weights, class_counts
from raysys.losses.soft_hgr import soft_hgr_loss
from raysys.losses.swfc import swfc_loss

__all__ = [
    "Objective",
    "balanced_class_weights",
    "class_counts",
    "emotion_aware_loss",
    "kl_loss",
    "soft_hgr_loss",
    "swfc_loss",
]
