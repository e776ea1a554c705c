"""The mean over a trial's trainings (folds x seeds), epoch by epoch, of the epochs that all have reached."""

from collections.abc import Sequence
from dataclasses import dataclass

from raysys.corpus.folds import FoldKey
from raysys.storage import Number
from raysys.tasks.task import Metric
from raysys.training.records import EpochRecord


@dataclass(frozen=True)
class Point:
    """A trial after an epoch, mean over its folds and seeds."""

    epoch: int
    val: dict[str, Number]
    """Validation scores of this epoch."""
    best: dict[str, Number]
    """Validation scores of the epoch that each fold would keep if the trial ended now."""
    train_loss: float


class MeanCurve:
    """Collects the epochs of a trial's trainings and gives out points.

    A fold that has ended counts at later epochs with its last and kept values.

    Args:
        keys: of the trainings.
        chooser: makes an epoch a fold's best; None: a fold keeps its last one.
    """

    def __init__(self, keys: Sequence[FoldKey], chooser: Metric | None) -> None:
        self.histories: dict[FoldKey, list[EpochRecord]] = {key: [] for key in keys}
        self.ended: set[FoldKey] = set()
        self._chooser = chooser
        self._given = 0

    def add(self, key: FoldKey, record: EpochRecord) -> None:
        """A fold has finished its next epoch."""
        self.histories[key].append(record)

    def end(self, key: FoldKey) -> None:
        """A fold has its result."""
        self.ended.add(key)

    @property
    def epochs(self) -> int:
        """Epochs of all trainings together."""
        return sum(map(len, self.histories.values()))

    @property
    def seconds(self) -> tuple[float, ...]:
        """Seconds of each training in this command."""
        return tuple(sum((r.seconds for r in one), 0.0) for one in self.histories.values())

    def fresh(self, *, before: int) -> list[Point]:
        """Points that were not given out yet, of epochs before `before`."""
        longest = max(map(len, self.histories.values()))
        reached = min(
            longest if key in self.ended else len(history)
            for key, history in self.histories.items()
        )
        epochs = range(self._given + 1, min(reached, before - 1) + 1)
        self._given = max(self._given, *epochs) if epochs else self._given
        return [self.point(epoch) for epoch in epochs]

    def point(self, epoch: int) -> Point:
        """The trial after an epoch that all folds have reached, or ended before."""
        parts = [history[:epoch] for history in self.histories.values()]
        best = [kept(part, self._chooser) for part in parts]
        loss = sum(part[-1].train_loss for part in parts) / len(parts)
        return Point(epoch, _mean([part[-1].val for part in parts]), _mean(best), loss)

    def so_far(self) -> dict[str, float]:
        """Mean of the kept epochs of the folds that have begun; nothing where none has."""
        begun = [history for history in self.histories.values() if history]
        return _mean([kept(history, self._chooser) for history in begun]) if begun else {}

    def last(self) -> Point:
        """The trial after its last epoch."""
        return self.point(max(map(len, self.histories.values())))


def kept(history: Sequence[EpochRecord], chooser: Metric | None) -> dict[str, float]:
    """Validation scores of the epoch that a training keeps.

    Args:
        history: its epochs, one at least.
        chooser: see `MeanCurve`.
    """
    if chooser is None:
        return history[-1].val
    return max((record.val for record in history), key=chooser.rank)


def _mean(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(score[name] for score in scores) / len(scores) for name in scores[0]}
