"""Tune's searcher over Optuna's ask-and-tell interface.

Ray ships an `OptunaSearch`. This one differs where a study needs it: a trial that the scheduler stopped is told to
Optuna as pruned, with its curve; a failed one as failed; trials of an interrupted study are told at the start; and the
sampler's randomness is a function of (seed, trial number), so a resumed study proposes what an undisturbed one would.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from raysys.search.journal import TrialRecord, trial_name
from raysys.search.space import Space

_LEAST_RANDOM, _MOST_RANDOM = 5, 10
"""Trials before TPE has something to go by: a third of the round's, within these."""
_STATES = {
    "COMPLETE": TrialState.COMPLETE,
    "PRUNED": TrialState.PRUNED,
    "FAILED": TrialState.FAIL,
}


class StudySearcher(Searcher):  # type: ignore[misc]
    """Proposes trials by TPE, jointly over all settings.

    Args:
        space: what to search.
        objectives: scores to optimise; `loss` is minimised, others maximised.
        seed: of all proposals.
        numbers: numbers of the round's trials; each proposal takes the next.
        records: trials of the round that have begun; those that have not ended are proposed again, first.
        points: values to try before Optuna's own proposals.
        deadline: of `time.monotonic()`, after which nothing is proposed; None is never.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[str],
        *,
        seed: int,
        numbers: range,
        records: Sequence[TrialRecord] = (),
        points: Sequence[dict[str, Any]] = (),
        deadline: float | None = None,
    ) -> None:
        super().__init__()
        self._space = space
        self._objectives = list(objectives)
        self._seed = seed
        self._deadline = deadline
        self._open: dict[str, optuna.Trial] = {}
        directions = [direction(objective) for objective in objectives]
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(directions=directions)
        known = {record.number for record in records}
        for record in records:
            if record.has_ended:
                self.study.add_trial(self._frozen(record))
        unfinished = [record for record in records if not record.has_ended]
        fresh = [number for number in numbers if number not in known]
        self._startup = max(_LEAST_RANDOM, min(_MOST_RANDOM, len(numbers) // 3))
        first = {numbers.start + k: space.encode(point) for k, point in enumerate(points)}
        self._queue: list[tuple[int, dict[str, Any] | None]] = [
            *((record.number, record.params) for record in unfinished),
            *((number, first.get(number)) for number in fresh),
        ]

    @property
    def left(self) -> int:
        """Proposals to come."""
        return len(self._queue)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial: `trial` (name), `number`, `params` (Optuna's) and `values` (setting -> value)."""
        late = self._deadline is not None and time.monotonic() > self._deadline
        if late or not self._queue:
            return str(Searcher.FINISHED)
        number, params = self._queue.pop(0)
        if params is not None:
            self.study.enqueue_trial(params)
        self.study.sampler = optuna.samplers.TPESampler(
            seed=_mixed(self._seed, number), n_startup_trials=self._startup
        )
        trial = self.study.ask(self._space.distributions)
        trial.set_user_attr("name", trial_name(number))
        self._open[trial_id] = trial
        return {
            "trial": trial_name(number),
            "number": number,
            "params": trial.params,
            "values": self._space.decode(trial.params),
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A point of a trial's curve; Optuna keeps curves of studies with one objective only."""
        if len(self._objectives) == 1 and result["epoch"] and not result["final"]:
            value = result[f"objectives/{self._objectives[0]}"]
            self._open[trial_id].report(value, result["epoch"])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The trial has ended: by itself, by the scheduler, or by an error."""
        trial = self._open.pop(trial_id, None)
        if trial is None:
            return
        if error or not result or result["failure"]:
            self.study.tell(trial, state=TrialState.FAIL)
            return
        values = [result[f"objectives/{objective}"] for objective in self._objectives]
        if result["final"]:
            state = TrialState.COMPLETE if all(v == v for v in values) else TrialState.FAIL
            self.study.tell(trial, values if state == TrialState.COMPLETE else None, state=state)
            return
        if len(self._objectives) == 1:
            trial.report(values[0], result["epoch"])  # Tune skips `on_trial_result` for it
        self.study.tell(trial, state=TrialState.PRUNED)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, for Tune's snapshots."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study's journal holds everything."""
        Path(checkpoint_path).touch()

    def _frozen(self, record: TrialRecord) -> optuna.trial.FrozenTrial:
        state = _STATES[record.state]
        single = len(self._objectives) == 1
        complete = state == TrialState.COMPLETE
        first = self._objectives[0]
        curve = {point.epoch: point.objectives[first] for point in record.curve if single}
        return optuna.trial.create_trial(
            state=state,
            params=record.params,
            distributions=self._space.distributions,
            values=[record.scores[o] for o in self._objectives] if complete else None,
            intermediate_values={} if state == TrialState.FAIL else curve,
            user_attrs={"name": record.name},
        )


def direction(objective: str) -> Literal["minimize", "maximize"]:
    """Optuna's word for what is better."""
    return "minimize" if objective == "loss" else "maximize"


def _mixed(seed: int, number: int) -> int:
    """A seed for every trial of every study seed."""
    return (seed * 1_000_003 + number * 7919 + 1) % 2**32
