"""What a user sees while an ablation runs: a row a variant in a terminal, a line a trial elsewhere."""

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from raysys.cluster.live_view import LiveView
from raysys.report import TITLES
from raysys.training.task import EpochRecord, FoldResult


class AblationView(LiveView):
    """Folds done, epochs of running folds, validation scores.

    Args:
        console: where to show it.
        variants: trial -> its variant, in the order of the variants.
        n_folds: folds of a trial.
        workers: folds done at the same time.
        metric: whose validation score is shown.
    """

    def __init__(
        self,
        console: Console,
        *,
        variants: dict[str, str],
        n_folds: int,
        workers: int,
        metric: str,
    ) -> None:
        super().__init__(console)
        self._variants = variants
        self._n_folds = n_folds
        self._workers = workers
        self._metric = metric
        self._running: dict[tuple[str, int], EpochRecord] = {}
        self._done: dict[tuple[str, int], FoldResult] = {}

    def greeting(self) -> str:
        """Workers, trials and folds."""
        folds = len(self._variants) * self._n_folds
        return (
            f"starting {self._workers} worker(s) for {folds} folds of {len(self._variants)} trials"
        )

    def picture(self) -> Table:
        """A row a variant."""
        total = len(self._variants) * self._n_folds
        title = f"{len(self._done)}/{total} folds on {self._workers} worker(s)"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
        for column in ("variant", "folds", f"val {TITLES[self._metric]}", "running"):
            table.add_column(
                column, justify="left" if column in ("variant", "running") else "right"
            )
        trials = Counter(self._variants.values())
        for variant, count in trials.items():
            done = [r for (trial, _), r in self._done.items() if self._variants[trial] == variant]
            running = [
                f"{trial} fold {fold} epoch {record.epoch}"
                for (trial, fold), record in sorted(self._running.items())
                if self._variants[trial] == variant
            ]
            style = "green" if len(done) == count * self._n_folds else ""
            folds = f"{len(done)}/{count * self._n_folds}"
            table.add_row(
                escape(variant), folds, self._score(done), "; ".join(running), style=style
            )
        return table

    def epoch(self, trial: str, fold: int, record: EpochRecord) -> None:
        """A fold has finished an epoch."""
        self._running[trial, fold] = record
        self.refresh()

    def done(self, trial: str, result: FoldResult) -> None:
        """A fold has its result."""
        self._running.pop((trial, result.fold), None)
        self._done[trial, result.fold] = result
        folds = [one for (name, _), one in self._done.items() if name == trial]
        if len(folds) == self._n_folds:
            total = len(self._variants) * self._n_folds
            self.say(
                f"{trial} done: val {TITLES[self._metric]} {self._score(folds)}; {len(self._done)}/{total} folds"
            )
        self.refresh(force=True)

    def failed(self, trial: str, fold: int, reason: str) -> None:
        """A fold has failed."""
        self._running.pop((trial, fold), None)
        self.say(f"{trial} fold {fold} failed: {reason}")
        self.refresh(force=True)

    def _score(self, folds: Sequence[FoldResult]) -> str:
        scores = [fold.val[self._metric] for fold in folds]
        return f"{100 * sum(scores) / len(scores):.1f}" if scores else "-"
