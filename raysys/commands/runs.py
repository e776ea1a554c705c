"""The runs that there are: listed, shown, removed, handed on; `jobs.runs`.

runs folder -> run.json, result.json of each -> table
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from raysys.errors import ConfigError, StorageError
from raysys.predicting.export import export_run
from raysys.predicting.members import run_of
from raysys.report.cost import count
from raysys.report.headline import headline, sentence
from raysys.report.results import read_result
from raysys.report.tables import as_rich
from raysys.report.terminal import result_lines
from raysys.running.run_folder import known_record, read_record
from raysys.sealed import is_stored
from raysys.storage import Folder, named_folder
from raysys.tasks.exhibits import Table

_AGES = ((86400, "d"), (3600, "h"), (60, "min"))


@dataclass(frozen=True)
class Listed:
    """A run, as the list has it."""

    name: str
    state: str
    kind: str
    score: str
    corpus: str
    age: str
    size: str


def list_runs(runs: Folder) -> list[Listed]:
    """Every run of a folder, by name.

    Args:
        runs: folder of all runs.
    """
    found = [runs / name for name in runs.names() if is_stored(runs / name, "run.json")]
    return [_listed(folder) for folder in found]


def print_runs(runs: Folder, console: Console) -> None:
    """The table of all runs.

    Args:
        runs: folder of all runs.
        console: where.
    """
    listed = list_runs(runs)
    if not listed:
        console.print(
            f"no runs in {runs.path()}: python -m jobs.cross_validate makes one", soft_wrap=True
        )
        return
    rows = [(r.name, r.state.lower(), r.score, r.corpus, r.age, r.size) for r in listed]
    heads = ("run", "state", "test", "corpus", "age", "size")
    console.print(as_rich(Table("", heads, rows, strong=("test",))))
    print("next         python -m jobs.runs show RUN")


def show_run(place: str, runs: Folder, console: Console) -> None:
    """What a run came to.

    Args:
        place: its name or folder.
        runs: folder of all runs.
        console: where.

    Raises:
        ConfigError: there is none.
        StorageError: it is damaged.
    """
    folder = _run(place, runs)
    one = _listed(folder)
    told = f"{one.name}: {one.state.lower()}, {one.kind}, {one.age} old, {one.size}"
    console.print(told, markup=False, highlight=False)
    if not folder.exists("result.json"):
        console.print("no result yet: the same command with --resume finishes it", markup=False)
        return
    result = read_result(folder)
    for line in result_lines(result):
        show = line if isinstance(line, str) else as_rich(line)
        console.print(show, markup=False, soft_wrap=isinstance(line, str), highlight=False)
    console.print(sentence(result), markup=False, soft_wrap=True, highlight=False)


def remove_run(place: str, runs: Folder, *, sure: bool, ask: Callable[[str], str] = input) -> None:
    """Remove a run's folder, having asked; its MLflow run stays.

    Args:
        place: its name or folder.
        runs: folder of all runs.
        sure: do not ask.
        ask: asks.

    Raises:
        ConfigError: there is none, or nobody is there to be asked.
        StorageError: a command is writing to it.
    """
    folder = _run(place, runs)
    with folder.held():  # else a command holds it
        record, one = known_record(folder), _listed(folder, held=True)
        question = f"remove {folder.path()} ({one.state.lower()}, {one.score}, {one.size})? [y/N] "
        if not sure and not sys.stdin.isatty() and ask is input:
            raise ConfigError("nobody is there to be asked: --yes removes without a question")
        if not sure and ask(question).strip().lower() not in ("y", "yes"):
            print("kept")
            return
        folder.delete()
    run_id = f" ({record.run_id})" if record and record.run_id else ""
    print(
        f"removed      {folder.path()}; its MLflow run{run_id} and what was registered stay there"
    )


def hand_on(place: str, out: str, runs: Folder) -> None:
    """Copy settings, result, report and trained folds into a folder of their own.

    Args:
        place: a run's name or folder, or a model in MLflow.
        out: the folder, new or empty.
        runs: folder of all runs.

    Raises:
        ConfigError: no such run, or it has no trained folds, or the folder holds something.
    """
    target = named_folder(out)
    if target.names():
        raise ConfigError(f"{target.path()} is not empty: give a new folder")
    export_run(run_of(place, runs), target)
    print(f"handed on    {target.path()}, {_size(target)}")
    print(f"next         python -m jobs.predict {target.path()} FILE.wav")


def _run(place: str, runs: Folder) -> Folder:
    here = named_folder(place) if "/" in place else runs / place
    if not is_stored(here, "run.json"):
        names = ", ".join(one.name for one in list_runs(runs)[:8])
        there = f"; there are {names}" if names else ""
        raise ConfigError(f"{here.path()} is no run{there}")
    return here


def _listed(folder: Folder, *, held: bool = False) -> Listed:
    kind = score = corpus = "-"
    try:
        result = read_result(folder)
        kind, score, corpus = result.kind, headline(result), result.corpus
        kind = kind.replace("_", "-")
    except StorageError as error:
        score = "-" if not folder.exists("result.json") else f"cannot be read: {error}"[:60]
    return Listed(
        folder.name, _state(folder, held), kind, score, corpus, _age(folder), _size(folder)
    )


def _state(folder: Folder, held: bool) -> str:
    try:
        status = read_record(folder).status
    except StorageError:
        return "DAMAGED"
    if status != "RUNNING" or held:
        return status
    try:
        with folder.held():
            return "INTERRUPTED"
    except StorageError:
        return status


def _age(folder: Folder) -> str:
    """Since its state last changed; a dash on object storage."""
    if folder.local_path is None:
        return "-"
    seconds = time.time() - Path(folder.path("run.json")).stat().st_mtime
    return next(
        (f"{seconds / n:.0f} {unit}" for n, unit in _AGES if seconds >= n), f"{seconds:.0f} s"
    )


def _size(folder: Folder) -> str:
    return f"{count(_bytes(folder))}B"


def _bytes(folder: Folder) -> int:
    total = 0
    for name in folder.names():
        below = folder / name
        total += _bytes(below) if below.names() else folder.size(name)
    return total
