"""The mean over a trial's folds, epoch by epoch, of the epochs that all of them have reached."""

from dataclasses import dataclass

from raysys.tasks.task import Metric
from raysys.training.records import EpochRecord


@dataclass(frozen=True)
class Point:
    """A trial after an epoch, mean over its folds."""

    epoch: int
    val: dict[str, float]
    """Validation scores of this epoch."""
    best: dict[str, float]
    """Validation scores of each fold's best epoch so far: what the trial would score if it ended now."""
    train_loss: float


class MeanCurve:
    """Collects the epochs of a trial's folds and gives out points.

    A fold that has ended counts at later epochs with its last and best values.

    Args:
        n_folds: folds of the trial.
        metric: makes an epoch a fold's best.
    """

    def __init__(self, n_folds: int, metric: Metric) -> None:
        self._histories: list[list[EpochRecord]] = [[] for _ in range(n_folds)]
        self._ended = [False] * n_folds
        self._metric = metric
        self._given = 0

    def add(self, fold: int, record: EpochRecord) -> None:
        """A fold has finished its next epoch."""
        self._histories[fold].append(record)

    def end(self, fold: int) -> None:
        """A fold has its result."""
        self._ended[fold] = True

    @property
    def epochs(self) -> int:
        """Of all folds together."""
        return sum(map(len, self._histories))

    @property
    def seconds(self) -> tuple[float, ...]:
        """Training of each fold in this command."""
        return tuple(sum((r.seconds for r in history), 0.0) for history in self._histories)

    def fresh(self, *, before: int) -> list[Point]:
        """Points that were not given out yet, of epochs before `before`."""
        longest = max(len(history) for history in self._histories)
        reached = min(
            longest if ended else len(history)
            for history, ended in zip(self._histories, self._ended, strict=True)
        )
        epochs = range(self._given + 1, min(reached, before - 1) + 1)
        self._given = max(self._given, *epochs) if epochs else self._given
        return [self.point(epoch) for epoch in epochs]

    def point(self, epoch: int) -> Point:
        """The trial after an epoch that all folds have reached, or ended before."""
        parts = [history[:epoch] for history in self._histories]
        best = [max((r.val for r in part), key=self._metric.rank) for part in parts]
        loss = sum(part[-1].train_loss for part in parts) / len(parts)
        return Point(epoch, _mean([part[-1].val for part in parts]), _mean(best), loss)

    def last(self) -> Point:
        """The trial after its last epoch."""
        return self.point(max(len(history) for history in self._histories))


def _mean(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(score[name] for score in scores) / len(scores) for name in scores[0]}
