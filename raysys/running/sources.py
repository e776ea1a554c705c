"""Where a command's trials come from: a list, or Tune's searcher with a scheduler."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from raysys.config import Config
from raysys.errors import ConfigError, FoldFailedError
from raysys.report.results import TrialRecord
from raysys.running.recall import longest_training
from raysys.search.dashboard import FILE, Dashboard
from raysys.search.journal import Journal, trial_name
from raysys.search.scheduler import Scheduler, make_scheduler
from raysys.search.searcher import StudySearcher
from raysys.search.space import Space
from raysys.settings import replaced
from raysys.trials.curve import MeanCurve, Point
from raysys.trials.trial import State, Trial, TrialOutcome


class ListSource:
    """Trials that are known beforehand; all run, none is stopped.

    Args:
        trials: in the order in which they are to run.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._waiting = list(trials)
        self.in_flight = len(trials)

    def next(self) -> Trial | None:
        """The next of the list."""
        return self._waiting.pop(0) if self._waiting else None

    def verdict(self, trial: Trial, point: Point) -> State | None:
        """It goes on."""
        return None

    def fold_verdict(self, trial: Trial, curve: MeanCurve) -> State | None:
        """It goes on."""
        return None

    def ended(self, outcome: TrialOutcome) -> None:
        """Nothing depends on it."""


class SearchSource:
    """Trials that a searcher proposes, until it has none left or time is up; a scheduler stops those that fall behind.

    Everything that matters is in the journal before and after it happens.

    Args:
        base: the configuration without any proposal; with the round's prior. Its name begins those of the trials,
            which must be the only ones of their names that the pool ever has.
        searcher: of Tune; proposes `number`, `params` and `values`.
        scheduler: stops; one that has folds train in turn needs the other trial as its first opponent, and waits.
        journal: of the study.
        round_number: from 1.
        in_flight: trials that run at the same time, as many workers as there are now.
        most_epochs: of a configuration, the epochs that its folds could do at most.
        deadline: of `time.monotonic()`, after which nothing is proposed and trials are stopped; None is never.
        beside: a trial that runs along with the search; without it there is no study.
    """

    def __init__(
        self,
        base: Trial,
        searcher: StudySearcher,
        scheduler: Scheduler,
        journal: Journal,
        *,
        round_number: int,
        in_flight: Callable[[], int],
        most_epochs: Callable[[Config], int],
        deadline: float | None = None,
        beside: Trial | None = None,
    ) -> None:
        self._base = base
        self._searcher = searcher
        self._scheduler = scheduler
        self._journal = journal
        self._round = round_number
        self._in_flight = in_flight
        self._most_epochs = most_epochs
        self._deadline = deadline
        self._waiting = [] if beside is None else [beside]
        self._beside = 0 if beside is None else 1
        self._records: dict[str, TrialRecord] = {}
        self._ids: dict[str, str] = {}
        """Trial -> what the searcher knows it by."""

    @property
    def is_exhausted(self) -> bool:
        """Whether the space has no configuration any more that was not proposed."""
        return self._searcher.is_exhausted

    @property
    def in_flight(self) -> int:
        """Number of trials that may run at once: the search's, and the one that runs with it."""
        if self._scheduler.in_turn and self._beside:
            return 1
        return self._in_flight() + self._beside

    def next(self) -> Trial | TrialOutcome | None:
        """The trial that runs with the search, then what is proposed; values that do not go together fail at once."""
        if self._waiting:
            return self._waiting.pop()
        identifier = f"proposal {len(self._ids)}"
        proposal = None if self._is_late else self._searcher.suggest(identifier)
        if not isinstance(proposal, dict):
            return None
        number, values = proposal["number"], proposal["values"]
        name = f"{self._base.name}{trial_name(number)}"
        record = TrialRecord(name, number, self._round, values, proposal["params"])
        self._ids[record.name] = identifier
        trial = replace(
            self._base,
            name=record.name,
            values=values,
            milestones=self._scheduler.milestones,
            in_turn=self._scheduler.in_turn,
        )
        try:
            trial = replace(trial, config=replaced(self._base.config, values))
        except ConfigError as error:
            self._records[record.name] = record
            return TrialOutcome(trial, "FAILED", reason=str(error))
        self._records[record.name] = replace(record, most_epochs=self._most_epochs(trial.config))
        self._journal.write(self._records[record.name])
        self._scheduler.add(record.name)
        return trial

    def verdict(self, trial: Trial, point: Point) -> State | None:
        """STOPPED when time is up, PRUNED when the scheduler says so."""
        if trial.name not in self._records:
            return None
        if self._is_late:
            return "STOPPED"
        if self._scheduler.stops_at(trial.name, point.epoch, point.best):
            return "PRUNED"
        identifier = self._ids[trial.name]
        self._searcher.on_trial_result(identifier, {"epoch": point.epoch, **point.best})
        return None

    def fold_verdict(self, trial: Trial, curve: MeanCurve) -> State | None:
        """STOPPED when time is up and its folds train in turn, PRUNED when the scheduler says so."""
        if trial.name not in self._records or not self._scheduler.in_turn:
            return None
        if self._is_late:
            return "STOPPED"
        stops = self._scheduler.stops_after(curve.histories, curve.ended)
        return "PRUNED" if stops else None

    def ended(self, outcome: TrialOutcome) -> None:
        """Tell the searcher and the scheduler, and write it down.

        Raises:
            FoldFailedError: the trial that runs with the search failed, or has no such score to compare with.
        """
        name, complete = outcome.name, outcome.state == "COMPLETE"
        if complete:
            self._scheduler.complete({fold.key: fold.history for fold in outcome.folds})
        if name not in self._records:
            self._beside = 0
            if outcome.state == "FAILED":
                reason = outcome.reason
                raise FoldFailedError(f"a fold of the {name} configuration failed: {reason}")
            if complete and (lacking := self._searcher.lacks(outcome.scores)):
                raise FoldFailedError(
                    f"val has no {' and no '.join(lacking)}, which the study is to optimise: set --search.objectives "
                    "to another score, such as loss"
                )
            return
        record = self._records[name].after(outcome)
        self._journal.write(record)
        failed = record.state == "FAILED"
        epoch = max(fold.epochs for fold in outcome.folds) if complete else 0
        if complete:
            self._scheduler.stops_at(name, epoch, record.scores)  # counts at the rungs, too
        elif not failed:
            epoch = record.curve[-1].epoch if record.curve else record.epochs
        result = None if failed else {"epoch": epoch, "done": complete, **record.scores}
        self._searcher.on_trial_complete(self._ids[name], result, error=failed)

    @property
    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline


def search_source(
    config: Config,
    space: Space,
    journal: Journal,
    base: Trial,
    *,
    round_number: int,
    records: Sequence[TrialRecord],
    ended: Sequence[TrialOutcome],
    points: Sequence[dict[str, Any]],
    n_folds: int,
    workers: Callable[[], int],
    deadline: float | None = None,
    beside: Trial | None = None,
) -> SearchSource:
    """The trials of one search: proposals by its space, judged by its scheduler.

    Args:
        config: of the study.
        space: what is searched.
        journal: of the study.
        base: see `SearchSource`, as round_number, deadline and beside.
        round_number: from 1.
        records: of the round, those that have not ended begun anew.
        ended: what became of the others.
        points: values to try first.
        n_folds: of a trial.
        workers: of the pool, now.
        deadline: see above.
        beside: see above.
    """
    search, trainings = config.search, n_folds * config.training.seeds
    scheduler = make_scheduler(
        search,
        config.objectives[0],
        max_epochs=longest_training(base.config, search),
        chooser=config.chooser,
        ended=ended,
    )
    first = (round_number - 1) * search.num_trials
    place = journal.folder.local_path
    searcher = StudySearcher(
        space,
        config.objectives,
        seed=config.seed,
        numbers=range(first, first + search.num_trials),
        records=records,
        points=points,
        dashboard=Dashboard(place and place.parent / FILE),
    )
    return SearchSource(
        base,
        searcher,
        scheduler,
        journal,
        round_number=round_number,
        in_flight=lambda: concurrency(config, workers(), 1 if scheduler.in_turn else trainings),
        most_epochs=lambda one: one.epochs * trainings,
        deadline=deadline,
        beside=beside,
    )


def concurrency(config: Config, workers: int, at_once: int) -> int:
    """Trials of a search in flight: enough that no worker waits while one trial's last folds train, or, with many
    workers, while a number of trials that ended together are replaced.

    Args:
        config: may say it.
        workers: of the pool.
        at_once: trainings of a trial that may run at the same time.
    """
    needed = math.ceil(workers / at_once)
    return config.search.concurrency or needed + max(1, needed // 4)
