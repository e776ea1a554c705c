"""A trial before and after it has run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from raysys.config import Config
from raysys.storage import Folder
from raysys.training.records import FoldResult, FoldTask
from raysys.trials.curve import Point

State = Literal["COMPLETE", "PRUNED", "FAILED", "STOPPED"]
"""PRUNED was stopped by a scheduler, STOPPED by a time limit: a resumed command goes on with it."""


@dataclass(frozen=True)
class Trial:
    """One configuration on all folds."""

    name: str
    """Of its folder and its MLflow run."""
    config: Config
    prior: Sequence[Any] | None = None
    """What its objective knows beforehand, fold by fold, such as S of the emotion-aware term."""
    milestones: tuple[int, ...] = ()
    """Epochs at which its folds wait for each other."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Setting -> value: what sets it apart from the command's other trials."""
    variant: str = ""
    """The line of an ablation that it belongs to."""

    def fold_tasks(self, folder: Folder, n_folds: int) -> list[FoldTask]:
        """One task a fold, each with its own folder (`fold_K`) under the trial's."""
        priors = [None] * n_folds if self.prior is None else self.prior
        return [
            FoldTask(
                self.name,
                fold,
                self.config,
                fold_folder(folder, fold).uri,
                prior,
                self.milestones,
            )
            for fold, prior in enumerate(priors)
        ]


@dataclass(frozen=True)
class TrialOutcome:
    """What became of a trial."""

    trial: Trial
    state: State
    folds: tuple[FoldResult, ...] = ()
    """Of a COMPLETE one, in the order of the folds."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Mean over folds of the best epochs' validation scores; of one that was stopped, so far."""
    curve: tuple[Point, ...] = ()
    """Without the last epoch of a COMPLETE one."""
    epochs: int = 0
    """Sum over the folds; of a resumed trial those of earlier commands too."""
    seconds: tuple[float, ...] = ()
    """Training of each fold, in this command."""
    reason: str = ""
    """Why it FAILED."""

    @property
    def name(self) -> str:
        """Of the trial."""
        return self.trial.name

    def mean(self, metric: str) -> float:
        """Mean over folds of the best epochs' validation score."""
        return float(np.mean([fold.val[metric] for fold in self.folds]))


def fold_folder(folder: Folder, fold: int) -> Folder:
    """Where a fold's files are, in its trial's folder."""
    return folder / f"fold_{fold}"
