"""What it costs to start: a command that ends with one line, and a worker before its first fold.

commands   --help, an unknown setting, a missing preset        CPU seconds, and as a multiple of `import yaml`'s
driver     seconds until a command that will train says its first line
worker     CPU seconds until it has its first fold             as a multiple of a bare Ray Train worker's that
                                                               imports torch, in the same local Ray, in turn
"""

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.train import BackendConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from rich.console import Console

from raysys.cluster.pool import FoldPool
from raysys.cluster.session import ray_session
from raysys.config.running import ClusterConfig
from raysys.storage import Folder
from raysys.training.records import FoldResult, FoldTask

_TIMES = 3
_JOB = ("-m", "jobs.cross_validate")
_COMMANDS = {
    "help": (*_JOB, "--help"),
    "typo": (*_JOB, "--loss.mu3", "1"),
    "missing_file": (*_JOB, "missing.yaml"),
}
_BARE = ("-c", "import yaml")
_HERE = Path(__file__).resolve().parents[2]


def first_task(task: FoldTask, shared: None, on_epoch: Any) -> FoldResult:
    """Do nothing but import what every fold needs and say how much CPU time this worker has taken."""
    import raysys.training.fold  # noqa: F401

    Path(task.folder).write_text(str(time.process_time()))
    return FoldResult(task.trial, task.fold, 0, 0, {}, (), "")


def measure(console: Console, folder: Folder) -> dict[str, Any]:
    """Start everything a few times and keep the least.

    Args:
        console: for progress.
        folder: scratch space on this machine.

    Returns:
        CPU seconds and ratios.
    """
    bare = min(_cpu_seconds(_BARE) for _ in range(_TIMES))
    figures: dict[str, Any] = {"bare_python_cpu_seconds": bare}
    for name, command in _COMMANDS.items():
        seconds = min(_cpu_seconds(command) for _ in range(_TIMES))
        console.print(f"{name}: {seconds:.2f} s of CPU, {seconds / bare:.1f} times a bare start")
        figures |= {f"{name}_cpu_seconds": seconds, f"{name}_ratio": seconds / bare}
    figures["first_line_seconds"] = min(_first_line_seconds() for _ in range(_TIMES))
    scratch = folder.local_path or Path(folder.path())
    with ray_session(ClusterConfig()):
        turns = [(_bare_worker(scratch), _pool_worker(scratch)) for _ in range(_TIMES)]
    bare, ours = (min(column) for column in zip(*turns, strict=True))
    console.print(f"worker: {ours:.1f} s of CPU, {ours / bare:.2f} times a bare one with torch")
    return {
        **figures,
        "bare_worker_cpu_seconds": bare,
        "worker_cpu_seconds": ours,
        "worker_ratio": ours / bare,
    }


def _cpu_seconds(command: Sequence[str]) -> float:
    """CPU seconds of a process, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], cwd=_HERE, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _first_line_seconds() -> float:
    """Until a command with right arguments says something; it is ended then."""
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, *_JOB, "--name", "startup"],
        cwd=_HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as command:
        assert command.stdout is not None
        command.stdout.readline()
        seconds = time.monotonic() - began
        command.kill()
    return seconds


def _bare_worker(scratch: Path) -> float:
    """A worker of Ray Train as its guide has it, when it has imported torch."""
    place = scratch / f"bare-{time.time_ns()}"

    def train(settings: dict[str, Any]) -> None:
        import torch  # noqa: F401

        place.write_text(str(time.process_time()))

    DataParallelTrainer(
        train,
        train_loop_config={},
        backend_config=BackendConfig(),
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name=f"group-{place.name}", storage_path=str(scratch)),
    ).fit()
    return float(place.read_text())


def _pool_worker(scratch: Path) -> float:
    """A worker of the fold pool, when it has its first fold and what that needs."""
    place = scratch / f"pool-{time.time_ns()}"
    with FoldPool(first_task, ClusterConfig(workers=1), most_tasks=1) as pool:
        pool.submit([FoldTask("trial", 0, None, str(place))])
        for events in pool.events():
            if any(event.kind == "done" for event in events):
                return float(place.read_text())
    raise AssertionError("events never end")
