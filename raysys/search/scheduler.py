"""Which trials go on: Tune's ASHA, asked after epochs that all folds of a trial have reached; or a race over folds.

asha   a trial's folds train side by side; at rungs (epochs) it goes on when its mean is among the best there
race   a trial's folds train one after the other; at rungs, and when a fold ends, it goes on unless a paired test
says that it is behind the best complete trial on the same folds
"""

from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from scipy import stats

from raysys.config.running import SearchConfig
from raysys.corpus.folds import FoldKey
from raysys.tasks.task import Metric
from raysys.training.records import EpochRecord
from raysys.trials.curve import kept
from raysys.trials.trial import TrialOutcome

Histories = Mapping[FoldKey, Sequence[EpochRecord]]
"""Epochs of every training of a trial; empty where it has not begun."""
_KEY = "objective"


class Scheduler:
    """Lets all trials finish; others override what matters."""

    in_turn = False
    """Whether a trial's folds train one after the other."""
    milestones: tuple[int, ...] = ()
    """Epochs at which a trial's folds wait for each other."""

    def add(self, trial: str) -> None:
        """A trial starts."""

    def stops_at(self, trial: str, epoch: int, scores: Mapping[str, float]) -> bool:
        """Whether a trial should end whose folds have all reached an epoch, with these scores."""
        return False

    def stops_after(self, histories: Histories, ended: Collection[FoldKey]) -> bool:
        """Whether a trial should end after the latest epoch, or end, of one of its folds."""
        return False

    def complete(self, histories: Histories) -> None:
        """A trial has all its folds."""


class Asha(Scheduler):
    """Tune's ASHA (Li et al. 2020, arXiv:1810.05934) on one objective.

    Args:
        config: its rungs.
        objective: the score that it compares.
        max_epochs: most epochs that a trial can have.
    """

    def __init__(self, config: SearchConfig, objective: Metric, *, max_epochs: int) -> None:
        self._objective = objective
        self.milestones = rungs(config, max_epochs)
        self._asha = ASHAScheduler(
            time_attr="epoch",
            metric=_KEY,
            mode="max" if objective.higher_is_better else "min",
            max_t=max_epochs,
            grace_period=config.grace_epochs,
            reduction_factor=config.reduction_factor,
        )

    def add(self, trial: str) -> None:
        """A trial starts."""
        self._asha.on_trial_add(None, _named(trial))

    def stops_at(self, trial: str, epoch: int, scores: Mapping[str, float]) -> bool:
        """Whether it is behind at a rung."""
        result = {"epoch": epoch, _KEY: scores[self._objective.name]}
        return bool(self._asha.on_trial_result(None, _named(trial), result) == TrialScheduler.STOP)


class Race(Scheduler):
    """Stops a trial that a one-sided paired test says is behind the best complete one.

        d_k = objective of the trial - that of the best, on fold k (and seed), both up to the same epoch
        it stops when mean d < -z(1 - p) sigma / sqrt(n), over the n folds that have ended or stand at a rung

    Five folds are too few pairs to know their deviation (Wilcoxon's test, of Optuna's pruner, reaches no p 0.05 before
    the fifth), so sigma is pooled over all complete trials: how much the folds of one disagree on its distance from the
    best. The published early stopping of cross-validation (Bergman et al., AutoML 2024) compares unpaired
    scores instead. Nothing is stopped before two trials are complete.

    Args:
        config: rungs, and p.
        objective: the score that it compares.
        max_epochs: most epochs that a training can have.
        chooser: of the epoch whose score counts, see `raysys.trials.curve.kept`.
    """

    in_turn = True

    def __init__(
        self, config: SearchConfig, objective: Metric, *, max_epochs: int, chooser: Metric | None
    ) -> None:
        self._objective, self._chooser = objective, chooser
        self._rungs = rungs(config, max_epochs)
        self._z = float(stats.norm.ppf(1 - config.race_p))
        self._complete: list[Histories] = []

    def stops_after(self, histories: Histories, ended: Collection[FoldKey]) -> bool:
        """Whether the test says so; only asked at rungs and ends."""
        told = [key for key in histories if key in ended or len(histories[key]) in self._rungs]
        if len(self._complete) < 2 or not told:
            return False
        best = max(self._complete, key=self._mean)
        epochs = {key: None if key in ended else len(histories[key]) for key in told}
        distances = [self._distance(histories, best, key, epochs[key]) for key in told]
        variances = [
            np.var([self._distance(one, best, key, epochs[told[-1]]) for key in one], ddof=1)
            for one in self._complete
            if one is not best and len(one) > 1
        ]
        if not variances:  # one fold and one seed: nothing disagrees
            return False
        sigma = float(np.sqrt(np.mean(variances)))
        return bool(np.mean(distances) < -self._z * sigma / np.sqrt(len(distances)))

    def complete(self, histories: Histories) -> None:
        """A trial has all its folds."""
        self._complete.append(histories)

    def _distance(self, one: Histories, other: Histories, key: FoldKey, epoch: int | None) -> float:
        return self._worth(one[key][:epoch]) - self._worth(other[key][:epoch])

    def _worth(self, history: Sequence[EpochRecord]) -> float:
        return self._objective.worth(kept(history, self._chooser)[self._objective.name])

    def _mean(self, histories: Histories) -> float:
        return float(np.mean([self._worth(history) for history in histories.values()]))


def make_scheduler(
    config: SearchConfig,
    objective: Metric,
    *,
    max_epochs: int,
    chooser: Metric | None,
    ended: Sequence[TrialOutcome] = (),
) -> Scheduler:
    """The scheduler of a config.

    Args:
        config: which, and its rungs.
        objective: the score that it compares.
        max_epochs: most epochs that a trial can have.
        chooser: of a training's epoch, see `raysys.trials.curve.kept`.
        ended: trials that have ended before; its own state does not outlive a command.
    """
    scheduler = Scheduler()
    if config.scheduler == "asha" and rungs(config, max_epochs):
        scheduler = Asha(config, objective, max_epochs=max_epochs)
    elif config.scheduler == "race":
        scheduler = Race(config, objective, max_epochs=max_epochs, chooser=chooser)
    for outcome in ended:
        scheduler.add(outcome.name)
        for point in outcome.curve:
            scheduler.stops_at(outcome.name, point.epoch, point.best)
        if outcome.state == "COMPLETE":
            scheduler.complete({fold.key: fold.history for fold in outcome.folds})
    return scheduler


def rungs(config: SearchConfig, max_epochs: int) -> tuple[int, ...]:
    """Epochs at which trials are compared, below the last epoch."""
    found = []
    epoch = config.grace_epochs
    while epoch < max_epochs:
        found.append(epoch)
        epoch *= config.reduction_factor
    return tuple(found)


def _named(trial: str) -> Any:
    """All that ASHA asks of a trial."""
    return SimpleNamespace(trial_id=trial)
