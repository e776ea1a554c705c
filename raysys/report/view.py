"""What a user sees while trials run: a live table in a terminal, plain lines elsewhere.

A single trial is shown fold by fold, several are shown trial by trial.
"""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raysys.config.names import describe
from raysys.corpus.folds import FoldKey
from raysys.tasks.task import Metric
from raysys.training.records import EpochRecord, FoldResult
from raysys.trials.curve import Point
from raysys.trials.listener import Listener
from raysys.trials.trial import Trial, TrialOutcome

_REFRESH_SECONDS = 0.25
_LINE_SECONDS = 10.0
"""Without a terminal, at most one line about running folds in this time."""
_LATEST = 8
"""Ended trials in the table."""
_COLOURS = {"COMPLETE": "green", "PRUNED": "yellow", "FAILED": "red", "STOPPED": "dim"}


class TrialsView(Listener):
    """Trials and folds done, current validation scores, the best so far, time left; a context manager.

    Args:
        console: where to show it.
        metric: whose validation score is shown.
        total: trials to come.
        n_folds: folds of a trial.
        seeds: trainings of each fold.
        workers: folds done at the same time.
        beside: trials that are shown, but not counted.
    """

    def __init__(
        self,
        console: Console,
        metric: Metric,
        *,
        total: int,
        n_folds: int,
        seeds: int,
        workers: int,
        beside: tuple[str, ...] = (),
    ) -> None:
        self._console = console
        self._metric = metric
        self._total = total
        self._n_folds = n_folds
        self._trainings = n_folds * seeds
        self._folds = f"{n_folds} folds" + (f" x {seeds} seeds" if seeds > 1 else "")
        self._workers = workers
        self._beside = beside
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn = self._spoken = 0.0
        self._began = time.monotonic()
        self._running: dict[str, Trial] = {}
        self._points: dict[str, Point] = {}
        self._epochs: dict[tuple[str, FoldKey], EpochRecord] = {}
        self._done: dict[tuple[str, FoldKey], FoldResult] = {}
        self._ended: list[TrialOutcome] = []
        self._recalled = 0
        self._resumed = False
        self._paces: list[float] = []

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        self._refresh(force=True)
        trials = f"{self._total} trials of " if self._total > 1 else ""
        at_once = min(self._workers, self._total * self._trainings)
        self._say(f"starting workers for {trials}{self._folds}, {at_once} at a time")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:  # the last table stays, and says how far it came
            self._live.transient = False
            self._refresh(force=True)
            self._say(self._counts())
        self._live.stop()

    def set_aside(self, trials: Sequence[Trial]) -> None:
        """Show further trials without counting them."""
        self._beside += tuple(trial.name for trial in trials)
        self._say(f"training again with fresh seeds: {', '.join(trial.name for trial in trials)}")

    def recalled(self, outcome: TrialOutcome) -> None:
        """Counted as ended."""
        self._ended.append(outcome)
        self._recalled += 1

    def started(self, trial: Trial) -> None:
        """A row more."""
        if self._recalled and not self._resumed:
            self._say(f"{self._recalled} trial(s) had ended before; going on")
        self._resumed = self._recalled > 0
        self._running[trial.name] = trial
        self._refresh()

    def epoch(self, trial: Trial, key: FoldKey, record: EpochRecord) -> None:
        """A fold has finished an epoch."""
        self._epochs[trial.name, key] = record
        if record.seconds:
            self._paces.append(record.seconds)
        if self._total == 1:
            self._say(self._folds_line(), least_seconds=_LINE_SECONDS)
        self._refresh()

    def point(self, trial: Trial, point: Point) -> None:
        """All folds of a trial have reached an epoch."""
        self._points[trial.name] = point

    def fold_done(self, trial: Trial, result: FoldResult) -> None:
        """A fold has its result."""
        if result.redone:
            self.note(f"{result.redone}: {trial.title(result.key)} was trained again")
        self._done[trial.name, result.key] = result
        if self._total == 1:
            score = f"val {self._metric.title} {self._score(result.val)}"
            self._say(
                f"{trial.title(result.key)} done: kept epoch {result.best_epoch} of {result.epochs}, {score}; "
                f"{len(self._done)}/{self._trainings} folds{self._time_left()}"
            )
        self._refresh(force=True)

    def ended(self, outcome: TrialOutcome) -> None:
        """A trial is over."""
        self._running.pop(outcome.name, None)
        if outcome.name in self._beside:
            return
        self._ended.append(outcome)
        if self._total > 1:
            score = f"val {self._metric.title} {self._score(outcome.scores)}"
            what = outcome.reason if outcome.state == "FAILED" else score
            values = describe(outcome.trial.values)
            told = f"{what}, {values}" if values else what
            self._say(f"{outcome.name} {outcome.state.lower()}: {told}; {self._counts()}")
        self._refresh(force=True)

    def _refresh(self, *, force: bool = False) -> None:
        """Draw again, not too often."""
        now = time.monotonic()
        if self._console.is_terminal and (force or now - self._drawn > _REFRESH_SECONDS):
            self._drawn = now
            picture = self._fold_table() if self._total == 1 else self._trial_table()
            self._live.update(Group(Text(self._counts()), picture), refresh=True)

    def note(self, line: str) -> None:
        """Say something that whoever reads the result must know, also above a live table."""
        self._console.print(f"note: {line}", highlight=False, soft_wrap=True, markup=False)

    def _say(self, line: str, *, least_seconds: float = 0.0) -> None:
        """Print a line where there is no terminal, unless another was printed so many seconds before or less."""
        now = time.monotonic()
        if not self._console.is_terminal and now - self._spoken >= least_seconds:
            self._spoken = now
            self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _counts(self) -> str:
        if self._total == 1:
            return f"{len(self._done)}/{self._trainings} folds{self._time_left()}"
        states = [outcome.state for outcome in self._ended]
        counts = ", ".join(
            f"{states.count(state)} {word}"  # type: ignore[arg-type]
            for state, word in (("COMPLETE", "done"), ("PRUNED", "pruned"), ("FAILED", "failed"))
        )
        running = sum(name not in self._beside for name in self._running)
        minutes = (time.monotonic() - self._began) / 60
        pace = f"{len(self._done) / minutes:.1f} folds/min" if self._done else ""
        parts = [f"{counts}, {running} running, of {self._total} trials", self._best(), pace]
        return "; ".join(part for part in (*parts, self._trials_left(minutes)) if part)

    def _best(self) -> str:
        done = [outcome for outcome in self._ended if outcome.state == "COMPLETE"]
        if not done:
            return ""
        best = max(done, key=lambda one: self._metric.worth(one.scores[self._metric.name]))
        values = describe(best.trial.values)
        return f"best {best.name} {self._score(best.scores)}{f' ({values})' if values else ''}"

    def _trials_left(self, minutes: float) -> str:
        fresh = len(self._ended) - self._recalled
        if not fresh:
            return ""
        left = minutes / fresh * (self._total - len(self._ended))
        return f"about {left:.0f} min left" if left >= 1 else "under 1 min left"

    def _time_left(self) -> str:
        """From the mean pace so far; folds may stop early, so it is an upper estimate."""
        if not self._paces or not self._running:
            return ""
        most = max(trial.config.epochs for trial in self._running.values())
        done = sum(
            most if key in self._done else record.epoch for key, record in self._epochs.items()
        )
        left = self._trainings * most - done
        if not left:
            return ""
        seconds = left * sum(self._paces) / len(self._paces) / self._workers
        return f", at most {seconds:.0f} s left"

    def _folds_line(self) -> str:
        running = [
            f"{self._title(trial, key)} epoch {record.epoch} val {self._metric.title} {self._score(record.val)}"
            for (trial, key), record in sorted(self._epochs.items(), key=lambda item: item[0])
            if (trial, key) not in self._done
        ]
        return ", ".join(running) + self._time_left()

    def _title(self, trial: str, key: FoldKey) -> str:
        known = self._running.get(trial)
        return known.title(key) if known else f"fold {key[1]}"

    def _score(self, scores: Mapping[str, float]) -> str:
        return self._metric.show(scores.get(self._metric.name))

    def _fold_table(self) -> Table:
        table = _blank("fold", "epoch", f"val {self._metric.title}", "train loss")
        for (trial, key), record in sorted(self._epochs.items(), key=lambda item: item[0]):
            style = "green" if (trial, key) in self._done else ""
            row = (str(record.epoch), self._score(record.val), f"{record.train_loss:.3f}")
            table.add_row(self._title(trial, key).removeprefix("fold "), *row, style=style)
        return table

    def _trial_table(self) -> Table:
        table = _blank("trial", "state", "folds", "epochs", f"val {self._metric.title}", "values")
        for one in self._ended[-_LATEST:]:
            score, values = self._score(one.scores), describe(one.trial.values)
            folds, epochs = self._progress(one.trial)
            style = _COLOURS[one.state]
            row = (one.state.lower(), folds, epochs, score, values)
            table.add_row(Text(one.name), *row, style=style)
        for name, trial in self._running.items():
            point = self._points.get(name)
            score = self._score(point.best) if point else "-"
            folds, epochs = self._progress(trial)
            table.add_row(Text(name), "running", folds, epochs, score, Text(describe(trial.values)))
        return table

    def _progress(self, one: Trial) -> tuple[str, str]:
        """Trainings done, and epochs of all of them."""
        done = sum(trial == one.name for trial, _ in self._done)
        epochs = sum(r.epoch for (trial, _), r in self._epochs.items() if trial == one.name)
        return f"{done}/{self._n_folds * len(one.seeds)}", str(epochs)


def _blank(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for head in heads:
        table.add_column(head, no_wrap=True)
    return table
