"""An ablation: a list of configurations over one fold pool, each evaluated as a cross-validation is.

Config -> variants x seeds -> AblationTrials, Plan -> FoldPool -> FoldResults -> a result a trial
       -> means, differences, the paper's numbers beside ours -> result.json, MLflow, terminal

Nothing is chosen here: every variant's test part is read once, when its training is over. A variant that fails is
named, and the others are reported.
"""

import io
import time
from concurrent.futures import Future
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import ray
from rich.console import Console

from raysys.cluster.ablation_view import AblationView
from raysys.cluster.aggregator import DeliverEmbeddings, start_aggregator
from raysys.cluster.background import in_background
from raysys.cluster.command import carry_out
from raysys.cluster.plan import Plan, balance_table
from raysys.cluster.pool import FoldPool
from raysys.cluster.session import ray_session
from raysys.cluster.variants import AblationTrial, make_ablation
from raysys.config import Config
from raysys.errors import FoldFailedError
from raysys.report import build_result, compare_variants, mean_and_std, print_ablation
from raysys.similarity import SimilaritySummary
from raysys.storage import Folder
from raysys.tracking.ablation import AblationLog
from raysys.tracking.client import ui_command
from raysys.training.baseline import baseline_scores
from raysys.training.fold import run_fold, warm_up
from raysys.training.predictions import read_predictions
from raysys.training.task import FoldResult, fold_tasks

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
        return _report(plan, _Trials(plan, trials, folder, log).run(console), folder, log, begun)

    result = carry_out(
        plan,
        resume=resume,
        console=console,
        open_log=AblationLog,
        work=work,
        show=print_ablation,
    )
    if result["failed"]:
        raise FoldFailedError(f"{len(result['failed'])} trial(s) failed: {result['failed'][0]}")
    return result


class _Trials:
    """Runs all trials' folds; a trial is finished as soon as all its folds have ended.

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
        self._baselines: dict[tuple[str, ...], Future[list[dict[str, float]]]] = {}

    def run(self, console: Console) -> "_Trials":
        """The part that needs Ray; afterwards `results` and `failed` say what came of it."""
        plan, config = self._plan, self._plan.config
        with ray_session(config.cluster):
            n_classes = len(plan.corpus.emotions)
            aggregator = start_aggregator(config.similarity, n_classes, config.seed)
            with FoldPool(
                run_fold,
                config.cluster,
                folder=self._folder / ".pool",
                most_tasks=len(self._trials) * len(plan.folds),
                shared=plan.arrays,
                deliver=DeliverEmbeddings(aggregator),
                warm_up=warm_up,
            ) as pool:
                for trial in self._trials.values():
                    self._log.trial_expected(trial.name, trial.variant, trial.config)
                    pool.submit(self._tasks(trial))
                self._start_baselines()
                view = AblationView(
                    console,
                    variants={trial.name: trial.variant for trial in self._trials.values()},
                    n_folds=len(plan.folds),
                    workers=pool.workers,
                    metric=config.ablation.metric,
                )
                with view:
                    self._follow(pool, view, aggregator)
        return self

    @property
    def trials(self) -> list[AblationTrial]:
        """All of them."""
        return list(self._trials.values())

    @property
    def results(self) -> dict[str, list[dict[str, Any]]]:
        """Variant -> a result each seed; a variant that has not all of them is left out."""
        names: dict[str, list[str]] = {}
        for trial in self._trials.values():
            names.setdefault(trial.variant, []).append(trial.name)
        return {
            variant: [self._results[name] for name in trials]
            for variant, trials in names.items()
            if all(name in self._results for name in trials)
        }

    @property
    def failed(self) -> list[str]:
        """A line a trial that failed: its first fold that did, and why."""
        return [
            f"{name}, fold {min(reasons)}: {reasons[min(reasons)]}"
            for name, reasons in self._reasons.items()
            if reasons
        ]

    def baseline(self, modalities: tuple[str, ...]) -> list[dict[str, float]]:
        """Test scores of the SVM on these modalities, one dict a fold."""
        return self._baselines[modalities].result()

    def _start_baselines(self) -> None:
        """The SVM of every set of modalities, one after the other, beside the folds."""
        before: Future[list[dict[str, float]]] | None = None
        for modalities in dict.fromkeys(trial.config.model.modalities for trial in self.trials):
            before = in_background(partial(self._svm, modalities, before))
            self._baselines[modalities] = before

    def _svm(
        self, modalities: tuple[str, ...], before: Future[Any] | None
    ) -> list[dict[str, float]]:
        if before is not None:
            before.exception()  # waits
        features = {m: self._plan.arrays.features[m] for m in modalities}
        return baseline_scores(replace(self._plan.arrays, features=features), self._plan.folds)

    def _tasks(self, trial: AblationTrial) -> list[Any]:
        priors = None if trial.similarity is None else trial.similarity.tolist()
        place = (self._folder / trial.name).uri
        return fold_tasks(trial.name, trial.config, place, priors, len(self._plan.folds))

    def _follow(self, pool: FoldPool, view: AblationView, aggregator: Any) -> None:
        """Until every fold has ended."""
        n_folds = len(self._plan.folds)
        left = len(self._trials) * n_folds
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
                if event.kind in ("done", "failed"):
                    left -= 1
                    if len(self._folds[trial]) + len(self._reasons[trial]) == n_folds:
                        self._end(trial, aggregator)
            if not left:
                return

    def _end(self, name: str, aggregator: Any) -> None:
        if self._reasons[name]:
            aggregator.drop.remote(name)
            self._log.trial_failed(name, self._reasons[name][min(self._reasons[name])])
        else:
            self._finish(name, aggregator)

    def _finish(self, name: str, aggregator: Any) -> None:
        """A trial has all its folds: its matrix, its scores, its run."""
        plan, config = self._plan, self._trials[name].config
        results = [self._folds[name][fold.index] for fold in plan.folds]
        folders = {r.fold: self._folder / name / f"fold_{r.fold}" for r in results}
        places = {fold: place.uri for fold, place in folders.items()}
        similarity: SimilaritySummary = ray.get(aggregator.summary.remote(name, places))
        content = build_result(
            corpus=plan.corpus.name,
            model=f"{config.model.name} ({' + '.join(config.model.modalities)})",
            emotions=plan.corpus.emotions,
            results=results,
            predictions=[read_predictions(folders[result.fold]) for result in results],
            speakers=plan.test_speakers,
            baseline=self.baseline(config.model.modalities),
            similarity=similarity,
            seconds={"training": sum(result.seconds for result in results)},
            audit=plan.audit,
            mlflow={"experiment_id": self._log.experiment_id, "parent_run_id": self._log.run_id},
        )
        place = self._folder / name
        place.write_json("result.json", {**content, "kind": "trial"})
        self._results[name] = place.read_json("result.json")
        balance = None
        if config.balance.method != "off":
            plans = plan.balance(config)
            balance = (plans, balance_table(plan, plans))
        self._log.trial_result(name, self._results[name], similarity, plan.origin, balance)


def _report(
    plan: Plan,
    trials: _Trials,
    folder: Folder,
    log: AblationLog,
    begun: float,
) -> dict[str, Any]:
    """Compare the variants and write down what was found; the content of result.json."""
    ablation, results = plan.config.ablation, trials.results
    if not results:
        raise FoldFailedError(f"no variant has all its folds: {trials.failed[0]}")
    shown = next(iter(results))
    modalities = next(t.config.model.modalities for t in trials.trials if t.variant == shown)
    content = {
        "kind": "ablation",
        "corpus": plan.corpus.name,
        "emotions": list(plan.corpus.emotions),
        "metric": ablation.metric,
        "source": ablation.source,
        "seeds": ablation.seeds,
        "n_folds": len(plan.folds),
        "variants": compare_variants(ablation, results, plan.folds),
        "failed": trials.failed,
        "baseline": mean_and_std(trials.baseline(modalities)),
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
