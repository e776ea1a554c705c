"""What goes to a worker and what comes back: small, picklable, without torch, so that any process can hold it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raysys.corpus.folds import FoldKey
from raysys.similarity.prior import FoldPrior


@dataclass(frozen=True)
class FoldTask:
    """One fold of one configuration, trained with one seed; small enough to send anywhere."""

    trial: str
    fold: int
    """Index of the fold."""
    config: Any
    """The `Config`; untyped here, since its class brings torch with it."""
    folder: str
    """Absolute path or URI of the fold's own folder."""
    prior: FoldPrior | None = None
    milestones: tuple[int, ...] = ()
    """Epochs after which the fold makes room for folds of its trial that are behind."""
    seed: int = 0
    """Seed of the config."""
    calibrated: Mapping[str, float] | None = None
    """What is taken instead of fitting it on the val part, such as a temperature."""

    @property
    def key(self) -> tuple[str, FoldKey]:
        """What identifies the task."""
        return self.trial, (self.seed, self.fold)


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of one fold."""

    epoch: int
    """From 1."""
    train_loss: float
    val: dict[str, float]
    """Every metric of the task on the validation part; loss is that of the main term alone."""
    seconds: float
    """Wall time of the epoch, validation included; 0 where an epoch of an earlier command is reported again."""


@dataclass(frozen=True)
class FoldResult:
    """What is known of a trained fold without looking at its test part."""

    trial: str
    fold: int
    epochs: int
    best_epoch: int
    """Epoch whose weights are kept: the best by the validation score that chooses, or the last (`training.keep`)."""
    val: Mapping[str, float]
    """Validation scores of that epoch."""
    history: tuple[EpochRecord, ...]
    folder: str
    stopped: bool = False
    """Whether it was told to stop before training was over; it has then no test predictions."""
    seed: int = 0
    redone: str = ""
    """What was damaged, so that the fold was trained again."""
    measured: Any = None
    """What the task measured on the val part with the kept weights, as plain types; None where it measures nothing."""
    calibrated: Mapping[str, float] = field(default_factory=dict)
    """What was fitted on the val part to make outputs mean what they say, such as a temperature."""
    cost: Mapping[str, float] = field(default_factory=dict)
    """See `raysys.training.cost`."""

    @property
    def key(self) -> FoldKey:
        """Which training of its trial it is."""
        return self.seed, self.fold
