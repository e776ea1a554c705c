"""The rounds of a study: searches in a row, each with the last one's matrix as its S, and the untuned configuration.

    round r: S_r -> trials -> best by validation -> its averaged matrix -> S_(r+1)

A matrix rests on test parts. As every measured prior it enters a fold without that fold's own matrix
(`raysys.tracking.priors`), so no fold trains on its own test labels.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from raysys.background import Background
from raysys.config import Config
from raysys.config.running import SearchConfig
from raysys.corpus.finding import Finding
from raysys.errors import FoldFailedError
from raysys.report.results import UNTUNED, TrialRecord
from raysys.report.scores import NestedResult
from raysys.report.view import TrialsView
from raysys.running.choice import choose
from raysys.running.command import Command
from raysys.running.nested import search_nested
from raysys.running.opening import RECORD, write_files
from raysys.running.recall import recall_trials
from raysys.running.runner import TrialRunner
from raysys.running.session import Scores, Session, open_session
from raysys.running.sources import ListSource, search_source
from raysys.search.journal import Journal
from raysys.search.space import Space
from raysys.settings import replaced
from raysys.similarity.prior import SimilarityPrior, similarity_from_record
from raysys.storage import resolve_folder
from raysys.tasks.exhibits import Tree
from raysys.tracking.command_log import CommandLog
from raysys.tracking.priors import resolve_prior
from raysys.trials.trial import Trial, TrialOutcome

_NO_LIMIT = 1_000_000


@dataclass(frozen=True)
class RoundEnd:
    """What a round leaves to the next one and to the report."""

    round: int
    base: Config
    """The untuned configuration with this round's S."""
    candidates: list[TrialOutcome]
    """Trials that have all their folds."""
    moved: float | None
    """Frobenius distance between this round's S and the best trial's averaged matrix; None without an S."""
    finding: Finding | None
    """What the audit says of this round's S."""


@dataclass(frozen=True)
class Searched:
    """What the part that needs Ray leaves to the report."""

    journal: Journal
    candidates: list[TrialOutcome]
    """The untuned configuration first, then the trials of all rounds that have all their folds."""
    ends: list[RoundEnd]
    aggregate: Any
    """What the best of all candidates' folds give together, such as its averaged matrix."""
    baseline: Scores
    seconds: dict[str, float]
    """Start-up, and how busy how many workers were."""
    nested: NestedResult | None
    """With `search.nested`."""
    confirmed: list[TrialOutcome]
    """The chosen and the untuned configuration with fresh seeds; empty where there is nothing to confirm."""


def search_rounds(command: Command, space: Space) -> Searched:
    """Run the untuned configuration and all rounds over one pool, and the nested search where one is wanted.

    Args:
        command: the study.
        space: what is searched.

    Raises:
        PoolError: the pool has no workers, or has ended.
        FoldFailedError: a fold of the untuned configuration failed, or of one that was to be confirmed; or no trial
            of the search has all its folds, so that there is nothing to choose.
    """
    plan, folder, log, console = command.plan, command.folder, command.log, command.console
    config, search, n_folds = plan.config, plan.config.search, len(plan.folds)
    journal = Journal(folder)
    in_flight = search.concurrency + 1 if search.concurrency else _NO_LIMIT
    most = n_folds * config.training.seeds * in_flight
    with open_session(plan, most_tasks=most) as session:
        session.baselines.begin(config)
        view = TrialsView(
            console,
            config.objectives[0],
            total=search.num_trials * search.rounds,
            n_folds=n_folds,
            seeds=config.training.seeds,
            workers=session.pool.workers,
            beside=(UNTUNED,),
        )
        runner = TrialRunner(session.pool, journal.folder, n_folds=n_folds, listeners=[view, log])
        rounds = _Rounds(session, space, journal, log, runner, view)
        with view:
            ends = rounds.run()
            candidates = [rounds.untuned, *(c for end in ends for c in end.candidates)]
            if len(candidates) == 1:
                raise FoldFailedError(_why_none(journal.read()))
            chosen = choose(candidates, config.objectives[0])
            confirmed = rounds.confirm(chosen)
        nested = None
        if plan.inner:
            nested = search_nested(session, space, untuned_config(config), folder, console)
        clock = runner.clock
        seconds = {
            "startup": (clock.began or session.connecting) - session.connecting,
            "utilisation": clock.utilisation,
            "workers": clock.workers,
        }
        aggregate = rounds.aggregate(chosen)
        baseline = session.baselines.of(config)[0].test
    return Searched(journal, candidates, ends, aggregate, baseline, seconds, nested, confirmed)


class _Rounds:
    """One object a study."""

    def __init__(
        self,
        session: Session,
        space: Space,
        journal: Journal,
        log: CommandLog,
        runner: TrialRunner,
        view: TrialsView,
    ) -> None:
        self._session = session
        self._plan = session.plan
        self._config = session.plan.config
        self._search = self._config.search
        self._space = space
        self._journal = journal
        self._log = log
        self._runner = runner
        self._view = view
        self._aside = Background("study")  # for what need not hold up the next trial
        self._finishing: list[Future[None]] = []
        self._aggregates: dict[str, Any] = {}
        self._deadline = time.monotonic() + self._search.seconds if self._search.seconds else None
        self.untuned: TrialOutcome
        """When `run` has returned."""

    def run(self) -> list[RoundEnd]:
        """All rounds."""
        for path in self._journal.damaged():
            self._view.note(f"{path} and its copy are damaged: the trial is done again")
        base, prior, finding = untuned_config(self._config), self._plan.prior, None
        is_matrix = prior is not None and bool(self._config.loss.omega)
        matrices = [one.matrix for one in prior or () if isinstance(one, SimilarityPrior)]
        average = np.mean(np.array(matrices), axis=0) if is_matrix else None
        ends: list[RoundEnd] = []
        before: TrialOutcome | None = None
        for number in range(1, self._search.rounds + 1):
            candidates = self._round(number, Trial("", base, prior), before)
            before = choose(candidates, self._config.objectives[0]) if candidates else None
            measured = None if before is None else self._averaged(before)
            moved = None
            if measured is not None and average is not None:
                moved = float(np.linalg.norm(np.nan_to_num(measured - average)))
            ends.append(RoundEnd(number, base, candidates, moved, finding))
            if before is None or number == self._search.rounds:
                break
            path = (self._journal.folder / before.name).path(RECORD)
            base = replaced(base, {"loss.similarity": path})
            found = resolve_prior(
                with_omega(base, self._search),
                self._plan.corpus.emotions,
                self._plan.origin,
                runs=resolve_folder(self._config.storage.runs),
            )
            assert found is not None
            prior, finding, average = list(found.values), found.finding, measured
        return ends

    def confirm(self, chosen: TrialOutcome) -> list[TrialOutcome]:
        """The chosen and the untuned configuration with fresh seeds.

        Raises:
            FoldFailedError: a fold of theirs failed.
        """
        seeds = self._search.confirm_seeds
        if not seeds or chosen.name == UNTUNED:
            return []
        trials = [one.trial.again(seeds) for one in (chosen, self.untuned)]
        self._view.set_aside(trials)
        ended = {}
        for outcome in self._runner.run(ListSource(trials)):
            if outcome.state == "FAILED":
                raise FoldFailedError(f"{outcome.name}, {outcome.reason}")
            self._log.close(outcome)
            ended[outcome.name] = outcome
        return [ended[trial.name] for trial in trials]

    def aggregate(self, outcome: TrialOutcome) -> Any:
        """What its test embeddings come to."""
        if outcome.name not in self._aggregates:
            self._aggregates[outcome.name] = self._session.aggregate(outcome)
        return self._aggregates[outcome.name]

    def _round(self, number: int, base: Trial, before: TrialOutcome | None) -> list[TrialOutcome]:
        """The trials of one round that have all their folds, in the order of their numbers."""
        n_folds = len(self._plan.folds)
        records, ended = recall_trials(
            [record for record in self._journal.read() if record.round == number],
            base,
            self._journal.folder,
            n_folds,
            self._view.note,
        )
        outcomes = {name: self._recall(outcome) for name, outcome in ended.items()}
        source = search_source(
            self._config,
            self._space,
            self._journal,
            base,
            round_number=number,
            records=records,
            ended=list(outcomes.values()),
            points=(
                self._space.published_points() if before is None else [dict(before.trial.values)]
            ),
            n_folds=n_folds,
            workers=lambda: self._session.pool.workers,
            deadline=self._deadline,
            beside=Trial(UNTUNED, base.config, self._plan.prior) if number == 1 else None,
        )
        for outcome in self._runner.run(source):
            if outcome.name == UNTUNED:
                self.untuned = outcome
            elif outcome.state == "COMPLETE":
                outcomes[outcome.name] = outcome
            self._finish(outcome)
        if source.is_exhausted:
            self._view.note("every configuration of search.space was tried: no further trial")
        for future in self._finishing:
            future.result()
        done = [o for o in outcomes.values() if o.state == "COMPLETE"]
        return sorted(done, key=lambda outcome: outcome.name)

    def _recall(self, outcome: TrialOutcome) -> TrialOutcome:
        """Logged where MLflow lacks it."""
        self._view.recalled(outcome)
        self._log.recalled(outcome)
        if self._log.is_open(outcome.name):
            self._finish(outcome)
        return outcome

    def _finish(self, outcome: TrialOutcome) -> None:
        """Have a complete trial's matrices averaged, aside."""
        if outcome.state == "COMPLETE":
            self._finishing.append(self._aside.do(partial(self._finish_complete, outcome)))

    def _finish_complete(self, outcome: TrialOutcome) -> None:
        plan, folder = self._plan, self._journal.folder / outcome.name
        every = plan.task.show_aggregate(self.aggregate(outcome), plan.origin)
        shown = [one for one in every if not isinstance(one, Tree)]  # that of the choice is enough
        write_files(folder, shown)
        log = self._log.of(outcome.name)
        log.exhibits([*shown, *plan.show_balance(outcome.trial.config)])
        self._log.close(outcome)

    def _averaged(self, best: TrialOutcome) -> np.ndarray | None:
        folder = self._journal.folder / best.name
        if not folder.exists(RECORD):
            return None
        record: Mapping[str, Any] = folder.read_json(RECORD)
        of = self._config.loss.measured_on
        return similarity_from_record(record, self._plan.corpus.emotions, best.name, of=of)


def _why_none(records: Sequence[TrialRecord]) -> str:
    """What became of trials of which none is complete, and what to do."""
    states = Counter(record.state.lower() for record in records)
    told = ", ".join(f"{count} {state}" for state, count in states.items()) or "none was begun"
    reasons = Counter(record.reason for record in records if record.state == "FAILED")
    if reasons:
        most, count = reasons.most_common(1)[0]
        return f"no trial of the study has all its folds ({told}); {count} of them: {most}"
    return (
        f"no trial of the study has all its folds ({told}): raise --search.seconds or --search.num_trials and run "
        "with --resume"
    )


def untuned_config(config: Config) -> Config:
    """What a study compares with: its config without the search."""
    return replace(config, search=SearchConfig())


def with_omega(config: Config, search: SearchConfig) -> Config:
    """The config with the emotion-aware term on, where its weight is searched."""
    if "loss.omega" not in search.space or config.loss.omega:
        return config
    switched_on: Config = replaced(config, {"loss.omega": 1.0})
    return switched_on
