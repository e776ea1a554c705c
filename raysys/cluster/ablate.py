"""An ablation: a list of configurations over one fold pool, each evaluated as a cross-validation is.

Config -> variants x seeds -> AblationTrials, Plan -> FoldPool -> FoldResults -> a result a trial
       -> means, differences, the paper's numbers beside ours -> result.json, MLflow, terminal

Nothing is chosen here: every variant's test part is read once, when its training is over. A variant that fails is
named, and the others are reported.
"""

import io
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from rich.console import Console

from raysys.cluster.ablation_view import AblationView
from raysys.cluster.aggregator import DeliverEmbeddings, running_aggregator
from raysys.cluster.background import in_background
from raysys.cluster.command import carry_out
from raysys.cluster.outcome import FinishedTrial
from raysys.cluster.plan import Plan, balance_table
from raysys.cluster.pool import FoldPool
from raysys.cluster.session import ray_session
from raysys.cluster.variants import AblationTrial, make_ablation
from raysys.config import Config
from raysys.errors import FoldFailedError
from raysys.report import compare_variants, mean_and_std, print_ablation
from raysys.storage import Folder
from raysys.tracking.ablation import AblationLog
from raysys.tracking.client import ui_command
from raysys.training.baseline import baseline_scores
from raysys.training.fold import run_fold, warm_up
from raysys.training.task import FoldResult, FoldTask, fold_tasks

_TABLE_WIDTH = 140


def ablate(config: Config, *, resume: bool, console: Console) -> dict[str, Any]:
    """Run every variant and compare them.

    Args:
        config: everything; `ablation` lists the variants.
        resume: go on with the latest unfinished run of the same identity.
        console: for progress and report.

    Returns:
        The content of result.json.

    Raises:
        RaysysError: bad input (before any worker starts), lost workers, or folds that failed.
    """
    begun = time.monotonic()
    plan, trials = make_ablation(config)

    def work(folder: Folder, log: AblationLog) -> dict[str, Any]:
        ended = _Ablation(plan, trials, folder, log).run(console)
        result = _report(plan, ended, folder, log, begun)
        if ended.failed:  # so the run is not finished, and --resume tries these again
            print_ablation(console, result, folder=folder.path(), ui=ui_command(log.uri))
            raise FoldFailedError(f"{len(ended.failed)} trial(s) failed: {ended.failed[0]}")
        return result

    return carry_out(
        plan,
        resume=resume,
        console=console,
        open_log=AblationLog,
        work=work,
        show=print_ablation,
    )


@dataclass(frozen=True)
class _Ended:
    """What is left when all folds have ended."""

    results: dict[str, list[dict[str, Any]]]
    """Variant -> a result each seed; a variant that has not all of them is left out."""
    failed: list[str]
    """A line a trial that failed."""
    baseline: list[dict[str, float]]
    """The SVM's test scores on the modalities of the first variant that is left, one dict a fold."""


class _Baselines:
    """The SVM for every set of modalities, one after the other, beside the folds."""

    def __init__(self, plan: Plan, sets: Iterable[tuple[str, ...]]) -> None:
        self._plan = plan
        self._scores: dict[tuple[str, ...], Future[list[dict[str, float]]]] = {}
        before: Future[list[dict[str, float]]] | None = None
        for modalities in dict.fromkeys(sets):
            before = in_background(partial(self._fit, modalities, before))
            self._scores[modalities] = before

    def __getitem__(self, modalities: tuple[str, ...]) -> list[dict[str, float]]:
        """Test scores, one dict a fold; waits for them."""
        return self._scores[modalities].result()

    def _fit(
        self, modalities: tuple[str, ...], before: Future[Any] | None
    ) -> list[dict[str, float]]:
        if before is not None:
            before.exception()  # waits
        features = {m: self._plan.arrays.features[m] for m in modalities}
        return baseline_scores(replace(self._plan.arrays, features=features), self._plan.folds)


class _Ablation:
    """Runs all trials' folds; a trial is scored as soon as all its folds have ended.

    Args:
        plan: shared by all.
        trials: in the order in which they are to run.
        folder: of the ablation.
        log: of the ablation.
    """

    def __init__(
        self, plan: Plan, trials: list[AblationTrial], folder: Folder, log: AblationLog
    ) -> None:
        self._plan = plan
        self._trials = {trial.name: trial for trial in trials}
        self._folder = folder
        self._log = log
        self._folds: dict[str, dict[int, FoldResult]] = {name: {} for name in self._trials}
        self._reasons: dict[str, dict[int, str]] = {name: {} for name in self._trials}
        self._results: dict[str, dict[str, Any]] = {}

    def run(self, console: Console) -> _Ended:
        """The part that needs Ray."""
        plan, config, trials = self._plan, self._plan.config, self._trials.values()
        n_classes = len(plan.corpus.emotions)
        with (
            ray_session(config.cluster),
            running_aggregator(config.similarity, n_classes, config.seed) as aggregator,
            FoldPool(
                run_fold,
                config.cluster,
                folder=self._folder / ".pool",
                most_tasks=len(trials) * len(plan.folds),
                shared=plan.arrays,
                deliver=DeliverEmbeddings(aggregator),
                warm_up=warm_up,
            ) as pool,
        ):
            for trial in trials:
                self._log.trial_expected(trial.name, trial.variant, trial.config)
                pool.submit(self._tasks(trial))
            baselines = _Baselines(plan, (trial.config.model.modalities for trial in trials))
            with AblationView(
                console,
                variants={trial.name: trial.variant for trial in trials},
                n_folds=len(plan.folds),
                workers=pool.workers,
                metric=config.ablation.metric,
            ) as view:
                for name in self._ending(pool, view):
                    self._end(name, aggregator, baselines)
        return self._ended(baselines)

    def _tasks(self, trial: AblationTrial) -> list[FoldTask]:
        priors = None if trial.similarity is None else trial.similarity.tolist()
        place = (self._folder / trial.name).uri
        return fold_tasks(trial.name, trial.config, place, priors, len(self._plan.folds))

    def _ending(self, pool: FoldPool, view: AblationView) -> Iterator[str]:
        """Every trial, as soon as its folds have ended."""
        n_folds = len(self._plan.folds)
        left = len(self._trials)
        for events in pool.events():
            for event in events:
                if event.key is None:
                    continue
                trial, fold = event.key
                if event.kind == "epoch":
                    view.epoch(trial, fold, event.payload)
                    self._log.epoch(trial, fold, event.payload, n_folds)
                elif event.kind == "done":
                    view.done(trial, event.payload)
                    self._folds[trial][fold] = event.payload
                elif event.kind == "failed":
                    self._reasons[trial][fold] = "; ".join(event.payload)
                    view.failed(trial, fold, self._reasons[trial][fold])
                ended = len(self._folds[trial]) + len(self._reasons[trial]) == n_folds
                if ended and event.kind in ("done", "failed"):
                    left -= 1
                    yield trial
            if not left:
                return

    def _end(self, name: str, aggregator: Any, baselines: _Baselines) -> None:
        """A trial has all its folds: its matrix, its scores, its run."""
        if self._reasons[name]:
            aggregator.drop.remote(name)
            self._log.trial_failed(name, self._reasons[name][min(self._reasons[name])])
            return
        plan, log, config = self._plan, self._log, self._trials[name].config
        results = [self._folds[name][fold.index] for fold in plan.folds]
        finished = FinishedTrial(name, config, self._folder / name, results)
        similarity = finished.matrices(aggregator)
        self._results[name] = finished.score(
            plan,
            kind="trial",
            similarity=similarity,
            baseline=baselines[config.model.modalities],
            seconds={"training": sum(result.seconds for result in results)},
            mlflow={"experiment_id": log.experiment_id, "parent_run_id": log.run_id},
        )
        balance = None
        if config.balance.method != "off":
            plans = plan.balance(config)
            balance = (plans, balance_table(plan, plans))
        log.trial_result(name, self._results[name], similarity, plan.origin, balance)

    def _ended(self, baselines: _Baselines) -> _Ended:
        """Results by variant.

        Raises:
            FoldFailedError: no variant has all its folds.
        """
        failed = [
            f"{name}, fold {min(reasons)}: {reasons[min(reasons)]}"
            for name, reasons in self._reasons.items()
            if reasons
        ]
        variants: dict[str, list[AblationTrial]] = {}
        for trial in self._trials.values():
            variants.setdefault(trial.variant, []).append(trial)
        whole = {
            variant: trials
            for variant, trials in variants.items()
            if all(trial.name in self._results for trial in trials)
        }
        if not whole:
            raise FoldFailedError(f"no variant has all its folds: {failed[0]}")
        first = next(iter(whole.values()))[0]
        return _Ended(
            {variant: [self._results[t.name] for t in trials] for variant, trials in whole.items()},
            failed,
            baselines[first.config.model.modalities],
        )


def _report(
    plan: Plan, ended: _Ended, folder: Folder, log: AblationLog, begun: float
) -> dict[str, Any]:
    """Compare the variants and write down what was found; the content of result.json."""
    ablation = plan.config.ablation
    content = {
        "kind": "ablation",
        "corpus": plan.corpus.name,
        "emotions": list(plan.corpus.emotions),
        "metric": ablation.metric,
        "source": ablation.source,
        "selected_on": ablation.selected_on,
        "seeds": ablation.seeds,
        "n_folds": len(plan.folds),
        "variants": compare_variants(ablation, ended.results, plan.folds),
        "failed": ended.failed,
        "baseline": mean_and_std(ended.baseline),
        "seconds": {"total": time.monotonic() - begun},
        "audit": [asdict(finding) for finding in plan.audit],
        "mlflow": {"experiment_id": log.experiment_id, "run_id": log.run_id},
    }
    folder.write_json("result.json", content)
    result: dict[str, Any] = folder.read_json("result.json")
    paper = Console(file=io.StringIO(), width=_TABLE_WIDTH, record=True)
    print_ablation(paper, result, folder=folder.path(), ui=ui_command(log.uri))
    log.result(result, paper.export_text())
    return result
