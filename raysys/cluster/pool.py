"""The fold pool: one Ray Train worker group that lives as long as there are folds to do.

    driver -> submit(tasks) -> FoldQueue <- pull - workers (Ray Train): worker_loop
    driver <- events() ------- FoldQueue <- epochs, results

Starting a group costs tens of seconds, so it is started once. The group has no process group: folds share no gradients.
When a worker dies, Ray Train starts the group again and the queue hands its folds out again. An exception inside a fold
becomes that fold's failure; it never ends a worker. `ray.train.report` is not used: it is a barrier over all workers,
and these are independent.
"""

import os
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, Self

import ray
import ray.train
from ray.train import BackendConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from raysys.cluster.leases import Task, Ticket
from raysys.cluster.queue import Event, start_queue
from raysys.cluster.session import lacks, resources, slots
from raysys.config.running import ClusterConfig
from raysys.errors import PoolError, RaysysError
from raysys.storage import Folder

_POLL_SECONDS = 0.5
_PULL_SECONDS = 2.0
_CLOSE_SECONDS = 30.0


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


class FoldPool:
    """Workers that do folds; a context manager.

    Args:
        work: what a worker does with a task.
        config: workers, resources of each, attempts, deadline.
        folder: where Ray Train keeps its own state while the pool lives.
        most_tasks: no more workers than this are started.
        shared: what all tasks share; put into the object store once.
        deliver: called in the worker with every result, before it counts.
        warm_up: called once in every worker before its first task.

    A pool that outlives a command is given to the next one by `lend`: the names of trials, what they share and who
    delivers are those of one loan.
    """

    def __init__(
        self,
        work: Work,
        config: ClusterConfig,
        *,
        folder: Folder,
        most_tasks: int,
        shared: Any = None,
        deliver: Deliver | None = None,
        warm_up: Callable[[], None] | None = None,
    ) -> None:
        self._config = config
        self._folder = folder
        self.workers = max(1, min(config.workers or slots(config), most_tasks))
        self.queue = start_queue(config.max_attempts)
        self._settings = {"queue": self.queue, "work": work, "warm_up": warm_up}
        self._loans = 0
        self._trials: set[str] = set()
        self._begin_loan(shared, deliver)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fold-pool", daemon=True)
        self._started = time.monotonic()
        self._seen = 0
        self._greeted = False

    def __enter__(self) -> "FoldPool":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the workers end, at once when there was an error, and give their resources back."""
        try:
            ray.get(self.queue.close.remote(cancel=kind is not None), timeout=_CLOSE_SECONDS)
            self._thread.join(5.0 if kind is not None else _CLOSE_SECONDS)
            if not self._thread.is_alive():
                ray.kill(self.queue)
        except ray.exceptions.RayError:
            pass  # the queue is gone, and its workers with it
        if self._folder.local_path is not None:
            self._folder.delete()

    @contextmanager
    def lend(self, *, shared: Any = None, deliver: Deliver | None = None) -> Iterator[Self]:
        """The pool for another command; what that leaves undone is cancelled.

        Args:
            shared: what all its tasks share.
            deliver: called in the worker with every of its results.
        """
        self._begin_loan(shared, deliver)
        try:
            yield self
        finally:
            with suppress(ray.exceptions.RayError):  # the queue is gone, and its workers with it
                for trial in self._trials:
                    self.cancel(trial)
                ray.get(self.queue.share.remote(self._loan, []))

    def submit(self, tasks: Sequence[Task]) -> None:
        """Hand tasks to the pool."""
        tickets = []
        for task in tasks:
            trial, which = task.key
            self._trials.add(trial)
            content = ray.cloudpickle.dumps((task, self._deliver))
            key = (f"{self._loan}{trial}", which)
            tickets.append(Ticket(key, tuple(task.milestones), content, self._loan))
        ray.get(self.queue.submit.remote(tickets))

    def cancel(self, trial: str) -> None:
        """Stop the folds of a trial."""
        ray.get(self.queue.cancel.remote(f"{self._loan}{trial}"))

    def events(self, *, idle_seconds: float = _POLL_SECONDS) -> Iterator[list[Event]]:
        """Events as they come, for ever; an empty list every `idle_seconds` without one.

        Raises:
            PoolError: no worker came within the deadline, or the group has ended.
        """
        while True:
            yield self.poll(idle_seconds)

    def poll(self, wait_seconds: float = 0.0) -> list[Event]:
        """Events since the last call; waits a bounded time for one.

        Raises:
            PoolError: see `events`.
        """
        try:
            fresh: list[Event] = ray.get(self.queue.events.remote(self._seen, wait_seconds))
        except ray.exceptions.RayError as error:
            raise PoolError(f"the queue of the fold pool died: {error}") from error
        self._seen += len(fresh)
        self._greeted = self._greeted or any(event.kind == "hello" for event in fresh)
        self._check()
        return [own for event in fresh if (own := self._own(event))]

    def _begin_loan(self, shared: Any, deliver: Deliver | None) -> None:
        self._loans += 1
        self._loan, self._deliver = f"{self._loans}/", deliver
        self._trials.clear()
        ray.get(self.queue.share.remote(self._loan, [ray.put(shared)]))

    def _own(self, event: Event) -> Event | None:
        """An event of this loan, by the trial's own name; None for what is left of others."""
        if event.key is None:
            return event
        trial, which = event.key
        if not trial.startswith(self._loan):
            return None
        return replace(event, key=(trial.removeprefix(self._loan), which))

    def _check(self) -> None:
        if self._failure is not None:
            reason = " ".join(str(self._failure).split())[:300]
            raise PoolError(f"the fold pool ended: {reason}")
        waited = time.monotonic() - self._started
        if not self._greeted and waited > self._config.hello_seconds:
            reason = lacks(self._config, self.workers)
            raise PoolError(f"no worker started within {waited:.0f} s: {reason}")

    def _run(self) -> None:
        try:
            DataParallelTrainer(
                worker_loop,
                train_loop_config={"settings": ray.cloudpickle.dumps(self._settings)},
                backend_config=BackendConfig(),
                scaling_config=ScalingConfig(
                    num_workers=self.workers,
                    use_gpu=self._config.gpus_per_fold > 0,
                    resources_per_worker=resources(self._config),
                    placement_strategy="SPREAD",
                ),
                run_config=RunConfig(
                    name=f"pool-{time.time_ns()}",
                    storage_path=self._folder.path(),
                    failure_config=FailureConfig(max_failures=-1),
                ),
            ).fit()
        except BaseException as error:  # kept for the driver, which asks in `events`
            self._failure = error


STANDING: ContextVar[tuple[ClusterConfig, FoldPool] | None] = ContextVar("pool", default=None)
"""A pool that outlives commands, with all CPUs of its workers, and for which settings."""


def worker_loop(packed: dict[str, bytes]) -> None:
    """Runs in every worker of the group: pull a fold, do it, report, until the queue closes.

    Args:
        packed: `settings`, pickled so that Ray's own processes need not import what is in it: `queue` (actor
            handle), `work` (a `Work`), `warm_up` (called once before the worker says hello, or None).
    """
    settings = ray.cloudpickle.loads(packed["settings"])
    queue, work = settings["queue"], settings["work"]
    rank, token = ray.train.get_context().get_world_rank(), uuid.uuid4().hex
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
