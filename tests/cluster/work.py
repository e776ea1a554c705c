"""What the pool's workers do in tests; a module of its own, so that workers can import it."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysys.errors import GpuLostError


@dataclass(frozen=True)
class Errand:
    """A task with a number to square, and perhaps something bad to do."""

    trial: str
    index: int
    deed: str = ""
    folder: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """(trial, index)."""
        return self.trial, self.index

    @property
    def milestones(self) -> tuple[int, ...]:
        """None."""
        return ()


@dataclass(frozen=True)
class Square:
    """A result."""

    value: int
    stopped: bool = False


@dataclass(frozen=True)
class Beat:
    """An epoch that tells who does it."""

    epoch: int
    process: int = 0


def square(task: Errand, shared: Any, on_epoch: Any) -> Square:
    """The square of the task's index plus what is shared."""
    if task.deed == "raise":
        raise ValueError("bad fold")
    if task.deed == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task.deed == "die once" and not Path(task.folder, "died").exists():
        Path(task.folder, "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if task.deed == "spoil once" and not Path(task.folder, "spoilt").exists():
        Path(task.folder, "spoilt").write_text(str(os.getpid()))
        raise GpuLostError("the GPU cannot be used any more: CUDA error: device-side assert")
    if task.deed == "forever":
        epoch = 1
        while on_epoch(Beat(epoch, os.getpid())):
            epoch += 1
            time.sleep(0.05)
        return Square(-1, stopped=True)
    return Square(task.index**2 + (shared or 0))
