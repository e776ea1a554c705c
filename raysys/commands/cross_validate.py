"""Cross-validate one configuration: its folds in parallel, then their scores and report."""

import time

from rich.console import Console

from raysys.cluster.session import ray_kept
from raysys.config import Config
from raysys.errors import FoldFailedError
from raysys.report.results import RunIds, TrialResult
from raysys.report.seconds import account_seconds
from raysys.report.view import TrialsView
from raysys.running.command import Command, carry_out, look_ahead
from raysys.running.opening import model_of, open_trial
from raysys.running.plan import make_plan
from raysys.running.runner import TrialRunner
from raysys.running.session import open_session
from raysys.running.sources import ListSource
from raysys.trials.trial import Trial


@ray_kept()
def cross_validate(config: Config, *, resume: bool | None, console: Console) -> TrialResult:
    """Run the folds of one configuration and report them.

    Args:
        config: everything.
        resume: go on with the latest unfinished run of the same identity; None: where there is one.
        console: for progress and report.

    Raises:
        RaysysError: bad input (before any worker starts), lost workers, or folds that failed.
    """
    begun = time.monotonic()
    plan = make_plan(config, ahead=look_ahead)
    return carry_out(
        plan,
        kind="cross_validation",
        resume=resume,
        console=console,
        begun=begun,
        work=_run,
    )


def _run(command: Command) -> TrialResult:
    plan, folder, log, console = command.plan, command.folder, command.log, command.console
    config, n_folds = plan.config, len(plan.folds)
    trial = Trial(folder.name, config, plan.prior)
    log.log.exhibits(plan.show_balance(config))
    seeds = config.training.seeds
    with open_session(plan, most_tasks=n_folds * seeds) as session:
        session.baselines.begin(config)
        view = TrialsView(
            console,
            config.selects,
            total=1,
            n_folds=n_folds,
            seeds=seeds,
            workers=session.pool.workers,
        )
        runner = TrialRunner(session.pool, command.runs, n_folds=n_folds, listeners=[view, log])
        with view:
            (outcome,) = runner.run(ListSource([trial]))
        if outcome.state == "FAILED":
            raise FoldFailedError(outcome.reason)
        aggregate = session.aggregate(outcome)
        baselines = session.baselines.of(config, console)
        clock = runner.clock
        startup = (clock.began or session.connecting) - session.connecting
    opened = open_trial(
        plan,
        outcome,
        kind="cross_validation",
        aggregate=aggregate,
        baselines=baselines,
        seconds=account_seconds(
            outcome.seconds,
            total=time.monotonic() - command.begun,
            startup=startup,
            wall=clock.span_seconds,
            workers=max(1, round(clock.workers)),
            apart=config.training.together == 1,
        ),
        mlflow=RunIds(log.experiment_id, log.run_id),
        folder=folder,
    )
    model = model_of(log, opened.result, config, plan.task, folder)
    log.trial_result(trial.name, opened.result, opened.shown, model)
    return opened.result
