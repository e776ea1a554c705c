"""Which folder a command writes to, and what `--resume` finds.

    runs/<name>, runs/<name>-2, ...    each with run.json: identity, MLflow run, status

A new command never writes into the folder of an old one. `--resume` takes the latest unfinished folder of the name
whose identity (settings that decide, corpus, features, code) is that of the command, else the latest finished one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Literal

from rich.console import Console

from raysys.background import last_words
from raysys.errors import RaysysError, StorageError, TrackingError
from raysys.sealed import is_stored, read_sealed, write_sealed
from raysys.settings import flat
from raysys.storage import Folder
from raysys.tracking.command_log import CommandLog
from raysys.tracking.provenance import git_commit

_GIVE_UP_SECONDS = 5.0
"""For MLflow, after an error: what ended the command is more important than what MLflow says."""

_NAMED = 3
"""Settings that a message names."""

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class RunRecord:
    """Content of run.json."""

    identity: str
    experiment_id: str
    run_id: str
    status: Status
    parts: Mapping[str, str] = field(default_factory=dict)
    """Digests of data, prior and code, so that what has changed can be named."""
    commit: str = ""
    """Git commit of the code; empty where it did not run from a checkout."""


def choose_folder(
    runs: Folder,
    name: str,
    identity: str,
    *,
    resume: bool | None,
    settings: Mapping[str, Any] | None = None,
    parts: Mapping[str, str] | None = None,
) -> tuple[Folder, bool]:
    """The folder for a command, and whether it is resumed; a new one is created, so that no other command takes it.

    Args:
        runs: folder of all runs.
        name: the run's name.
        identity: digest of the command's plan.
        resume: look for a run of the same identity; None: start a new one where there is none.
        settings: of the command, that decide its numbers, by their dotted names: what is different in the latest run
            is named.
        parts: of the command's plan, for the same.

    Raises:
        StorageError: `resume`, and there is none.
    """
    taken = _numbered(runs, name)
    latest = [taken[number] for number in sorted(taken, reverse=True)]
    if resume is not False:
        known = {folder.name: known_record(folder) for folder in latest}
        same = [
            one for one in latest if (record := known[one.name]) and record.identity == identity
        ]
        unfinished = [folder for folder in same if read_record(folder).status != "FINISHED"]
        if same:
            return (unfinished or same)[0], True
    if resume:
        raise StorageError(
            f"nothing to resume: no run '{name}' in {runs.path()} has these settings, data and "
            f"code{_what_differs(latest, settings or {}, parts or {})}: give what was given there, or run without "
            "--resume"
        )
    begun = RunRecord(identity, "", "", "RUNNING", dict(parts or {}), git_commit())
    number = max(taken, default=0) + 1
    while not (runs / _entry(name, number)).claim(partial(write_record, record=begun)):
        number += 1  # another command was faster
    return runs / _entry(name, number), False


def unfinished(runs: Folder, name: str, identity: str, *, but: str) -> Folder | None:
    """The latest run of a name and an identity that has not finished; None where there is none.

    Args:
        runs: folder of all runs.
        name: the run's name.
        identity: digest of the command's plan.
        but: folder that does not count.
    """
    taken = _numbered(runs, name)
    for number in sorted(taken, reverse=True):
        record = known_record(taken[number]) if taken[number].name != but else None
        if record and record.identity == identity and record.status != "FINISHED":
            return taken[number]
    return None


def read_record(folder: Folder) -> RunRecord:
    """What run.json holds.

    Raises:
        StorageError: missing.
        DamagedError: it is not what was written, and neither is its copy.
    """
    return RunRecord(**read_sealed(folder, "run.json"))


def known_record(folder: Folder) -> RunRecord | None:
    """What run.json holds; None where it is damaged, so that nobody knows what run that was."""
    try:
        return read_record(folder)
    except StorageError:
        return None


def write_record(folder: Folder, record: RunRecord) -> None:
    """Write run.json, and its copy."""
    write_sealed(folder, "run.json", asdict(record), twice=True)


@contextmanager
def recorded(
    folder: Folder,
    identity: str,
    parts: Mapping[str, str],
    open_log: Callable[[str], CommandLog],
    *,
    resume: bool,
    still_held: Callable[[], None],
    console: Console,
) -> Iterator[CommandLog]:
    """Open a command's MLflow run; run.json says RUNNING inside, and afterwards how it ended, as MLflow does.

    Args:
        folder: of the run; a new one is deleted when MLflow does not answer.
        identity: digest of the command's plan.
        parts: of the command's plan.
        open_log: from the id of the MLflow run to go on with, empty for a new one, to the log.
        resume: go on with the folder's MLflow run.
        still_held: raises when another command has taken the folder over; then nothing is written any more.
        console: for what MLflow says after an error.
    """
    begun = RunRecord(identity, "", "", "RUNNING", dict(parts), git_commit())
    try:
        log = open_log(read_record(folder).run_id)
    except RaysysError:
        if not resume:
            folder.delete()
        raise
    record = replace(begun, experiment_id=log.experiment_id, run_id=log.run_id)

    def was_terminated() -> None:
        with suppress(RaysysError):  # said again, and heard, when the command winds up
            still_held()
            write_record(folder, replace(record, status="KILLED"))
            log.finish("KILLED", patience_seconds=_GIVE_UP_SECONDS)

    try:
        write_record(folder, record)
        with last_words(was_terminated, kept=folder.path()):
            yield log
    except BaseException as error:
        still_held()
        status: Status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        write_record(folder, replace(record, status=status))
        try:
            log.finish(status, patience_seconds=_GIVE_UP_SECONDS)
        except TrackingError as unheard:
            if str(unheard) != str(error):
                console.print(str(unheard), highlight=False, soft_wrap=True)
        raise
    still_held()
    write_record(folder, replace(record, status="FINISHED"))
    folder.sweep()


_CHANGED = {
    "data": "the corpus or its features have changed",
    "prior": "the similarity matrix or emotion space that it is given has changed",
    "plug-ins": "the code of plug-ins has changed",
}


def _what_differs(
    latest: Sequence[Folder], settings: Mapping[str, Any], parts: Mapping[str, str]
) -> str:
    """In what the latest run is another one: the first settings, data, prior, code."""
    record = known_record(latest[0]) if latest else None
    if record is None:
        return f"; {latest[0].path('run.json')} is damaged" if latest else ""
    try:
        there = flat(latest[0].read_json("config.json"))
    except (StorageError, AttributeError):  # damaged: the settings of the latest run are not known
        return ""
    names = [name for name in settings if settings[name] != there.get(name)][:_NAMED]
    told = [f"{name} is {settings[name]} here and {there.get(name)} there" for name in names]
    changed = [part for part in parts if record.parts.get(part, parts[part]) != parts[part]]
    told += [_CHANGED[part] for part in changed if part in _CHANGED]
    if "code" in changed:
        here = git_commit()
        known = f" since commit {record.commit[:9]}" if record.commit else ""
        now = f", this is {here[:9]}" if known and here and here != record.commit else ""
        told.append(f"the code has changed{known}{now}")
    return f" ({'; '.join(told)})" if told else ""


def _entry(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _numbered(runs: Folder, name: str) -> dict[int, Folder]:
    """Number -> folder, of the runs of this name."""
    found = {}
    for entry in runs.names():
        rest = entry.removeprefix(name)
        if entry == name:
            number = 1
        elif entry.startswith(f"{name}-") and rest[1:].isdigit():
            number = int(rest[1:])
        else:
            continue
        if is_stored(runs / entry, "run.json"):
            found[number] = runs / entry
    return found
