"""A fold that waits at defined points until a test lets it go: nothing depends on who is faster.

As a program it runs a job with such folds: `python -m tests.cluster.gate FOLDER jobs.tune PRESET [FLAGS]`.
"""

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

_SECONDS = 0.02
HANGS_SECONDS = 1200
"""Far more than a loaded machine needs."""


@dataclass(frozen=True)
class Gate:
    """Points of folds, kept as files, so that any process sees them."""

    folder: Path

    def hold(self, trial: str, fold: int, epoch: int) -> Path:
        """Have a fold wait at the end of an epoch, before anybody hears of it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        point = self.folder / f"{trial}.{fold}.{epoch}"
        point.touch()
        return point

    def pass_by(self, trial: str, fold: int, epoch: int) -> None:
        """Called in the worker."""
        point = self.folder / f"{trial}.{fold}.{epoch}"
        if point.exists():
            point.with_suffix(f".{epoch}.reached").write_text(str(os.getpid()))
            while point.exists():
                time.sleep(_SECONDS)


def process_at(point: Path, running: Callable[[], bool] = lambda: True) -> int:
    """Wait until a fold is at the point, then the id of its process."""
    deadline = time.monotonic() + HANGS_SECONDS
    while not is_reached(point):
        assert running(), "the command has ended before"
        assert time.monotonic() < deadline, f"no fold has come to {point.name}"
        time.sleep(_SECONDS)
    return int(_mark(point).read_text())


def is_reached(point: Path) -> bool:
    """Whether a fold waits there."""
    return point.exists() and _mark(point).exists() and bool(_mark(point).read_text())


def _mark(point: Path) -> Path:
    return point.with_suffix(f"{point.suffix}.reached")


def kill_at(point: Path) -> int:
    """Kill the process that does a fold while it waits at the point; the fold's next process passes by.

    A process that ended with its group, before the signal came, is no kill: the fold comes to the point again.
    """
    while True:
        process = process_at(point)
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            time.sleep(_SECONDS)
            continue
        let_go(point)
        return process


def let_go(point: Path) -> None:
    """The fold goes on, and is not held there again."""
    point.unlink()
    _mark(point).unlink(missing_ok=True)


def gated_fold(gate: Gate, task: Any, data: Any, on_epoch: Any) -> Any:
    """`run_fold` behind a gate."""
    from raysys.training.fold import run_fold

    def hold(record: Any) -> bool:
        gate.pass_by(task.trial, task.fold, record.epoch)
        return bool(on_epoch(record))

    return run_fold(task, data, hold)


def gated_fold_together(gate: Gate, task: Any, data: Any, on_epoch: Any) -> Any:
    """`run_fold_together` behind a gate: while a fold waits there, those of its process wait too."""
    from raysys.together import seated

    with seated():
        return gated_fold(gate, task, data, on_epoch)


def main(folder: str, job: str, *arguments: str) -> int:
    from raysys.commandline import run_job
    from raysys.running import session
    from tests.cluster import gate as importable  # workers know it by this name

    # Children of a background job ignore Ctrl-C; a command in a terminal does not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    session.run_fold = partial(importable.gated_fold, importable.Gate(Path(folder)))
    return run_job(importlib.import_module(job).main, list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
