"""A nested search: what searching like this gives on data of which it knew nothing (Varma & Simon 2006, BMC
Bioinformatics 7).

    fold k -> inner folds of its train and val parts -> a study of its own on them -> its choice
    -> that configuration trained on fold k's train part, its epoch by fold k's val -> fold k's test, opened once

The studies run one after the other over the command's pool, each with its journal in nested_K/ of the run folder:
what was killed goes on there. Nothing of a fold's test part steers what is proposed, pruned or chosen for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from rich.console import Console

from raysys.config import Config
from raysys.corpus.folds import Fold
from raysys.errors import FoldFailedError
from raysys.report.results import UNTUNED
from raysys.report.scores import NestedChoice, NestedResult
from raysys.report.view import TrialsView
from raysys.running.choice import choose, differences, score_parts
from raysys.running.opening import open_test
from raysys.running.recall import recall_trials
from raysys.running.runner import TrialRunner
from raysys.running.session import Session
from raysys.running.sources import ListSource, search_source
from raysys.search.journal import Journal
from raysys.search.space import Space
from raysys.storage import Folder
from raysys.training.records import FoldResult
from raysys.trials.trial import Trial, TrialOutcome


@dataclass(frozen=True)
class Cost:
    """Trainings of folds, if none is stopped early."""

    study: int
    nested: int

    def line(self) -> str:
        """For people, before it starts."""
        more = self.nested / self.study
        return (
            f"nested       up to {self.nested} trainings of folds besides the study's own {self.study}: it takes some "
            f"{1 + more:.1f} times as long"
        )


def nested_cost(config: Config, inner: Sequence[Sequence[Fold]]) -> Cost:
    """What a nested search takes.

    Args:
        config: with the search.
        inner: inner folds of every fold.
    """
    seeds, candidates = config.training.seeds, config.search.num_trials + 1
    confirm = 2 * config.search.confirm_seeds * len(inner)
    study = candidates * len(inner) * seeds + confirm
    return Cost(study, sum(candidates * len(folds) * seeds + seeds for folds in inner))


def search_nested(
    session: Session, space: Space, base: Config, folder: Folder, console: Console
) -> NestedResult:
    """Search, train and test for every fold.

    Args:
        session: with inner folds in its plan.
        space: what is searched.
        base: the untuned configuration.
        folder: of the run.
        console: for progress.

    Raises:
        PoolError: the pool has no workers, or has ended.
        FoldFailedError: a fold of an untuned configuration or of a choice failed.
    """
    plan, opened, chosen = session.plan, list[FoldResult](), list[NestedChoice]()
    untuned: list[FoldResult] = []
    for fold, inner in zip(plan.folds, plan.inner, strict=True):
        console.print(f"nested search of fold {fold.index}: {len(inner)} inner folds", markup=False)
        search = _InnerSearch(session, space, base, fold, inner, folder, console)
        choice = search.choose()
        objective = plan.config.objectives[0].name
        values = dict(choice.trial.values)
        name = choice.name.removeprefix(f"nested_{fold.index}_")
        chosen.append(NestedChoice(fold.index, name, values, choice.mean(objective)))
        alone = search.train(search.untuned)
        untuned += alone.folds
        opened += (alone if choice is search.untuned else search.train(choice)).folds
    tested, others = open_test(plan, opened), open_test(plan, untuned)
    return NestedResult(
        len(plan.inner[0]),
        tuple(chosen),
        score_parts(plan.task, tested),
        differences(plan, tested, others, plan.config.objectives[0]),
        nested_cost(plan.config, plan.inner).nested,
    )


class _InnerSearch:
    """The study of one fold, on its inner folds."""

    def __init__(
        self,
        session: Session,
        space: Space,
        base: Config,
        fold: Fold,
        inner: Sequence[Fold],
        folder: Folder,
        console: Console,
    ) -> None:
        self._session, self._space = session, space
        self._config, self._fold = session.plan.config, fold
        self._inner = tuple(one.index for one in inner)
        prior = session.plan.prior
        self._own_prior = None if prior is None else [prior[fold.index]]
        repeated = None if self._own_prior is None else self._own_prior * len(inner)
        self._name = f"nested_{fold.index}"
        self._base = Trial(f"{self._name}_", base, repeated, folds=self._inner)
        self._folder, self._console = folder / self._name, console
        self._journal = Journal(self._folder)
        self.untuned: TrialOutcome
        """When `choose` has returned."""

    def choose(self) -> TrialOutcome:
        """Do what is left of the study; its best configuration by mean inner validation."""
        config, untuned = self._config, f"{self._name}_{UNTUNED}"

        def note(what: str) -> None:
            self._console.print(f"note: {what}", highlight=False, soft_wrap=True, markup=False)

        for path in self._journal.damaged():
            note(f"{path} and its copy are damaged: the trial is done again")
        records, done = recall_trials(
            self._journal.read(), self._base, self._journal.folder, len(self._inner), note
        )
        source = search_source(
            config,
            self._space,
            self._journal,
            self._base,
            round_number=1,
            records=records,
            ended=list(done.values()),
            points=self._space.published_points(),
            n_folds=len(self._inner),
            workers=lambda: self._session.pool.workers,
            beside=replace(self._base, name=untuned),
        )
        with self._view(config.search.num_trials, (untuned,)) as view:
            for outcome in done.values():
                view.recalled(outcome)
            runner = self._runner(self._journal.folder, view)
            for outcome in runner.run(source):
                if outcome.name == untuned:
                    self.untuned = outcome
                else:
                    done[outcome.name] = outcome
        complete = [done[name] for name in sorted(done) if done[name].state == "COMPLETE"]
        return choose([self.untuned, *complete], config.objectives[0])

    def train(self, choice: TrialOutcome) -> TrialOutcome:
        """Train a configuration on the fold itself.

        Raises:
            FoldFailedError: it failed.
        """
        what = UNTUNED if choice is self.untuned else "chosen"
        name, own = f"{self._name}_{what}_tested", (self._fold.index,)
        trial = Trial(name, choice.trial.config, self._own_prior, folds=own)
        with self._view(1, ()) as view:
            (outcome,) = self._runner(self._folder, view).run(ListSource([trial]))
        if outcome.state == "FAILED":
            raise FoldFailedError(f"nested search of {outcome.reason}")
        return outcome

    @property
    def _view(self) -> partial[TrialsView]:
        config = self._config
        return partial(_view, self._console, config, len(self._inner), self._session.pool.workers)

    def _runner(self, folder: Folder, view: TrialsView) -> TrialRunner:
        return TrialRunner(
            self._session.pool, folder, n_folds=len(self._session.plan.folds), listeners=[view]
        )


def _view(
    console: Console,
    config: Config,
    n_folds: int,
    workers: int,
    total: int,
    beside: tuple[str, ...],
) -> TrialsView:
    return TrialsView(
        console,
        config.objectives[0],
        total=total,
        n_folds=n_folds if beside else 1,
        seeds=config.training.seeds,
        workers=workers,
        beside=beside,
    )
