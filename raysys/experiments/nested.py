"""A nested search: what searching like this gives on data of which it knew nothing (Varma & Simon 2006, BMC
Bioinformatics 7).

    fold k -> inner folds of its train and val parts -> a study of its own on them -> its choice
    -> that configuration trained on fold k's train part, its epoch by fold k's val -> fold k's test, opened once

The studies run one after the other over the command's pool, each with its journal in nested_K/ of the run folder:
what was killed goes on there. Nothing of a fold's test part, nor of its val part's scores on other folds, steers what
is proposed, pruned or chosen for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from rich.console import Console

from raysys.config import Config
from raysys.corpus.folds import Fold
from raysys.errors import DamagedError, FoldFailedError
from raysys.experiments.choice import choose
from raysys.experiments.opening import open_test
from raysys.experiments.plan import Plan
from raysys.experiments.recall import longest_training, recalled
from raysys.experiments.runner import TrialRunner
from raysys.experiments.session import Session
from raysys.experiments.sources import ListSource, SearchSource, concurrency
from raysys.report.results import UNTUNED, NestedChoice, NestedResult
from raysys.report.scores import PartScores
from raysys.report.statistics import paired_difference, part_scores, test_share
from raysys.report.view import TrialsView
from raysys.search.journal import Journal
from raysys.search.scheduler import make_scheduler
from raysys.search.searcher import StudySearcher
from raysys.search.space import Space
from raysys.storage import Folder
from raysys.tasks.task import compared
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
            f"nested       up to {self.nested} trainings of folds beside the study's own {self.study}: it takes some "
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
    parts = [_scored(plan, results) for results in (opened, untuned)]
    wanted = compared(plan.task.metrics, plan.config.objectives[0])
    names = [metric.name for metric in wanted if metric.name in parts[0].mean]
    share = test_share(plan.folds)
    differences = {
        name: paired_difference(
            *([one[name] for one in part.folds] for part in parts),
            shared=share,
        )
        for name in names
    }
    trainings = sum(len(folds) for folds in plan.inner) * (plan.config.search.num_trials + 1)
    seeds = plan.config.training.seeds
    return NestedResult(
        len(plan.inner[0]),
        tuple(chosen),
        parts[0],
        differences,
        seeds * (trainings + len(plan.folds)),
    )


def _scored(plan: Plan, results: Sequence[FoldResult]) -> PartScores:
    """Of test parts, each opened here for the first time."""
    opened = open_test(plan, results)
    scores = {key: plan.task.score(one.outputs, one.truth) for key, one in opened.items()}
    return part_scores(scores, list(next(iter(scores.values()))))


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
        config, search = self._config, self._config.search
        trainings, untuned = len(self._inner) * config.training.seeds, f"{self._name}_{UNTUNED}"
        records, done = [], dict[str, TrialOutcome]()
        for record in self._journal.read():
            kept = None
            if record.has_ended:
                try:
                    kept = recalled(record, self._base, self._journal.folder, len(self._inner))
                except DamagedError as damage:
                    self._console.print(f"note: {damage}: {record.name} is done again")
            records.append(record if kept or not record.has_ended else record.begun())
            if kept:
                done[record.name] = kept
        longest = longest_training(self._base.config, search)
        scheduler = make_scheduler(
            search,
            config.objectives[0],
            max_epochs=longest,
            chooser=config.chooser,
            ended=list(done.values()),
        )
        searcher = StudySearcher(
            self._space,
            config.objectives,
            seed=config.seed,
            numbers=range(search.num_trials),
            records=records,
            points=self._space.published_points(),
        )
        source = SearchSource(
            self._base,
            searcher,
            scheduler,
            self._journal,
            round_number=1,
            in_flight=lambda: concurrency(
                config, self._session.pool.workers, 1 if scheduler.in_turn else trainings
            ),
            most_epochs=lambda one: one.epochs * trainings,
            beside=replace(self._base, name=untuned),
        )
        with self._view(search.num_trials, (untuned,)) as view:
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
