"""What a user sees while folds train: a live table in a terminal, plain lines elsewhere."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from raysys.cluster.live_view import LiveView
from raysys.report import TITLES, val_metric
from raysys.training.task import EpochRecord, FoldResult

_LINE_SECONDS = 10.0
"""Without a terminal, at most one line about running folds in this time."""


class ProgressView(LiveView):
    """Folds, epochs, current validation scores, time left.

    Args:
        console: where to show it.
        n_folds: folds to do.
        workers: folds done at the same time.
        max_epochs: most epochs of a fold.
        select: `training.select`, which chooses a fold's epoch.
    """

    def __init__(
        self, console: Console, *, n_folds: int, workers: int, max_epochs: int, select: str
    ) -> None:
        super().__init__(console)
        self._metric = val_metric(select)
        self._n_folds = n_folds
        self._workers = workers
        self._max_epochs = max_epochs
        self._last: dict[int, EpochRecord] = {}
        self._finished: dict[int, FoldResult] = {}
        self._pace: dict[int, list[float]] = {}
        self._state = "starting workers"

    def greeting(self) -> str:
        """Workers and folds."""
        return f"starting {self._workers} worker(s) for {self._n_folds} folds"

    def started(self) -> None:
        """A worker has taken its first fold."""
        self._state = "training"
        self.refresh(force=True)

    def epoch(self, fold: int, record: EpochRecord) -> None:
        """A fold has finished an epoch."""
        self._last[fold] = record
        self._pace.setdefault(fold, []).append(record.seconds)
        self.say(self._line(), least_seconds=_LINE_SECONDS)
        self.refresh()

    def done(self, result: FoldResult) -> None:
        """A fold has its result."""
        self._finished[result.fold] = result
        score = self._score(result.val) if result.val else "-"
        self.say(
            f"fold {result.fold} done: best epoch {result.best_epoch} of {result.epochs}, {score}, "
            f"{result.seconds:.1f} s; {len(self._finished)}/{self._n_folds} folds{self._time_left()}"
        )
        self.refresh(force=True)

    def picture(self) -> Table:
        """A row a fold."""
        done = len(self._finished)
        title = f"{self._state}: {done}/{self._n_folds} folds{self._time_left()}"
        table = Table(title=title, title_justify="left")
        for name in ("fold", "epoch", "val UA", "val WA", "val F1", "train loss"):
            table.add_column(name, justify="right")
        for fold, record in sorted(self._last.items()):
            style = "green" if fold in self._finished else ""
            scores = [f"{100 * record.val[name]:.1f}" for name in ("ua", "wa", "weighted_f1")]
            epoch = f"{record.epoch}/{self._max_epochs}"
            table.add_row(str(fold), epoch, *scores, f"{record.train_loss:.3f}", style=style)
        return table

    def _line(self) -> str:
        running = [
            f"fold {fold} epoch {record.epoch} {self._score(record.val)}"
            for fold, record in sorted(self._last.items())
            if fold not in self._finished
        ]
        return ", ".join(running) + self._time_left()

    def _score(self, val: Mapping[str, float]) -> str:
        return f"val {TITLES[self._metric]} {100 * val[self._metric]:.1f}"

    def _time_left(self) -> str:
        """From the mean pace so far; folds may stop early, so it is an upper estimate."""
        paces = [second for fold in self._pace.values() for second in fold]
        if not paces:
            return ""
        done = sum(
            self._max_epochs if fold in self._finished else record.epoch
            for fold, record in self._last.items()
        )
        left = self._n_folds * self._max_epochs - done
        if not left:
            return ""
        seconds = left * sum(paces) / len(paces) / self._workers
        return f", at most {seconds:.0f} s left"
