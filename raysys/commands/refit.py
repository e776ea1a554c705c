"""One model on all utterances, to be used: with the settings of a run whose folds say what to expect of it.

run -> its configuration (of a study: the choice), epochs = median of what its folds kept -> all utterances -> model

It is never tested itself: there is nothing left to test it on. A temperature is the median of the folds' own.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from rich.console import Console

from raysys.cluster.session import ray_kept
from raysys.config import Config
from raysys.config.running import SearchConfig
from raysys.corpus.finding import Finding
from raysys.corpus.folds import Fold
from raysys.errors import ConfigError, FoldFailedError
from raysys.predicting.members import Member, chosen_trial, load_ensemble, trained_folds
from raysys.report.comparison import Standing, standing_of
from raysys.report.cost import cost_of
from raysys.report.results import OF, RefitResult, RunIds, write_result
from raysys.running.command import Command, carry_out, look_ahead
from raysys.running.opening import model_of
from raysys.running.plan import Plan, make_plan
from raysys.running.reporting import write_report
from raysys.running.run_folder import known_record
from raysys.running.runner import TrialRunner
from raysys.running.session import open_session
from raysys.running.sources import ListSource
from raysys.sealed import read_sealed
from raysys.settings import digest, replaced
from raysys.similarity.prior import FoldPrior, SimilarityPrior
from raysys.storage import Folder
from raysys.trials.trial import Trial, TrialOutcome

_KEPT = ("result.json", "folds.json", "config.json")
"""Files of the source run that are kept with the model, so that it can be compared by the folds' scores."""


@ray_kept()
def refit(
    run: Folder, given: Config, *, epochs: int | None, resume: bool | None, console: Console
) -> RefitResult:
    """Train a run's configuration on everything.

    Args:
        run: folder of a finished cross-validation or study.
        given: its config, with the places (cluster, storage, tracking) and the name that are wanted now.
        epochs: of the training; None: the median of the epochs that the folds kept.
        resume: go on with the latest unfinished refit of the same identity; None: where there is one.
        console: for progress and report.

    Raises:
        RaysysError: no such run, or its corpus is another one now, or lost workers, or a training that failed.
    """
    begun = time.monotonic()
    source, members = standing_of(run), load_ensemble(run.uri, run).members
    config, kept = _config(members, given), _kept_epochs(run)
    config = replaced(config, {"training.max_epochs": epochs or round(float(np.median(kept)))})
    plan = _on_everything(make_plan(config, ahead=look_ahead, whole=True))
    _refuse_other_data(run, plan)
    return carry_out(
        plan,
        kind="refit",
        resume=resume,
        console=console,
        begun=begun,
        work=partial(_work, run, source, _calibrated(members)),
    )


def _config(members: Sequence[Member], given: Config) -> Config:
    """What the folds were trained with, all seeds, to the last epoch."""
    own, seeds = members[0].bundle.config, sorted({one.seed for one in members})
    places = {
        "name": given.name,
        "cluster": given.cluster,
        "storage": given.storage,
        "tracking": given.tracking,
        "search": SearchConfig(),
    }
    config = replace(own, seed=seeds[0], **places)  # type: ignore[arg-type]
    usual = Config().training.patience
    wanted = {"seeds": len(seeds), "keep": "last", "patience": usual}
    return replaced(config, {f"training.{name}": value for name, value in wanted.items()})


def _kept_epochs(run: Folder) -> list[int]:
    places = trained_folds(chosen_trial(run))
    return [int(read_sealed(place, "fold.json")["best_epoch"]) for _, _, place in places]


def _calibrated(members: Sequence[Member]) -> dict[str, float]:
    """The median of what the folds have fitted on val."""
    if not members[0].bundle.config.training.temperature:
        return {}
    values = [float(one.bundle.fitted["temperature"]) for one in members]
    return {"temperature": float(np.median(values))}


def _on_everything(plan: Plan) -> Plan:
    """The plan with one fold that trains on all and tests nothing; what workers predict there is never opened."""
    every, none = np.arange(len(plan.corpus)), np.zeros(0, dtype=np.int64)
    told = Finding("note", "refit", "trained on all utterances: the model was never tested itself")
    return replace(
        plan,
        folds=(Fold(0, every, none, none),),
        data=replace(plan.data, folds=(Fold(0, every, every, every),)),
        prior=None if plan.prior is None else [_one_prior(plan.prior)],
        audit=(*plan.audit, told),
        inner=(),
        identity=digest(plan.identity, "refit"),
    )


def _one_prior(priors: Sequence[FoldPrior]) -> FoldPrior:
    """The mean of the folds' matrices; of emotion spaces the first."""
    matrices = [one.matrix for one in priors if isinstance(one, SimilarityPrior)]
    if not matrices:
        return priors[0]
    return SimilarityPrior(np.nanmean(np.array(matrices), axis=0).tolist())


def _refuse_other_data(run: Folder, plan: Plan) -> None:
    record = known_record(run) if run.exists("run.json") else None
    if record and record.parts.get("data", plan.parts["data"]) != plan.parts["data"]:
        raise ConfigError(
            f"the corpus or its features are others than those of {run.path()}, so its scores say nothing of a model "
            "trained now: cross-validate again"
        )


def _work(
    run: Folder, source: Standing, calibrated: dict[str, float], command: Command
) -> RefitResult:
    plan, folder, log = command.plan, command.folder, command.log
    config = plan.config
    for name in _KEPT:
        (folder / OF).write_bytes(name, run.read_bytes(name))
    trial = Trial(folder.name, config, plan.prior, calibrated=calibrated or None)
    command.console.print(
        f"training on all {len(plan.corpus)} utterances: {config.epochs} epochs, {config.training.seeds} seed(s)"
    )
    with open_session(plan, most_tasks=config.training.seeds) as session:
        # No listener: scores on what was trained on would be taken for more than they are.
        runner = TrialRunner(session.pool, command.runs, n_folds=1, listeners=[])
        (outcome,) = runner.run(ListSource([trial]))
    if outcome.state == "FAILED":
        raise FoldFailedError(outcome.reason)
    result = _result(command, source, outcome)
    write_result(folder, result)
    write_report(folder)
    log.refit_result(result, model_of(log, result, config, plan.task, folder))
    return result


def _result(command: Command, source: Standing, outcome: TrialOutcome) -> RefitResult:
    plan, log = command.plan, command.log
    config = plan.config
    return RefitResult(
        task=plan.task.name,
        corpus=plan.corpus.name,
        model=config.model.title,
        source=source.name,
        utterances=len(plan.corpus),
        epochs=config.epochs,
        seeds=tuple(outcome.trial.seeds),
        expected=source.test,
        cost=cost_of(outcome.folds, plan.encoders, config.model.modalities),
        seconds={"total": time.monotonic() - command.begun},
        audit=plan.audit,
        mlflow=RunIds(log.experiment_id, log.run_id),
    )
