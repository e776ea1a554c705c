"""The one runner of trials: takes them from a source, has their folds done by the pool, notifies listeners.

TrialSource -> Trial -> FoldTasks -> FoldPool -> events -> Listeners, TrialSource
                                                        -> TrialOutcome
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from raysys.cluster.clock import PoolClock
from raysys.cluster.ledger import Event
from raysys.cluster.pool import FoldPool
from raysys.corpus.folds import FoldKey
from raysys.storage import Folder
from raysys.training.records import FoldResult, FoldTask
from raysys.trials.curve import MeanCurve, Point
from raysys.trials.listener import Listener
from raysys.trials.trial import State, Trial, TrialOutcome

_WAIT_SECONDS = 0.5


class TrialSource(Protocol):
    """Where trials come from: a list, or a search."""

    @property
    def in_flight(self) -> int:
        """Most trials that run at the same time now."""
        ...

    def next(self) -> Trial | TrialOutcome | None:
        """The next trial to start, or how one ended that cannot; None when there is none now."""
        ...

    def verdict(self, trial: Trial, point: Point) -> State | None:
        """How a trial whose folds have all reached an epoch ends there; None lets it go on."""
        ...

    def fold_verdict(self, trial: Trial, curve: MeanCurve) -> State | None:
        """How a trial ends after the latest epoch, or end, of one of its folds; None lets it go on."""
        ...

    def ended(self, outcome: TrialOutcome) -> None:
        """A trial of this source is over. May raise, which ends the command."""
        ...


class TrialRunner:
    """Runs trials over one pool, for as long as it lives.

    Args:
        pool: does the folds.
        folder: each trial has a folder of its name there.
        n_folds: of each trial.
        listeners: notified of everything, in this order.
    """

    def __init__(
        self, pool: FoldPool, folder: Folder, *, n_folds: int, listeners: Sequence[Listener]
    ) -> None:
        self._pool = pool
        self._folder = folder
        self._n_folds = n_folds
        self._listeners = listeners
        self._running: dict[str, _Running] = {}
        self.clock = PoolClock(pool.present)

    def run(self, source: TrialSource) -> Iterator[TrialOutcome]:
        """Run what a source gives, and yield each trial as soon as it is over.

        Raises:
            PoolError: the pool has no workers, or has ended.
        """
        while True:
            while len(self._running) < source.in_flight and (item := source.next()):
                if isinstance(item, Trial):
                    self._start(item)
                    continue
                for listener in self._listeners:
                    listener.started(item.trial)
                yield self._end(item, source)
            if not self._running:
                return
            for event in self._pool.poll(_WAIT_SECONDS):
                self.clock.take(event)
                outcome = self._take(event, source)
                if outcome is not None:
                    del self._running[outcome.name]
                    yield self._end(outcome, source)

    def _end(self, outcome: TrialOutcome, source: TrialSource) -> TrialOutcome:
        source.ended(outcome)
        for listener in self._listeners:
            listener.ended(outcome)
        return outcome

    def _start(self, trial: Trial) -> None:
        tasks = trial.fold_tasks(self._folder / trial.name, self._n_folds)
        running = self._running[trial.name] = _Running(trial, tasks)
        for listener in self._listeners:
            listener.started(trial)
        self._pool.submit(running.next_tasks())

    def _take(self, event: Event, source: TrialSource) -> TrialOutcome | None:
        """Follow one event; the outcome of a trial that it ends."""
        running = self._running.get(event.key[0]) if event.key else None
        if running is None or event.key is None:
            return None
        trial, key = running.trial, event.key[1]
        if event.kind == "failed":
            self._pool.cancel(trial.name)
            return running.outcome("FAILED", f"{trial.title(key)}: {'; '.join(event.payload)}")
        if event.kind == "epoch":
            running.curve.add(key, event.payload)
            for listener in self._listeners:
                listener.epoch(trial, key, event.payload)
        elif event.kind == "done":
            running.done(event.payload)
            for listener in self._listeners:
                listener.fold_done(trial, event.payload)
        state = None if running.is_whole else source.fold_verdict(trial, running.curve)
        if state is not None:
            self._pool.cancel(trial.name)
            return running.outcome(state)
        if event.kind == "done" and (tasks := running.next_tasks()):
            self._pool.submit(tasks)
        return self._follow(running, source)

    def _follow(self, running: "_Running", source: TrialSource) -> TrialOutcome | None:
        """Give out new points, and end the trial where its folds or the source say so."""
        for point in running.fresh():
            self._tell(running.trial, point)
            state = source.verdict(running.trial, point)
            running.points.append(point)
            if state is not None:
                self._pool.cancel(running.trial.name)
                return running.outcome(state)
        if not running.is_whole:
            return None
        last = running.curve.last()
        if not running.points or running.points[-1].epoch < last.epoch:
            self._tell(running.trial, last)
        return running.outcome("COMPLETE")

    def _tell(self, trial: Trial, point: Point) -> None:
        for listener in self._listeners:
            listener.point(trial, point)


class _Running:
    """A trial whose folds are with the pool."""

    def __init__(self, trial: Trial, tasks: Sequence[FoldTask]) -> None:
        self.trial = trial
        self.curve = MeanCurve([task.key[1] for task in tasks], trial.config.chooser)
        self.points: list[Point] = []
        self._waiting = list(tasks)
        self._done: dict[FoldKey, FoldResult] = {}

    @property
    def is_whole(self) -> bool:
        """Whether all folds have a result."""
        return len(self._done) == len(self.curve.histories)

    def next_tasks(self) -> list[FoldTask]:
        """Those to submit now: all at first, or one after the other."""
        count = 1 if self.trial.in_turn else len(self._waiting)
        tasks, self._waiting = self._waiting[:count], self._waiting[count:]
        return tasks

    def done(self, result: FoldResult) -> None:
        """A fold has its result."""
        self._done[result.key] = result
        self.curve.end(result.key)

    def fresh(self) -> list[Point]:
        """Points that were not given out yet, but that of the last epoch."""
        return self.curve.fresh(before=self.trial.config.epochs)

    def outcome(self, state: State, reason: str = "") -> TrialOutcome:
        """What became of it."""
        last = self.curve.last() if self.is_whole else self.points[-1] if self.points else None
        return TrialOutcome(
            self.trial,
            state,
            tuple(self._done[key] for key in sorted(self._done)),
            last.best if last else self.curve.so_far(),
            tuple(self.points),
            self.curve.epochs,
            self.curve.seconds,
            reason,
        )
