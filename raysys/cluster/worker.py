"""What runs in every worker of the pool: pull a fold, do it, report, until the queue closes.

Ray Train's controllers import this module, one a group: it imports neither torch nor settings.
"""

import os
import traceback
import uuid
from collections.abc import Callable
from typing import Any, Protocol

import ray
import ray.train
from ray.train import BackendConfig
from ray.train.backend import Backend

from raysys.cluster.leases import Ticket
from raysys.errors import RaysysError

_PULL_SECONDS = 2.0


class Result(Protocol):
    """What work returns."""

    @property
    def stopped(self) -> bool:
        """Whether it ended early because `on_epoch` said so."""
        ...


Work = Callable[[Any, Any, Callable[[Any], bool]], Result]
"""(task, what all tasks share, on_epoch) -> result; `raysys.training.fold.run_fold` and what tests need."""


class Deliver(Protocol):
    """Hands a result on before it counts as done."""

    def __call__(self, task: Any, result: Any) -> None:
        """Deliver it; may raise, which fails the task."""
        ...


class _Apart(Backend):  # type: ignore[misc]
    """Workers share no process group, so Ray Train may replace one alone.

    The flag is Ray's, made for TorchFT. Without it the group's other workers would be replaced too, and the queue
    would give their folds out again: slower, not wrong.
    """

    has_replica_groups = True


class ApartConfig(BackendConfig):  # type: ignore[misc]
    """For a trainer whose workers have nothing to say to each other."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What Ray Train asks for."""
        return _Apart


def worker_loop(packed: dict[str, bytes]) -> None:
    """The loop of one worker of a group of Ray Train.

    Args:
        packed: `settings`, pickled so that Ray's own processes need not import what is in it: `queue` (actor
            handle), `work` (a `Work`), `warm_up` (called once before the worker says hello, or None) and `first_rank`
            (of the group, among all workers that the pool ever had).
    """
    settings = ray.cloudpickle.loads(packed["settings"])
    queue, work = settings["queue"], settings["work"]
    rank = settings["first_rank"] + ray.train.get_context().get_world_rank()
    token = uuid.uuid4().hex
    if settings["warm_up"]:
        settings["warm_up"]()
    known, shared = "", None
    ray.get(queue.hello.remote(rank, token, os.getpid()))
    while True:
        pulled = ray.get(queue.pull.remote(rank, token, _PULL_SECONDS))
        if pulled.verdict in ("closed", "stale"):
            return
        if pulled.verdict == "task":
            if pulled.ticket.shared != known:
                known, shared = pulled.ticket.shared, None
                references = ray.get(queue.shared.remote(known))
                shared = ray.get(references[0]) if references else None
            _do(pulled.ticket, work, shared, queue, (rank, token))


def _do(ticket: Ticket, work: Work, shared: Any, queue: Any, holder: tuple[int, str]) -> None:
    key, verdicts = ticket.key, set()

    def on_epoch(record: Any) -> bool:
        verdict = ray.get(queue.epoch.remote(key, *holder, record))
        verdicts.add(verdict)
        return bool(verdict == "go")

    try:
        task, deliver = ray.cloudpickle.loads(ticket.content)
        result = work(task, shared, on_epoch)
        if result.stopped and "pause" in verdicts and "stop" not in verdicts:
            ray.get(queue.hand_back.remote(key, *holder))
            return
        if deliver and not result.stopped:
            deliver(task, result)
    except RaysysError as error:
        ray.get(queue.failed.remote(key, *holder, str(error)))
    except Exception as error:  # the one place where a fold's failure is recorded
        lines = traceback.format_exc().strip().splitlines()
        where = next((line.strip() for line in reversed(lines) if line.startswith("  File")), "")
        reason = f"{type(error).__name__}: {error} ({where})"
        ray.get(queue.failed.remote(key, *holder, reason))
    else:
        ray.get(queue.done.remote(key, *holder, result))
