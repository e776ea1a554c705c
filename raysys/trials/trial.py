"""A trial before and after it has run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from raysys.config import Config
from raysys.corpus.folds import FoldKey
from raysys.settings import replaced
from raysys.similarity.prior import FoldPrior
from raysys.storage import Folder
from raysys.training.records import FoldResult, FoldTask
from raysys.trials.curve import MeanCurve, Point

State = Literal["COMPLETE", "PRUNED", "FAILED", "STOPPED"]
"""PRUNED was stopped by a scheduler, STOPPED by a time limit: a resumed command goes on with it."""


@dataclass(frozen=True)
class Trial:
    """One configuration on all folds, with all its seeds."""

    name: str
    """Name of its folder and its MLflow run."""
    config: Config
    prior: Sequence[FoldPrior] | None = None
    """Fold by fold."""
    milestones: tuple[int, ...] = ()
    """Epochs at which its folds wait for each other."""
    in_turn: bool = False
    """Whether its folds train one after the other, each when the one before has not ended the trial."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Setting -> value: what sets it apart from the command's other trials."""
    variant: str = ""
    """The line of an ablation that it belongs to."""
    folds: tuple[int, ...] | None = None
    """Folds that it trains, with a prior for each; None: all folds of the command."""
    calibrated: Mapping[str, float] | None = None
    """See `FoldTask`."""

    @property
    def seeds(self) -> range:
        """Seeds of the trainings of every fold."""
        return range(self.config.seed, self.config.seed + self.config.training.seeds)

    def fold_tasks(self, folder: Folder, n_folds: int) -> list[FoldTask]:
        """One task a fold and seed, seed by seed; each is what a run with that one seed would do.

        Args:
            folder: of the trial; `fold_K` in it is the task's own, with several seeds `seed_S/fold_K`.
            n_folds: of the command.
        """
        folds = range(n_folds) if self.folds is None else self.folds
        priors = [None] * len(folds) if self.prior is None else self.prior
        return [
            FoldTask(
                self.name,
                fold,
                replaced(self.config, {"seed": seed, "training.seeds": 1}),
                (self.seed_folder(folder, seed) / f"fold_{fold}").uri,
                prior,
                self.milestones,
                seed,
                self.calibrated,
            )
            for seed in self.seeds
            for fold, prior in zip(folds, priors, strict=True)
        ]

    def again(self, seeds: int) -> "Trial":
        """The same configuration with that many fresh seeds."""
        fresh = {"seed": self.seeds.stop, "training.seeds": seeds}
        config = replaced(self.config, fresh)
        return replace(
            self, name=f"{self.name}-confirmed", config=config, milestones=(), in_turn=False
        )

    def title(self, key: FoldKey) -> str:
        """How people call one of its trainings."""
        seed, fold = key
        if self.folds is not None and len(self.folds) > 1:
            return f"inner fold {self.folds.index(fold)}"
        return f"fold {fold} of seed {seed}" if len(self.seeds) > 1 else f"fold {fold}"

    def seed_folder(self, folder: Folder, seed: int) -> Folder:
        """Where the folds of a seed are, in the trial's folder."""
        return folder / f"seed_{seed}" if len(self.seeds) > 1 else folder


@dataclass(frozen=True)
class TrialOutcome:
    """What became of a trial."""

    trial: Trial
    state: State
    folds: tuple[FoldResult, ...] = ()
    """Results of a COMPLETE trial's folds, seed by seed, in the order of the folds."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Mean over folds and seeds of the kept epochs' validation scores; of one that was stopped, so far."""
    curve: tuple[Point, ...] = ()
    """Without the last epoch of a COMPLETE one."""
    epochs: int = 0
    """Sum over folds and seeds; of a resumed trial those of earlier commands too."""
    seconds: tuple[float, ...] = ()
    """Seconds of each training in this command."""
    reason: str = ""
    """Why it FAILED."""

    @property
    def name(self) -> str:
        """Name of the trial."""
        return self.trial.name

    @property
    def points(self) -> tuple[Point, ...]:
        """The whole curve: of a COMPLETE one with its last epoch."""
        if self.state != "COMPLETE":
            return self.curve
        whole = MeanCurve([fold.key for fold in self.folds], self.trial.config.chooser)
        for fold in self.folds:
            for record in fold.history:
                whole.add(fold.key, record)
            whole.end(fold.key)
        last = whole.last()
        return (
            self.curve if self.curve and self.curve[-1].epoch >= last.epoch else (*self.curve, last)
        )

    def mean(self, metric: str) -> float:
        """Mean over folds and seeds of the kept epochs' validation score."""
        return float(np.mean([fold.val[metric] for fold in self.folds]))

    def of_fold(self, fold: int) -> list[FoldResult]:
        """A fold's results, seed by seed."""
        return [result for result in self.folds if result.fold == fold]
