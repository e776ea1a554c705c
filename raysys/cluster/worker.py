"""The loop of a pool's worker: pull a fold, do it, report, until the queue closes.

An exception inside a fold becomes that fold's failure; it never ends the worker. `ray.train.report` is not used: it is
a barrier over all workers, and these are independent.
"""

import os
import traceback
import uuid
from collections.abc import Callable
from typing import Any, Protocol

import ray
import ray.train

from raysys.cluster.leases import Task
from raysys.errors import RaysysError


class Result(Protocol):
    """What work returns."""

    @property
    def stopped(self) -> bool:
        """Whether it ended early because `on_epoch` said so."""
        ...


Work = Callable[[Any, Any, Callable[[Any], bool]], Result]
"""(task, what all tasks share, on_epoch) -> result; `raysys.training.fold.run_fold` and what tests need."""

_PULL_SECONDS = 2.0


class Deliver(Protocol):
    """Hands a result on before it counts as done."""

    def __call__(self, task: Any, result: Any) -> None:
        """Deliver it; may raise, which fails the task."""
        ...


def worker_loop(packed: dict[str, bytes]) -> None:
    """Runs in every worker of the group.

    Args:
        packed: `settings`, pickled so that Ray's own processes need not import what is in it: `queue` (actor
            handle), `work` (a `Work`), `deliver` (a `Deliver` or None), `warm_up` (called once before the worker
            says hello, or None).
    """
    settings = ray.cloudpickle.loads(packed["settings"])
    queue = settings["queue"]
    rank, token = ray.train.get_context().get_world_rank(), uuid.uuid4().hex
    if settings["warm_up"]:
        settings["warm_up"]()
    references = ray.get(queue.shared.remote())
    shared = ray.get(references[0]) if references else None
    ray.get(queue.hello.remote(rank, token, os.getpid()))
    while True:
        pulled = ray.get(queue.pull.remote(rank, token, _PULL_SECONDS))
        if pulled.verdict in ("closed", "stale"):
            return
        if pulled.verdict == "task":
            _do(pulled.task, queue, rank, token, settings, shared)


def _do(
    task: Task, queue: Any, rank: int, token: str, settings: dict[str, Any], shared: Any
) -> None:
    verdicts = set()

    def on_epoch(record: Any) -> bool:
        verdict = ray.get(queue.epoch.remote(task.key, rank, token, record))
        verdicts.add(verdict)
        return bool(verdict == "go")

    try:
        result = settings["work"](task, shared, on_epoch)
        if result.stopped and "pause" in verdicts and "stop" not in verdicts:
            ray.get(queue.hand_back.remote(task.key, rank, token))
            return
        if settings["deliver"] and not result.stopped:
            settings["deliver"](task, result)
    except RaysysError as error:
        ray.get(queue.failed.remote(task.key, rank, token, str(error)))
    except Exception as error:  # the one place where a fold's failure is recorded
        lines = traceback.format_exc().strip().splitlines()
        where = next((line.strip() for line in reversed(lines) if line.startswith("  File")), "")
        reason = f"{type(error).__name__}: {error} ({where})"
        ray.get(queue.failed.remote(task.key, rank, token, reason))
    else:
        ray.get(queue.done.remote(task.key, rank, token, result))
