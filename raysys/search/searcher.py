"""Tune's searcher over Optuna's ask-and-tell interface.

Ray ships an `OptunaSearch`. This one differs where a study needs it: a trial that the scheduler stopped is reported to
Optuna as pruned, with its curve; a failed one as failed; trials of an interrupted study are reported at the start; the
sampler's randomness is a function of (seed, trial number), so a resumed study proposes what an undisturbed one would.
"""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from raysys.report.results import TrialRecord
from raysys.search.dashboard import Dashboard
from raysys.search.journal import trial_name
from raysys.search.space import Space
from raysys.tasks.task import Metric

_LEAST_RANDOM, _MOST_RANDOM = 5, 10
"""Trials before TPE has something to go by: a third of the round's, within these."""
_TPE_ATTEMPTS, _MOST_ATTEMPTS = 10, 300
"""To propose what has not been proposed; then the space counts as exhausted: of 20 configurations, one that is left is
missed once in three millions."""
_APART = 104_729
"""Between the seeds of two attempts."""
_STATES = {
    "COMPLETE": TrialState.COMPLETE,
    "PRUNED": TrialState.PRUNED,
    "FAILED": TrialState.FAIL,
}


class StudySearcher(Searcher):  # type: ignore[misc]
    """Proposes trials by TPE, jointly over all settings.

    Args:
        space: what to search.
        objectives: scores to optimise.
        seed: of all proposals.
        numbers: numbers of the round's trials; each proposal takes the next.
        records: trials of the round that have begun; those that have not ended are proposed again, first.
        points: values to try before Optuna's own proposals.
        dashboard: where ended trials are also written.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Metric],
        *,
        seed: int,
        numbers: range,
        records: Sequence[TrialRecord] = (),
        points: Sequence[dict[str, Any]] = (),
        dashboard: Dashboard | None = None,
    ) -> None:
        super().__init__()
        self._dashboard = dashboard or Dashboard(None)
        self._space = space
        self._objectives = [objective.name for objective in objectives]
        self._seed = seed
        self._open: dict[str, optuna.Trial] = {}
        self.study = _new_study(objectives)
        known = {record.number for record in records}
        for record in records:
            if record.has_ended:
                self.study.add_trial(self._frozen(record))
        self._dashboard.write(self.study)
        unfinished = [record for record in records if not record.has_ended]
        self._begun = {record.number for record in unfinished}
        fresh = [number for number in numbers if number not in known]
        self._proposed = {_key(record.values) for record in records}
        """Configurations whose results are known, or will be."""
        self.is_exhausted = False
        """Whether the space has no configuration any more that was not proposed."""
        self._startup = max(_LEAST_RANDOM, min(_MOST_RANDOM, len(numbers) // 3))
        first = {numbers.start + k: space.encode(point) for k, point in enumerate(points)}
        self._queue: list[tuple[int, dict[str, Any] | None]] = [
            *((record.number, record.params) for record in unfinished),
            *((number, first.get(number)) for number in fresh),
        ]

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial: `number`, `params` (Optuna's) and `values` (setting -> value).

        One configuration is proposed once: its result is known. Where TPE has no other, it is drawn.
        """
        if not self._queue:
            return str(Searcher.FINISHED)
        number, params = self._queue.pop(0)
        if params is not None:
            self.study.enqueue_trial(params)
        for attempt in range(_MOST_ATTEMPTS):
            trial = self._ask(_mixed(self._seed + attempt * _APART, number), attempt)
            params = self._space.settled(trial.params)
            values = self._space.decode(params)
            if _key(values) not in self._proposed or number in self._begun:
                break
            self.study.tell(trial, state=TrialState.FAIL)  # Optuna learns nothing of it
        else:
            self.is_exhausted = True
            self._queue.clear()
            return str(Searcher.FINISHED)
        self._proposed.add(_key(values))
        trial.set_user_attr("name", trial_name(number))
        self._open[trial_id] = trial
        return {"number": number, "params": params, "values": values}

    def _ask(self, seed: int, attempt: int) -> optuna.Trial:
        self.study.sampler = (
            optuna.samplers.TPESampler(seed=seed, n_startup_trials=self._startup)
            if attempt < _TPE_ATTEMPTS
            else optuna.samplers.RandomSampler(seed=seed)
        )
        return self.study.ask(self._space.distributions)

    def lacks(self, scores: Mapping[str, float]) -> list[str]:
        """Objectives of which there is no score."""
        return [name for name in self._objectives if math.isnan(scores.get(name, math.nan))]

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """A point of a trial's curve: `epoch` and scores; Optuna keeps curves of studies with one objective only."""
        if len(self._objectives) == 1:
            self._open[trial_id].report(result[self._objectives[0]], result["epoch"])

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """The trial has ended: by itself (`done` in its result), by the scheduler, or by an error."""
        trial = self._open.pop(trial_id, None)
        if trial is not None:
            self._tell(trial, result, error)
            self._dashboard.write(self.study)

    def _tell(self, trial: optuna.Trial, result: Mapping[str, Any] | None, error: bool) -> None:
        if error or not result:
            self.study.tell(trial, state=TrialState.FAIL)
            return
        values = [result[objective] for objective in self._objectives]
        if result["done"]:
            state = TrialState.FAIL if self.lacks(result) else TrialState.COMPLETE
            self.study.tell(trial, values if state == TrialState.COMPLETE else None, state=state)
            return
        if len(self._objectives) == 1:
            trial.report(values[0], result["epoch"])
        self.study.tell(trial, state=TrialState.PRUNED)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study's journal holds everything."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""

    def _frozen(self, record: TrialRecord) -> optuna.trial.FrozenTrial:
        state = _STATES[record.state]
        if state == TrialState.COMPLETE and self.lacks(record.scores):
            state = TrialState.FAIL
        single = len(self._objectives) == 1
        complete = state == TrialState.COMPLETE
        first = self._objectives[0]
        curve = {point.epoch: point.best[first] for point in record.curve if single}
        if single and state == TrialState.PRUNED and not curve and record.scores:
            curve = {record.epochs: record.scores[first]}
        return optuna.trial.create_trial(
            state=state,
            params=self._space.settled(record.params),
            distributions=self._space.distributions,
            values=[record.scores[o] for o in self._objectives] if complete else None,
            intermediate_values={} if state == TrialState.FAIL else curve,
            user_attrs={"name": record.name},
        )


def importances(
    space: Space, records: Sequence[TrialRecord], objective: Metric
) -> dict[str, float]:
    """Setting -> share of importance by Optuna's default evaluator; empty where complete trials are too few."""
    done = [record for record in records if record.state == "COMPLETE"]
    varied = [n for n in space.settings if len({repr(record.values[n]) for record in done}) > 1]
    if len(done) < 2 or not varied:
        return {}
    study = _new_study([objective])
    for record in done:
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE,
                params=space.settled(record.params),
                distributions=space.distributions,
                value=record.scores[objective.name],
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that trials tie: then all are as important
        found = optuna.importance.get_param_importances(study)
    return {name.removesuffix("_share"): share for name, share in found.items()}


def _new_study(objectives: Sequence[Metric]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    up, down = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
    return optuna.create_study(directions=[up if o.higher_is_better else down for o in objectives])


def _key(values: Mapping[str, Any]) -> str:
    """The same for the same configuration, also from a file."""
    return json.dumps(values, sort_keys=True)


def _mixed(seed: int, number: int) -> int:
    """A seed for every trial of every study seed."""
    return (seed * 1_000_003 + number * 7919 + 1) % 2**32
