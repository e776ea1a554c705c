"""What a user sees while a study runs: a live table in a terminal, a line a trial elsewhere."""

import time
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from raysys.cluster.live_view import LiveView
from raysys.search.journal import UNTUNED, TrialRecord
from raysys.search.searcher import direction
from raysys.search.space import symbol

_LATEST = 8
"""Ended trials in the table."""
_COLOURS = {"COMPLETE": "green", "PRUNED": "yellow", "FAILED": "red", "STOPPED": "dim"}


class StudyView(LiveView):
    """Trials done, running, pruned and failed; the best so far; folds a minute; time left.

    Args:
        console: where to show it.
        objective: the first one; what "best" means.
        total: trials of the study.
        n_folds: folds of a trial.
        workers: folds trained at the same time.
    """

    def __init__(
        self, console: Console, *, objective: str, total: int, n_folds: int, workers: int
    ) -> None:
        super().__init__(console)
        self._objective = objective
        self._total = total
        self._n_folds = n_folds
        self._workers = workers
        self._running: dict[str, tuple[str, int, float | None]] = {}
        """Trial -> values in words, epoch that all folds have reached, score there."""
        self._epochs: Mapping[str, int] = {}
        self._ended: list[TrialRecord] = []
        self._folds = 0
        self._before = 0
        self._began = time.monotonic()

    def greeting(self) -> str:
        """Workers and trials."""
        workers = f"{self._workers} worker(s)"
        return f"starting {workers} for {self._total} trials of {self._n_folds} folds"

    def picture(self) -> Group:
        """Counts, and a row a trial."""
        return Group(Text(self._counts()), self._table())

    def recall(self, records: list[TrialRecord]) -> None:
        """Trials that had ended before the study was resumed."""
        self._ended += records
        self._before += len(records)
        if records:
            self.say(f"{len(records)} trial(s) had ended before; going on")

    def started(self, name: str, values: str) -> None:
        """A trial starts, with these values in words."""
        self._running[name] = (values, 0, None)
        self.refresh()

    def point(self, name: str, epoch: int, score: float | None) -> None:
        """All folds of a trial have reached an epoch."""
        values = self._running[name][0] if name in self._running else ""
        self._running[name] = (values, epoch, score)
        self.refresh()

    def progress(self, folds: int, epochs: Mapping[str, int]) -> None:
        """Folds that have a result, in all; trial -> epochs that its folds have done."""
        self._folds, self._epochs = folds, epochs
        self.refresh()

    def left(self, name: str) -> None:
        """Something that is no trial of the study, but was started, has ended."""
        self._running.pop(name, None)

    def ended(self, record: TrialRecord) -> None:
        """A trial has ended, one way or another."""
        self._running.pop(record.name, None)
        self._ended.append(record)
        score = self._score(record)
        what = record.reason if record.state == "FAILED" else f"val {self._objective} {score}"
        self.say(
            f"{record.name} {record.state.lower()}: {what}, {describe(record.values)}; {self._counts()}"
        )
        self.refresh(force=True)

    def _counts(self) -> str:
        states = [str(record.state) for record in self._ended]
        counts = ", ".join(
            f"{states.count(state)} {word}"
            for state, word in (("COMPLETE", "done"), ("PRUNED", "pruned"), ("FAILED", "failed"))
        )
        minutes = (time.monotonic() - self._began) / 60
        pace = f"{self._folds / minutes:.1f} folds/min" if self._folds else ""
        running = sum(name != UNTUNED for name in self._running)
        parts = [f"{counts}, {running} running, of {self._total} trials", self._best()]
        return "; ".join(part for part in (*parts, pace, self._time_left(minutes)) if part)

    def _best(self) -> str:
        done = [record for record in self._ended if record.state == "COMPLETE"]
        if not done:
            return ""
        sign = -1 if direction(self._objective) == "minimize" else 1
        best = max(done, key=lambda record: sign * record.scores[self._objective])
        return f"best {best.name} {self._score(best)} ({describe(best.values)})"

    def _time_left(self, minutes: float) -> str:
        ended = len(self._ended) - self._before
        if not ended:
            return ""
        left = minutes / ended * (self._total - len(self._ended))
        return f"about {left:.0f} min left" if left >= 1 else "under 1 min left"

    def _score(self, record: TrialRecord) -> str:
        score = record.scores.get(self._objective)
        return "-" if score is None else show_score(self._objective, score)

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
        for column in (
            "trial",
            "state",
            "epoch",
            "folds' epochs",
            f"val {self._objective}",
            "values",
        ):
            table.add_column(column, no_wrap=True)
        for record in self._ended[-_LATEST:]:
            epoch = str(record.curve[-1].epoch) if record.curve else "-"
            row = (record.name, record.state.lower(), epoch, str(record.epochs))
            values = describe(record.values)
            table.add_row(*row, self._score(record), values, style=_COLOURS[record.state])
        for name, (values, reached, score) in self._running.items():
            shown = "-" if score is None else show_score(self._objective, score)
            done = str(self._epochs.get(name, 0))
            table.add_row(name, "running", str(reached or "-"), done, shown, values)
        return table


def describe(values: Mapping[str, Any]) -> str:
    """Values under their papers' symbols, in one line."""
    return ", ".join(f"{symbol(name)} {show_value(value)}" for name, value in values.items())


def show_value(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, tuple | list):
        return " + ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def show_score(objective: str, score: float) -> str:
    """A loss as it is, other scores in per cent."""
    return f"{score:.3f}" if objective == "loss" else f"{100 * score:.1f}"
