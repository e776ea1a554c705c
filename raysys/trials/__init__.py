"""A configuration on all its folds, what became of it, and who is told: the words of everything above. Plain Python."""

from raysys.trials.curve import MeanCurve, Point
from raysys.trials.listener import Listener
from raysys.trials.trial import State, Trial, TrialOutcome

__all__ = ["Listener", "MeanCurve", "Point", "State", "Trial", "TrialOutcome"]
