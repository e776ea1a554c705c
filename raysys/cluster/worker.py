"""What runs in every worker of the pool: pull a fold, do it, report, until the queue closes.

Ray Train's controllers import this module, one a group: it imports neither torch nor settings.
"""

import os
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import ray
import ray.train
from ray.train import BackendConfig
from ray.train.backend import Backend

from raysys.cluster.leases import Ticket, Verdict
from raysys.cluster.queue import Pulled
from raysys.errors import GpuLostError, RaysysError

_PULL_SECONDS = 2.0
_PATIENCE = 0.01
"""Share of an epoch's time for which its fold waits to hear what to do, instead of hearing it after the next one."""


class Result(Protocol):
    """What work returns."""

    @property
    def stopped(self) -> bool:
        """Whether it ended early because `on_epoch` said so."""
        ...


Work = Callable[[Any, Any, Callable[[Any], bool]], Result]
"""(task, what all tasks share, on_epoch) -> result; `raysys.training.fold.run_fold` and what tests need."""


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
            handle), `work` (a `Work`), `first_rank` (of the group, among all that the pool ever had) and `together`
            (tasks that it does at the same time, in threads: to the queue, each is a worker with a rank of its own).
    """
    settings = ray.cloudpickle.loads(packed["settings"])
    count = settings["together"]
    first = settings["first_rank"] + ray.train.get_context().get_world_rank() * count
    do_tasks = partial(_do_tasks, settings["queue"], settings["work"])
    if count == 1:
        do_tasks(first)
        return
    with ThreadPoolExecutor(count) as threads:
        list(threads.map(do_tasks, range(first, first + count)))


def _do_tasks(queue: Any, work: Work, rank: int) -> None:
    """One task after the other, until the queue closes."""
    token = uuid.uuid4().hex
    known, shared = "", None
    ray.get(queue.hello.remote(rank, token, os.getpid()))
    pulled = Pulled("idle")
    while pulled.verdict not in ("closed", "stale"):
        if pulled.verdict == "idle":
            pulled = ray.get(queue.pull.remote(rank, token, _PULL_SECONDS))
            continue
        if pulled.ticket.shared != known:
            known, shared = pulled.ticket.shared, None
            references = ray.get(queue.shared.remote(known))
            shared = ray.get(references[0]) if references else None
        reports = EpochReports(pulled.ticket, queue, (rank, token), pulled.gather_seconds)
        pulled = ray.get(_do(pulled.ticket, work, shared, queue, reports))


class EpochReports:
    """Reports a fold's epochs to the queue and gets what to do, without delaying the fold: its `on_epoch`.

    An answer that takes longer than a small share of the epoch is heard after the next one; at milestones it is waited
    for.

    Args:
        ticket: of the fold.
        queue: the actor.
        holder: rank and token of this worker.
        gather_seconds: epochs that are sooner than this after the last call are reported with the next; not milestones.
    """

    def __init__(
        self, ticket: Ticket, queue: Any, holder: tuple[int, str], gather_seconds: float
    ) -> None:
        self._queue, self._milestones = queue, ticket.milestones
        self.lease = (ticket.key, *holder)
        self._gather = gather_seconds
        self._untold: list[Any] = []
        self._answer: ray.ObjectRef | None = None
        self._ended = self._told = time.monotonic()
        self._heard: set[Verdict] = set()

    @property
    def must_pause(self) -> bool:
        """Whether the fold shall be handed back."""
        return "pause" in self._heard and "stop" not in self._heard

    def __call__(self, record: Any) -> bool:
        """An epoch is over; whether to go on."""
        now = time.monotonic()
        patience, self._ended = (now - self._ended) * _PATIENCE, now
        self._untold.append(record)
        self._hear()
        if record.epoch in self._milestones:
            self._tell()
            self._hear()
        elif now - self._told >= self._gather:
            self._tell()
            if ray.wait([self._answer], timeout=patience)[0]:
                self._hear()
        return self._heard <= {"go"}

    def rest(self) -> list[Any]:
        """What is still to be reported at the end of the fold; no call is on its way then."""
        self._hear()
        return self._untold

    def _tell(self) -> None:
        self._answer = self._queue.epochs.remote(*self.lease, self._untold)
        self._told, self._untold = time.monotonic(), []

    def _hear(self) -> None:
        if self._answer is not None:
            self._heard.add(ray.get(self._answer))
            self._answer = None


def _do(
    ticket: Ticket, work: Work, shared: Any, queue: Any, reports: EpochReports
) -> ray.ObjectRef:
    """Do a fold and say how it ended; the answer will be what to do next."""
    lease = reports.lease
    try:
        result = work(ray.cloudpickle.loads(ticket.content), shared, reports)
        if result.stopped and reports.must_pause:
            return queue.hand_back.remote(*lease, reports.rest())
    except GpuLostError as error:
        # Whatever this process does next would fail, too. Ray Train replaces it, and the fold's lease comes back.
        print(f"worker {lease[1]} ends: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    except RaysysError as error:
        return queue.failed.remote(*lease, reports.rest(), str(error))
    except Exception as error:  # the one place where a fold's failure is recorded
        lines = traceback.format_exc().strip().splitlines()
        where = next((line.strip() for line in reversed(lines) if line.startswith("  File")), "")
        reason = f"{type(error).__name__}: {error} ({where})"
        return queue.failed.remote(*lease, reports.rest(), reason)
    return queue.done.remote(*lease, reports.rest(), result)
