"""A command as users start it, in a process of its own: to be interrupted, killed, or run on another cluster."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raysys.commandline import parse
from raysys.config import Config
from tests.cluster.gate import HANGS_SECONDS, Gate
from tests.conftest import CLUSTER

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
corpus: {name: demo, demo: {utterances: 150}}
features: {logmel: {n_mels: 16}, hashed: {dim: 16}}
folds: {method: leave_one_group_out, groups: session}
model: {cltnet: {channels: 8, text_dim: 8, dim: 8, layers: 1, heads: 2}}
training: {max_epochs: 8, patience: 8, batch_size: 16}
similarity: {resamples: 50}
"""


def storage(home: Path, cache: Path) -> list[str]:
    """Flags that say where files are."""
    return ["--storage.runs", str(home / "runs"), "--storage.cache", str(cache)]


@dataclass(frozen=True)
class Command:
    """A job in a home of its own, whose folds pass by a gate; what it reads is in a cache that all share.

    One worker starts sooner than two, and what it has begun is resumed with two to the same numbers.
    """

    job: str
    preset: Path
    home: Path
    cache: Path
    gate: Gate
    workers: int = 1

    def start(
        self,
        *flags: str,
        more: Mapping[str, str] | None = None,
        enter: Sequence[str] = (),
        **options: Any,
    ) -> subprocess.Popen:
        """Begin it, with more in its environment, or behind a command that enters another place."""
        program = [*enter, sys.executable, "-m", "tests.cluster.gate", str(self.gate.folder)]
        arguments = [self.job, str(self.preset), *storage(self.home, self.cache), *flags]
        arguments += ["--cluster.workers", str(self.workers)]
        environment = {"RAYSYS_HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [*program, *arguments],
            env={**os.environ, **environment, **(more or {}), "PYTHONUNBUFFERED": "1"},
            text=True,
            **options,
        )


def processes_of(home: Path) -> list[int]:
    """Ids of the processes that were started with this home: the command, and its Ray."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"RAYSYS_HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def wait_for(condition: Callable[[], bool], *, pause_seconds: float = 0.1) -> None:
    """Until it holds; a command that hangs is a failure."""
    deadline = time.monotonic() + HANGS_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(pause_seconds)


def undisturbed(preset: Path, home: Path, cache: Path) -> Config:
    """What the preset says, for a command that runs here, over the pool of all tests."""
    config, _ = parse([str(preset), *storage(home, cache)], program="test")
    return replace(config, cluster=CLUSTER)


def numbers(home: Path) -> dict:
    """The result in a home, without seconds, ids and the digest of all."""
    result = json.loads((home / "runs" / "small" / "result.json").read_text())
    return {
        key: value
        for key, value in result.items()
        if key not in ("seconds", "mlflow", "sha256", "cost")
    }
