"""What goes to a worker and what comes back: small, picklable, without torch, so that any process can hold it."""

from dataclasses import dataclass

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
