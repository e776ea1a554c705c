"""What every command that trains does around its work: its folder, its MLflow run, `--resume`, its report.

Plan -> Command (run folder, MLflow run) -> work -> result.json, report.html -> terminal
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console

from raysys.cluster.session import check_cluster, ray_address
from raysys.config import Config
from raysys.encoders.pretrained import torch_device
from raysys.errors import DamagedError, StorageError, TrackingError
from raysys.report.results import Result, read_result
from raysys.report.terminal import print_audit, print_result
from raysys.running.plan import Plan, deciding, write_plan
from raysys.running.reporting import PAGE
from raysys.running.run_folder import choose_folder, read_record, recorded, unfinished
from raysys.sealed import check_files
from raysys.storage import Folder, resolve_folder
from raysys.tracking.client import connect, has_ended, tracking_uri, ui_command
from raysys.tracking.command_log import CommandLog
from raysys.training.fold import read_result as read_fold

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Command:
    """A command that has begun: what it does, where, and who is notified."""

    plan: Plan
    runs: Folder
    """Folder of all runs."""
    folder: Folder
    """Its own run folder."""
    log: CommandLog
    """Its MLflow run."""
    console: Console
    begun: float
    """`time.monotonic()` when it was given."""


def is_finished(folder: Folder) -> bool:
    """Whether the command that wrote the folder ended well, and its result and all its folds are whole."""
    if read_record(folder).status != "FINISHED":
        return False
    try:
        check_files(folder, getattr(read_result(folder), "files", {}))
        return all(_is_whole(one) for one in _folds_in(folder))
    except StorageError:  # of the same code, so of no other version: it is made again
        return False


def _damaged_report(folder: Folder) -> str:
    """What of a finished run's report is damaged; empty where nothing is, or it has none."""
    try:
        if read_record(folder).status == "FINISHED":
            check_files(folder, getattr(read_result(folder), "files", {}))
    except DamagedError as damage:
        return str(damage)
    except StorageError:
        pass  # there is no report that could be damaged
    return ""


def _folds_in(folder: Folder) -> Iterator[Folder]:
    """Folders of trained folds, of all seeds and trials."""
    for name in folder.names():
        if name.startswith("fold_"):
            yield folder / name
        elif "." not in name and name != "similarity":
            yield from _folds_in(folder / name)


def _is_whole(fold: Folder) -> bool:
    try:
        return read_fold(fold) is not None or not fold.exists("bundle.json")
    except DamagedError:
        return False


def look_ahead(config: Config) -> None:
    """Look at MLflow and the cluster before there is work that needs them.

    Raises:
        TrackingError: MLflow does not answer.
        PoolError: the cluster cannot be reached, or this machine lacks the GPU that a fold asks for.
        FeatureError: this machine lacks the GPU that an encoder asks for, which predictions will need too.
    """
    connect(config.tracking, resolve_folder(config.storage.runs))
    check_cluster(config.cluster, config.training.device)
    for modality in () if ray_address(config.cluster) else config.model.modalities:
        if getattr(config.features.encoder(modality), "device", "auto") == "cuda":
            torch_device(config.features.encoder_of(modality), "cuda")


def carry_out(
    plan: Plan,
    *,
    kind: str,
    resume: bool | None,
    console: Console,
    begun: float,
    work: Callable[[Command], R],
    finished: Callable[[Folder], bool] = is_finished,
) -> R:
    """Do a command's work in its folder, or show the result of the one that is resumed and has ended.

    Args:
        plan: what is going to be done; its config names folders and MLflow.
        kind: cross_validation, ablation or study.
        resume: go on with the latest run of the same identity; None: where there is one.
        console: for audit and report.
        begun: `time.monotonic()` when the command was given.
        work: to the result, which it has written.
        finished: whether a resumed folder needs no more work.

    Raises:
        RaysysError: as `work`, or nothing to resume, or MLflow does not answer.
    """
    config, reads = plan.config, plan.config.model.modalities
    runs = resolve_folder(config.storage.runs)
    folder, resume = choose_folder(
        runs,
        config.name,
        plan.identity,
        resume=resume,
        settings=deciding(config),
        parts=plan.parts,
    )
    if resume and finished(folder) and has_ended(config.tracking, runs, read_record(folder).run_id):
        console.print(f"{folder.path()} is finished already", highlight=False, soft_wrap=True)
        result: R = read_result(folder)  # type: ignore[assignment]
        ui = ui_command(tracking_uri(config.tracking, runs))
        print_result(console, result, folder=folder.path(), ui=ui, reads=reads)
        return result
    if resume:
        console.print(f"resuming     {folder.path()}", highlight=False, soft_wrap=True)
    elif left := unfinished(runs, config.name, plan.identity, but=folder.name):
        console.print(
            f"note         a run of these settings is unfinished, or still running, in {left.path()}: --resume "
            f"finishes it; this one begins anew in {folder.path()}",
            highlight=False,
            soft_wrap=True,
        )
    if resume and (damage := _damaged_report(folder)):
        console.print(f"{damage}: it is made again", highlight=False, soft_wrap=True)
    with folder.held() as still_held:
        print_audit(console, plan.audit)
        with recorded(
            folder,
            plan.identity,
            plan.parts,
            lambda run_id: CommandLog(
                config,
                plan.corpus,
                kind=kind,
                runs=runs,
                name=folder.name,
                identity=plan.identity,
                run_id=run_id,
                folds=plan.folds,
            ),
            resume=resume,
            still_held=still_held,
            console=console,
        ) as log:
            write_plan(plan, folder)
            for name in ("folds.json", "audit.json"):
                log.log.json(folder.read_json(name), name)
            result = work(Command(plan, runs, folder, log, console, begun))

            def told(log: CommandLog) -> None:
                place, ui = folder.path(), ui_command(log.uri)
                print_result(console, result, folder=place, ui=ui, view=log.view, reads=reads)

            log.log.file(folder.read_bytes(PAGE), PAGE)
            # Before FINISHED stands in run.json, and before anything is printed.
            try:
                log.finish("FINISHED")
            except TrackingError:
                told(log)
                raise
    told(log)
    return result
