"""The rounds of a study: the untuned configuration, then searches in a row, each with the last one's matrix as its S.

    round r: S_r -> trials -> best by validation -> its averaged matrix -> S_(r+1)

A matrix rests on test parts. As every measured prior it enters a fold without that fold's own matrix
(`raysys.tracking.priors`), so no fold trains on its own test labels.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import ray
from jaxtyping import Float64

from raysys.cluster.plan import Plan, balance_table
from raysys.cluster.pool import FoldPool
from raysys.config import Config, SearchConfig, replaced
from raysys.corpus.audit import Finding
from raysys.search.callbacks import StudyCallback
from raysys.search.journal import UNTUNED, Journal, TrialRecord
from raysys.search.result import Candidate, choose
from raysys.search.searcher import StudySearcher
from raysys.search.space import Space
from raysys.search.trial import Round
from raysys.search.tuner import milestones, most_epochs, run_trials
from raysys.search.view import StudyView
from raysys.search.watch import PoolWatch
from raysys.similarity import SimilaritySummary, similarity_from_record, similarity_record
from raysys.storage import resolve_folder
from raysys.tracking.priors import Prior, resolve_prior
from raysys.tracking.study import StudyLog
from raysys.training.fold import read_result
from raysys.training.task import fold_tasks

_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class RoundEnd:
    """What a round leaves to the next one and to the report."""

    round: int
    config: Config
    """The untuned configuration with this round's S."""
    candidates: list[Candidate]
    """Trials that have all their folds."""
    moved: float | None
    """Frobenius distance between this round's S and the best trial's averaged matrix; None without an S."""
    finding: Finding | None
    """What the audit says of this round's S."""


class StudyRounds:
    """Runs them; one object a command.

    Args:
        config: of the study; `search` has the space.
        space: checked.
        plan: of the untuned configuration.
        pool: does the folds.
        watch: of the pool.
        aggregator: averages matrices.
        journal: of the study.
        log: of the study.
        aside: does what need not hold up the next trial.
    """

    def __init__(
        self,
        config: Config,
        space: Space,
        plan: Plan,
        *,
        pool: FoldPool,
        watch: PoolWatch,
        aggregator: Any,
        journal: Journal,
        log: StudyLog,
        aside: ThreadPoolExecutor,
    ) -> None:
        self._config = config
        self._search = config.search
        self._space = space
        self._plan = plan
        self._pool = pool
        self._watch = watch
        self._aggregator = aggregator
        self._journal = journal
        self._log = log
        self._aside = aside
        self._finishing: list[Future[None]] = []
        self._bases: dict[int, Config] = {}
        """Round -> the untuned configuration with the round's S."""

    @property
    def untuned(self) -> Candidate:
        """The untuned configuration's folds, when `run` has returned."""
        return self._candidate(UNTUNED, {}, 1)

    def run(self, view: StudyView) -> list[RoundEnd]:
        """Run the untuned configuration and all rounds.

        Raises:
            PoolError: the pool has no workers, or has ended.
            FoldFailedError: a fold of the untuned configuration failed, so there is nothing to compare with.
        """
        search = self._search
        deadline = time.monotonic() + search.seconds if search.seconds else None
        ends: list[RoundEnd] = []
        base, matrices, finding = untuned_config(self._config), self._plan.similarity, None
        average = None if matrices is None else matrices.mean(axis=0)
        self._submit_untuned(base)
        view.started(UNTUNED, "the base configuration")
        for number in range(1, search.rounds + 1):
            self._round(number, base, matrices, view, deadline)
            candidates = self._candidates(number)
            best = choose(candidates, search.objectives[0]) if candidates else None
            measured = None if best is None else self._averaged(best)
            moved = None
            if measured is not None and average is not None:
                moved = float(np.linalg.norm(np.nan_to_num(measured - average)))
            ends.append(RoundEnd(number, base, candidates, moved, finding))
            if best is None or number == search.rounds:
                break
            path = (self._journal.folder / best.name).path("similarity.json")
            base = replaced(base, {"loss.similarity": path})
            prior = self._prior(base)
            matrices, finding, average = prior.matrices, prior.finding, measured
        while not self._watch.has_required:
            self._watch.poll(_WAIT_SECONDS)
        return ends

    def _round(
        self,
        number: int,
        base: Config,
        matrices: Float64[np.ndarray, "fold class class"] | None,
        view: StudyView,
        deadline: float | None,
    ) -> None:
        """Run the trials of one round."""
        search, n_folds = self._search, len(self._plan.folds)
        numbers = range((number - 1) * search.num_trials, number * search.num_trials)
        records = [record for record in self._journal.read() if record.round == number]
        ended = [record for record in records if record.has_ended]
        self._bases[number] = base
        self._recall(ended, view)
        max_epochs = longest_training(base, search)
        searcher = StudySearcher(
            self._space,
            search.objectives,
            seed=self._config.seed,
            numbers=numbers,
            records=records,
            points=self._points(number),
            deadline=deadline,
        )
        callback = StudyCallback(
            self._pool,
            self._watch,
            self._journal,
            view,
            self._log,
            round_number=number,
            deadline=deadline,
            most_epochs=partial(most_epochs, max_epochs=base.training.max_epochs, n_folds=n_folds),
            on_end=self._on_end,
        )
        shared = Round(
            base,
            self._journal.folder.uri,
            n_folds,
            search.objectives,
            milestones(search, max_epochs),
            None if matrices is None else matrices.tolist(),
        )
        run_trials(
            self._pool,
            searcher,
            callback,
            shared,
            search,
            max_epochs=max_epochs,
            records=ended,
            deadline=deadline,
        )
        for future in self._finishing:
            future.result()

    def _submit_untuned(self, base: Config) -> None:
        priors = None if self._plan.similarity is None else self._plan.similarity.tolist()
        place = (self._journal.folder / UNTUNED).uri
        self._pool.submit(fold_tasks(UNTUNED, base, place, priors, len(self._plan.folds)))

    def _points(self, number: int) -> list[dict[str, Any]]:
        """What a round tries first: published settings, and later the best of the round before."""
        if number == 1:
            return self._space.published_points()
        best = choose(self._candidates(number - 1), self._search.objectives[0])
        return [dict(best.values)]

    def _recall(self, ended: list[TrialRecord], view: StudyView) -> None:
        """Trials of an earlier command: those that have ended are shown, and logged where MLflow lacks them."""
        view.recall(ended)
        logged = self._log.logged_trials() if ended else set()
        for record in ended:
            if record.name in logged:
                continue
            self._log.trial_started(record.name, record.values)
            for point in record.curve:
                self._log.trial_point(record.name, point.epoch, point.val)
            self._on_end(record)

    def _on_end(self, record: TrialRecord) -> None:
        """Have the aggregation actor average a complete trial's matrices, aside, or forget what it has of another."""
        if record.state == "COMPLETE":
            self._finishing.append(self._aside.submit(self._finish_trial, record))
        else:
            self._aggregator.drop.remote(record.name)
            self._log.trial_ended(record.name, record.state, record.scores, record.reason)

    def _finish_trial(self, record: TrialRecord) -> None:
        plan, folder = self._plan, self._journal.folder / record.name
        places = {fold.index: (folder / f"fold_{fold.index}").uri for fold in plan.folds}
        call = self._aggregator.summary.remote(record.name, places)
        summary: SimilaritySummary = ray.get(call)
        content = similarity_record(summary, plan.corpus.emotions, plan.origin)
        folder.write_json("similarity.json", content)
        config = replaced(self._bases[record.round], record.values)
        balance = None
        if config.balance.method != "off":
            plans = plan.balance(config)
            balance = (plans, balance_table(plan, plans))
        self._log.trial_result(record.name, config, summary, plan.origin, balance)
        self._log.trial_ended(record.name, record.state, record.scores)

    def _candidates(self, number: int) -> list[Candidate]:
        """Trials of a round that have all their folds."""
        done = [r for r in self._journal.read() if r.round == number and r.state == "COMPLETE"]
        return [self._candidate(r.name, r.values, number) for r in done]

    def _candidate(self, name: str, values: dict[str, Any], number: int) -> Candidate:
        places = [self._journal.folder / name / f"fold_{f.index}" for f in self._plan.folds]
        results = [read_result(place) for place in places]
        return Candidate(name, values, number, [result for result in results if result])

    def _averaged(self, best: Candidate) -> Float64[np.ndarray, "class class"]:
        record = (self._journal.folder / best.name).read_json("similarity.json")
        return similarity_from_record(record, self._plan.corpus.emotions, best.name)

    def _prior(self, base: Config) -> Prior:
        """S of a round after the first: its config names the best trial's matrices."""
        prior = resolve_prior(
            with_omega(base, self._search),
            self._plan.corpus.emotions,
            self._plan.origin,
            runs=resolve_folder(self._config.storage.runs),
        )
        assert prior is not None
        return prior


def untuned_config(config: Config) -> Config:
    """What a study compares with: its config without the search."""
    return replace(config, search=SearchConfig())


def with_omega(config: Config, search: SearchConfig) -> Config:
    """The config with the emotion-aware term on, where its weight is searched."""
    if "loss.omega" not in search.space or config.loss.omega:
        return config
    switched_on: Config = replaced(config, {"loss.omega": 1.0})
    return switched_on


def longest_training(config: Config, search: SearchConfig) -> int:
    """Most epochs that a trial can have."""
    item = search.space.get("training.max_epochs")
    if item is None:
        return config.training.max_epochs
    return max(int(value) for value in item.choices or (item.high,))  # type: ignore[arg-type]
