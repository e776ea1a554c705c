"""What every command that trains does around its work: its folder, its MLflow run, `--resume`, its report.

Plan -> run folder -> MLflow run -> work -> result.json -> terminal
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from rich.console import Console

from raysys.cluster.plan import Plan, write_plan
from raysys.cluster.run_folder import choose_folder, read_record, recorded
from raysys.report import print_audit
from raysys.storage import Folder, resolve_folder
from raysys.tracking.client import tracking_uri, ui_command
from raysys.tracking.command_run import CommandRun

Log = TypeVar("Log", bound=CommandRun)
Result = dict[str, Any]


class Show(Protocol):
    """Prints the content of result.json."""

    def __call__(self, console: Console, result: Result, *, folder: str, ui: str) -> None:
        """Print it, with the run folder's path and the command that opens the MLflow UI."""
        ...


def is_finished(folder: Folder) -> bool:
    """Whether the command that wrote the folder ended well."""
    return read_record(folder).status == "FINISHED"


def carry_out(
    plan: Plan,
    *,
    resume: bool,
    console: Console,
    open_log: Callable[..., Log],
    work: Callable[[Folder, Log], Result],
    show: Show,
    finished: Callable[[Folder], bool] = is_finished,
) -> Result:
    """Do a command's work in its folder, or show the result of the one that is resumed and has ended.

    Args:
        plan: what is going to be done; its config names folders and MLflow.
        resume: go on with the latest run of the same identity.
        console: for audit and report.
        open_log: makes the command's MLflow run (see `CommandRun`).
        work: from the run folder and the open log to the content of result.json, which it has written.
        show: prints that.
        finished: whether a resumed folder needs no more work.

    Returns:
        The content of result.json.

    Raises:
        RaysysError: as `work`, or nothing to resume, or MLflow does not answer.
    """
    config = plan.config
    runs = resolve_folder(config.storage.runs)
    folder = choose_folder(runs, config.name, plan.identity, resume=resume)
    if resume and finished(folder):
        console.print(f"{folder.path()} is finished already", highlight=False, soft_wrap=True)
        result: Result = folder.read_json("result.json")
        ui = ui_command(tracking_uri(config.tracking, runs))
        show(console, result, folder=folder.path(), ui=ui)
        return result
    with folder.held():
        print_audit(console, [vars(finding) for finding in plan.audit])
        with recorded(
            folder,
            plan.identity,
            lambda run_id: open_log(
                config,
                plan.corpus,
                runs=runs,
                name=folder.name,
                identity=plan.identity,
                run_id=run_id,
            ),
            resume=resume,
            console=console,
        ) as log:
            write_plan(plan, folder)
            for name in ("folds.json", "audit.json"):
                log.json(folder.read_json(name), name)
            result = work(folder, log)
    show(console, result, folder=folder.path(), ui=ui_command(log.uri))
    log.finish("FINISHED")
    return result
