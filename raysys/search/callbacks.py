"""What the driver does while Tune runs trials: cancel folds, keep the journal, feed view and MLflow, watch the pool.

Trial functions cannot be relied on for any of this, since Tune may end them at any report.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray.tune
from ray.tune.experiment import Trial

from raysys.cluster.pool import FoldPool
from raysys.search.journal import UNTUNED, CurvePoint, Journal, State, TrialRecord
from raysys.search.trial import FIRST
from raysys.search.view import StudyView, describe
from raysys.search.watch import PoolWatch
from raysys.tracking.study import StudyLog

_POLL_SECONDS = 0.1


class StudyCallback(ray.tune.Callback):  # type: ignore[misc]
    """One for a round.

    Args:
        pool: whose folds are cancelled.
        watch: of the pool.
        journal: of the study.
        view: of the study.
        log: of the study.
        round_number: from 1.
        deadline: of `time.monotonic()`, after which trials are stopped; None is never.
        most_epochs: of a trial's values, the epochs that its folds could do at most.
        on_end: called with every trial that has ended.
    """

    def __init__(
        self,
        pool: FoldPool,
        watch: PoolWatch,
        journal: Journal,
        view: StudyView,
        log: StudyLog,
        *,
        round_number: int,
        deadline: float | None,
        most_epochs: Callable[[dict[str, Any]], int],
        on_end: Callable[[TrialRecord], None],
    ) -> None:
        self._pool = pool
        self._watch = watch
        self._journal = journal
        self._view = view
        self._log = log
        self._round = round_number
        self._deadline = deadline
        self._most_epochs = most_epochs
        self._on_end = on_end
        self._records: dict[str, TrialRecord] = {}
        self._polled = 0.0
        self._error: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles callbacks into a snapshot that a study never reads."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Look after the pool.

        Raises:
            PoolError: it has no workers, or has ended.
            Exception: what went wrong at the end of a trial, where Tune would swallow it.
        """
        if self._error is not None:
            raise self._error
        if time.monotonic() - self._polled > _POLL_SECONDS:
            self._watch.poll()
            self._view.progress(self._watch.folds, self._watch.epochs)
            if self._watch.has_required:
                self._view.left(UNTUNED)
            self._polled = time.monotonic()

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Open the trial's record."""
        proposal = trial.config
        record = TrialRecord(
            proposal["trial"],
            proposal["number"],
            self._round,
            values=proposal["values"],
            params=proposal["params"],
            most_epochs=self._most_epochs(proposal["values"]),
        )
        self._records[record.name] = record
        self._journal.write(record)
        self._view.started(record.name, describe(record.values))
        self._log.trial_started(record.name, record.values)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Add a point to its curve."""
        record = self._records[trial.config["trial"]]
        if result["failure"]:
            self._records[record.name] = replace(record, reason=result["failure"])
            return
        point = CurvePoint(result["epoch"], dict(result["objectives"]), dict(result["val"]))
        curve = [*record.curve, *([] if result["final"] else [point])]
        scores = dict(result["best"])
        self._records[record.name] = replace(record, curve=curve, scores=scores)
        self._view.point(record.name, point.epoch, result[FIRST])
        self._log.trial_point(record.name, point.epoch, point.val)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """It has reported its last point, or was stopped."""
        last = trial.last_result or {}
        if self._records[trial.config["trial"]].reason:
            state: State = "FAILED"
        elif last.get("final"):
            state = "COMPLETE"
        else:
            late = self._deadline is not None and time.monotonic() > self._deadline
            state = "STOPPED" if late else "PRUNED"
        self._end(trial.config["trial"], state)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Its actor died, or raised what nobody expected."""
        name = trial.config["trial"]
        error = " ".join(str(trial.get_error() or "its actor died").split())[-300:]
        self._records[name] = replace(self._records[name], reason=error)
        self._end(name, "FAILED")

    def _end(self, name: str, state: State) -> None:
        try:
            self._pool.cancel(name)
            record = replace(self._records[name], state=state, epochs=self._count_epochs(name))
            self._journal.write(record)
            self._view.ended(record)
            self._on_end(record)
        except Exception as error:  # Tune would log it and go on; `on_step_begin` raises it
            self._error = self._error or error

    def _count_epochs(self, name: str) -> int:
        """Epochs of its folds; of a resumed trial those of earlier commands too, which its folds report again."""
        self._watch.poll()
        return self._watch.epochs[name]
