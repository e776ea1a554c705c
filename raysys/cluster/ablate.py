"""An ablation: a list of configurations over one fold pool, each evaluated as a cross-validation is.

Config -> variants x seeds -> AblationTrials, Plan -> FoldPool -> FoldResults -> a result a trial
       -> means, differences, the paper's numbers beside ours -> result.json, MLflow, terminal

Nothing is chosen here: every variant's test part is read once, when its training is over.
"""

import io
import time
from dataclasses import asdict
from functools import partial
from typing import Any

import ray
from rich.console import Console

from raysys.cluster.ablation_view import AblationView
from raysys.cluster.aggregator import DeliverEmbeddings, start_aggregator
from raysys.cluster.background import in_background
from raysys.cluster.command import carry_out
from raysys.cluster.plan import Plan
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

    return carry_out(
        plan,
        resume=resume,
        console=console,
        open_log=AblationLog,
        work=work,
        show=print_ablation,
    )


class _Trials:
    """Runs all trials' folds; a trial is finished as soon as it has them.

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
        self._failures: dict[tuple[str, int], str] = {}
        self._results: dict[str, dict[str, Any]] = {}

    def run(
        self, console: Console
    ) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, float]]]:
        """The part that needs Ray.

        Returns:
            Variant -> a result each seed, and the baseline's test scores, one dict a fold.

        Raises:
            FoldFailedError: when all folds have ended and some have failed.
        """
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
                    pool.submit(self._tasks(trial))
                baseline = in_background(partial(baseline_scores, plan.arrays, plan.folds))
                view = AblationView(
                    console,
                    variants={trial.name: trial.variant for trial in self._trials.values()},
                    n_folds=len(plan.folds),
                    workers=pool.workers,
                    metric=config.ablation.metric,
                )
                with view:
                    self._follow(pool, view, aggregator, baseline.result)
        if self._failures:
            (name, fold), reason = min(self._failures.items())
            total = len(self._trials) * len(plan.folds)
            raise FoldFailedError(
                f"{len(self._failures)} of {total} folds failed; {name}, fold {fold}: {reason}; the same command with "
                "--resume does only what is missing"
            )
        by_variant: dict[str, list[dict[str, Any]]] = {}
        for trial in self._trials.values():
            by_variant.setdefault(trial.variant, []).append(self._results[trial.name])
        return by_variant, baseline.result()

    def _tasks(self, trial: AblationTrial) -> list[Any]:
        priors = None if trial.similarity is None else trial.similarity.tolist()
        place = (self._folder / trial.name).uri
        return fold_tasks(trial.name, trial.config, place, priors, len(self._plan.folds))

    def _follow(self, pool: FoldPool, view: AblationView, aggregator: Any, baseline: Any) -> None:
        n_folds = len(self._plan.folds)
        for events in pool.events():
            for event in events:
                if event.key is None:
                    continue
                trial, fold = event.key
                if event.kind == "epoch":
                    view.epoch(trial, fold, event.payload)
                    one = self._trials[trial]
                    self._log.epoch(trial, one.variant, one.config, fold, event.payload, n_folds)
                elif event.kind == "done":
                    view.done(trial, event.payload)
                    self._folds[trial][fold] = event.payload
                    if len(self._folds[trial]) == n_folds:
                        self._finish(trial, aggregator, baseline())
                elif event.kind == "failed":
                    self._failures[trial, fold] = "; ".join(event.payload)
            ended = sum(map(len, self._folds.values())) + len(self._failures)
            if ended == len(self._trials) * n_folds:
                return

    def _finish(self, name: str, aggregator: Any, baseline: list[dict[str, float]]) -> None:
        """A trial has all its folds: its matrix, its scores, its run."""
        plan, trial = self._plan, self._trials[name]
        results = [self._folds[name][fold.index] for fold in plan.folds]
        folders = {r.fold: self._folder / name / f"fold_{r.fold}" for r in results}
        places = {fold: place.uri for fold, place in folders.items()}
        similarity: SimilaritySummary = ray.get(aggregator.summary.remote(name, places))
        content = build_result(
            corpus=plan.corpus.name,
            model=f"{trial.config.model.name} ({' + '.join(trial.config.model.modalities)})",
            emotions=plan.corpus.emotions,
            results=results,
            predictions=[read_predictions(folders[result.fold]) for result in results],
            speakers=plan.test_speakers,
            baseline=baseline,
            similarity=similarity,
            seconds={"training": sum(result.seconds for result in results)},
            audit=plan.audit,
            mlflow={"experiment_id": self._log.experiment_id, "parent_run_id": self._log.run_id},
        )
        place = self._folder / name
        place.write_json("result.json", content)
        self._results[name] = place.read_json("result.json")
        self._log.trial_result(name, self._results[name], similarity, plan.origin)


def _report(
    plan: Plan,
    outcome: tuple[dict[str, list[dict[str, Any]]], list[dict[str, float]]],
    folder: Folder,
    log: AblationLog,
    begun: float,
) -> dict[str, Any]:
    """Compare the variants and write down what was found; the content of result.json."""
    results, baseline = outcome
    ablation = plan.config.ablation
    content = {
        "kind": "ablation",
        "corpus": plan.corpus.name,
        "emotions": list(plan.corpus.emotions),
        "metric": ablation.metric,
        "source": ablation.source,
        "seeds": ablation.seeds,
        "n_folds": len(plan.folds),
        "variants": compare_variants(ablation, results, plan.folds),
        "baseline": mean_and_std(baseline),
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
