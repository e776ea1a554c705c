"""Cross-validate one configuration: the folds in parallel, then their scores, matrix and report.

Config -> Plan -> FoldPool -> FoldResults, embeddings -> SimilarityAggregator -> result.json, MLflow, terminal
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.console import Console

from raysys.cluster.aggregator import DeliverEmbeddings, running_aggregator
from raysys.cluster.background import in_background
from raysys.cluster.command import carry_out
from raysys.cluster.outcome import FinishedTrial
from raysys.cluster.plan import Plan, balance_table, make_plan
from raysys.cluster.pool import FoldPool
from raysys.cluster.progress import ProgressView
from raysys.cluster.session import ray_session
from raysys.config import Config
from raysys.errors import FoldFailedError
from raysys.report import account_seconds, print_result
from raysys.storage import Folder
from raysys.tracking.command_run import CommandRun, log_balance
from raysys.tracking.configuration import ConfigurationLog
from raysys.training.baseline import baseline_scores
from raysys.training.fold import run_fold, warm_up
from raysys.training.task import FoldResult


def cross_validate(config: Config, *, resume: bool, console: Console) -> dict[str, Any]:
    """Run the folds of one configuration and report them.

    Args:
        config: everything.
        resume: go on with the latest unfinished run of the same identity.
        console: for progress and report.

    Returns:
        The content of result.json.

    Raises:
        RaysysError: bad input (before any worker starts), lost workers, or folds that failed.
    """
    begun = time.monotonic()
    plan = make_plan(config)
    return carry_out(
        plan,
        resume=resume,
        console=console,
        open_log=partial(CommandRun, kind="cross_validation"),
        work=lambda folder, log: _run(plan, folder, log, console, begun),
        show=print_result,
    )


def _run(
    plan: Plan, folder: Folder, log: CommandRun, console: Console, begun: float
) -> dict[str, Any]:
    """The part that needs Ray."""
    config, trial = plan.config, folder.name
    curves = ConfigurationLog(log.log, plan.corpus.emotions, len(plan.folds))
    if config.balance.method != "off":
        balance = plan.balance(config)
        log_balance(log.log, balance, balance_table(plan, balance), corpus=plan.corpus)
    connecting = time.monotonic()
    n_classes = len(plan.corpus.emotions)
    with (
        ray_session(config.cluster),
        running_aggregator(config.similarity, n_classes, config.seed) as aggregator,
    ):
        with FoldPool(
            run_fold,
            config.cluster,
            folder=folder / ".pool",
            most_tasks=len(plan.folds),
            shared=plan.arrays,
            deliver=DeliverEmbeddings(aggregator),
            warm_up=warm_up,
        ) as pool:
            pool.submit(plan.tasks(trial, folder))
            baseline = in_background(partial(baseline_scores, plan.arrays, plan.folds))
            results, first, last = _watch(pool, plan, curves, console)
            started = time.monotonic() - connecting - (last - first)
            if not baseline.done():
                console.print("folds done; the SVM baseline is still being fitted")
        finished = FinishedTrial(trial, config, folder, results)
        similarity = finished.matrices(aggregator)
    result = finished.score(
        plan,
        kind="cross_validation",
        similarity=similarity,
        baseline=baseline.result(),
        seconds=asdict(
            account_seconds(
                results,
                total=time.monotonic() - begun,
                startup=started,
                wall=last - first,
                workers=pool.workers,
            )
        ),
        mlflow={"experiment_id": log.experiment_id, "run_id": log.run_id},
    )
    curves.result(result, similarity, plan.origin)
    for fold, place in finished.fold_folders.items():
        weights = place.read_bytes("weights.safetensors")
        log.log.file(weights, f"folds/fold_{fold}/weights.safetensors")
    return result


def _watch(
    pool: FoldPool, plan: Plan, log: ConfigurationLog, console: Console
) -> tuple[list[FoldResult], float, float]:
    """Follow the folds to their ends.

    Returns:
        Results in the order of the folds, and the queue's clock at the first fold's start and the last one's end.

    Raises:
        FoldFailedError: when all folds have ended and some have failed.
    """
    n_folds, training = len(plan.folds), plan.config.training
    results: dict[int, FoldResult] = {}
    failures: Mapping[int, str] = {}
    first = last = 0.0
    with ProgressView(
        console,
        n_folds=n_folds,
        workers=pool.workers,
        max_epochs=training.max_epochs,
        select=training.select,
    ) as view:
        for events in pool.events():
            for event in events:
                fold = event.key[1] if event.key else -1
                if event.kind == "taken" and not first:
                    first = event.seconds
                    view.started()
                elif event.kind == "epoch":
                    view.epoch(fold, event.payload)
                    log.epoch(fold, event.payload)
                elif event.kind == "done":
                    results[fold] = event.payload
                    view.done(event.payload)
                elif event.kind == "failed":
                    failures = {**failures, fold: "; ".join(event.payload)}
                last = event.seconds if event.kind in ("done", "failed") else last
            if len(results) + len(failures) == n_folds:
                break
    if failures:
        fold = min(failures)
        raise FoldFailedError(
            f"{len(failures)} of {n_folds} folds failed; fold {fold}: {failures[fold]}"
        )
    return [results[fold] for fold in sorted(results)], first, last
