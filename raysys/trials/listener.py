"""Who is notified of what happens to trials: live view, MLflow, journal; all in the command's main thread."""

from raysys.corpus.folds import FoldKey
from raysys.training.records import EpochRecord, FoldResult
from raysys.trials.curve import Point
from raysys.trials.trial import Trial, TrialOutcome


class Listener:
    """Hears everything and does nothing; override what matters."""

    def recalled(self, outcome: TrialOutcome) -> None:
        """A trial had ended before this command was resumed."""

    def started(self, trial: Trial) -> None:
        """Its folds are waiting for workers."""

    def epoch(self, trial: Trial, key: FoldKey, record: EpochRecord) -> None:
        """A fold has finished an epoch."""

    def point(self, trial: Trial, point: Point) -> None:
        """All folds have reached an epoch."""

    def fold_done(self, trial: Trial, result: FoldResult) -> None:
        """A fold has its result."""

    def ended(self, outcome: TrialOutcome) -> None:
        """It is over, one way or another."""
