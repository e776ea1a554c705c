"""Tune's schedulers, asked after every epoch that all folds of a trial have reached whether it goes on."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from raysys.config.running import SearchConfig
from raysys.report.results import TrialRecord
from raysys.tasks.task import Metric

_KEY = "objective"


class Scheduler:
    """ASHA on the first objective, or nothing at all.

    Args:
        config: which, and its rungs.
        objective: the score that it compares.
        max_epochs: most epochs that a trial can have.
        records: trials that have ended before; its own state does not outlive a command.
    """

    def __init__(
        self,
        config: SearchConfig,
        objective: Metric,
        *,
        max_epochs: int,
        records: Sequence[TrialRecord] = (),
    ) -> None:
        self._objective = objective
        self._asha = None
        if milestones(config, max_epochs):
            self._asha = ASHAScheduler(
                time_attr="epoch",
                metric=_KEY,
                mode="max" if objective.higher_is_better else "min",
                max_t=max_epochs,
                grace_period=config.grace_epochs,
                reduction_factor=config.reduction_factor,
            )
        for record in records:
            self.add(record.name)
            for point in record.curve:
                self.stops(record.name, point.epoch, point.best)

    def add(self, trial: str) -> None:
        """A trial starts."""
        if self._asha:
            self._asha.on_trial_add(None, _named(trial))

    def stops(self, trial: str, epoch: int, scores: Mapping[str, float]) -> bool:
        """Whether a trial that has reached an epoch with these scores should end there."""
        if not self._asha:
            return False
        result = {"epoch": epoch, _KEY: scores[self._objective.name]}
        return bool(self._asha.on_trial_result(None, _named(trial), result) == TrialScheduler.STOP)


def milestones(config: SearchConfig, max_epochs: int) -> tuple[int, ...]:
    """Epochs of ASHA's rungs, below the last epoch."""
    if config.scheduler == "none":
        return ()
    rungs = []
    epoch = config.grace_epochs
    while epoch < max_epochs:
        rungs.append(epoch)
        epoch *= config.reduction_factor
    return tuple(rungs)


def _named(trial: str) -> Any:
    """All that ASHA asks of a trial."""
    return SimpleNamespace(trial_id=trial)
