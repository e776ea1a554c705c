"""Losses and the objective, in torch only."""

from raysys.losses.classification import emotion_aware_loss, kl_loss
from raysys.losses.objective import Objective, balanced_class_weights

__all__ = ["Objective", "balanced_class_weights", "emotion_aware_loss", "kl_loss"]
