"""What goes to a worker and what comes back: small, picklable, without torch, so that any process can hold it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysys.config import Config


@dataclass(frozen=True)
class FoldTask:
    """One fold of one configuration, small enough to send anywhere."""

    trial: str
    fold: int
    """Index of the fold."""
    config: Config
    folder: str
    """Absolute path or URI of the fold's own folder."""
    similarity: tuple[tuple[float, ...], ...] | None = None
    """S of the emotion-aware term, row by row."""
    milestones: tuple[int, ...] = ()
    """Epochs after which the fold makes room for folds of its trial that are behind."""

    @property
    def key(self) -> tuple[str, int]:
        """What identifies the task: (trial, fold)."""
        return self.trial, self.fold


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of one fold."""

    epoch: int
    """From 1."""
    train_loss: float
    val: dict[str, float]
    """loss (of the classification alone), wa, ua, weighted_f1, worst_recall on the validation part."""
    seconds: float
    """Wall time of the epoch, validation included."""


@dataclass(frozen=True)
class FoldResult:
    """What is known of a trained fold without looking at its test part."""

    trial: str
    fold: int
    epochs: int
    best_epoch: int
    val: dict[str, float]
    """Validation scores of the best epoch."""
    history: tuple[EpochRecord, ...]
    seconds: float
    """Training: the sum over its epochs, whichever worker did them."""
    folder: str
    stopped: bool = False
    """Whether it was told to stop before training was over; it has then no test predictions."""


def fold_tasks(
    trial: str,
    config: Config,
    folder: str,
    similarity: Sequence[Any] | None,
    n_folds: int,
    milestones: tuple[int, ...] = (),
) -> list[FoldTask]:
    """One task a fold, each with its own folder (`fold_K`) under `folder`, a path or URI.

    Args:
        trial: name.
        config: of all folds.
        folder: the trial's.
        similarity: S of the emotion-aware term for each fold, [fold][class][class], or None.
        n_folds: number of folds.
        milestones: see `FoldTask`.
    """
    priors = [None] * n_folds if similarity is None else similarity
    return [
        FoldTask(
            trial,
            fold,
            config,
            f"{folder}/fold_{fold}",
            None if prior is None else tuple(map(tuple, prior)),
            milestones,
        )
        for fold, prior in enumerate(priors)
    ]


def rank(val: Mapping[str, float], select: str) -> tuple[float, float]:
    """What makes an epoch better: its score, then (small validation parts tie often) its loss."""
    return (-val["loss"] if select == "loss" else val[select], -val["loss"])
