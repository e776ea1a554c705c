"""The fold pool: workers of Ray Train that live as long as there are folds to do.

    driver -> submit(tasks) -> FoldQueue <- pull - workers (Ray Train): worker_loop
    driver <- events() ------- FoldQueue <- epochs, results

Starting a worker costs tens of seconds, so each does one fold after the other. When one dies, the queue hands its fold
out again. An exception inside a fold becomes that fold's failure; it never ends a worker. `ray.train.report` is not
used: it is a barrier over all workers, and these are independent.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from filelock import FileLock, Timeout

from raysys.cluster.groups import WorkerGroups
from raysys.cluster.leases import Task, Ticket
from raysys.cluster.ledger import Event
from raysys.cluster.nodes import in_use, lacks
from raysys.cluster.queue import News, start_queue
from raysys.cluster.worker import Work
from raysys.config.running import ClusterConfig
from raysys.errors import HeadLostError, PoolError

_PREFIX = "raysys-pool-"
_POLL_SECONDS = 0.5
_CLOSE_SECONDS = 30.0
_HASTY_SECONDS = 1.0
"""A stopped Ray job is killed after three seconds: by then MLflow must know."""
_JOIN_SECONDS = 20.0
"""For a first node with room, where no autoscaler is asked for one: those of a cluster that starts come in a row."""
_BUSY_SECONDS = 5.0
"""For which a pool waits for room before it says so."""
_NEW_SECONDS = 60.0
_SILENT_SECONDS = 45.0
"""The cluster's head has not answered for so long: it is gone. After 60 s Ray would end this process without a word."""


class FoldPool:
    """Workers that do folds; a context manager.

    Args:
        work: what a worker does with a task.
        config: workers, resources of each, attempts, deadline.
        most_tasks: no more workers than these need are started.
        shared: what all tasks share; put into the object store once.
        together: tasks that a worker does at the same time, in threads.
        marker: see `WorkerGroups`.

    A pool that outlives a command is given to the next one by `lend`: the names of trials and what they share are those
    of one loan.
    """

    def __init__(
        self,
        work: Work,
        config: ClusterConfig,
        *,
        most_tasks: int,
        shared: Any = None,
        together: int = 1,
        marker: str = "",
    ) -> None:
        self._config = config = config.for_worker(together)
        self.together = together
        """Tasks that a worker does at the same time."""
        self._aside, self._lock = _own_folder()
        self.queue = start_queue(config.max_attempts, self._aside)
        settings = {"queue": self.queue, "work": work}
        self._groups = WorkerGroups(
            self.queue,
            config,
            most=-(-most_tasks // together),
            folder=self._aside / "train",
            settings=settings,
            together=together,
            marker=marker,
        )
        self._loans = 0
        self._life = ""
        self._trials: set[str] = set()
        self._begin_loan(shared)
        self._seen = 0
        self._told = False
        """Whether it was said that the cluster is busy."""
        self.present: set[int] = set()
        """Ranks of the workers that are there, as far as events have said it."""

    @property
    def workers(self) -> int:
        """Folds that can be done at the same time, as the cluster is now."""
        return self._groups.workers * self.together

    def __enter__(self) -> "FoldPool":
        if not self._groups.has_room:
            limit = self._patience()
            reason = lacks(self._config, self._groups.wanted, self.together)
            print(
                f"no node has room for a worker, {limit:.0f} s to wait: {reason}", file=sys.stderr
            )
        self._groups.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the workers end, and give their resources back; after an error, that is not waited for."""
        patience = _CLOSE_SECONDS if kind is None else _HASTY_SECONDS
        try:
            ray.get(self.queue.close.remote(cancel=kind is not None), timeout=patience)
            if self._groups.end(patience):
                ray.kill(self.queue)
        except ray.exceptions.RayError:
            pass  # the queue is gone, and its workers with it
        shutil.rmtree(self._aside, ignore_errors=True)
        self._lock.release()

    @contextmanager
    def lend(self, *, shared: Any = None) -> Iterator[Self]:
        """The pool for another command; what that leaves undone is cancelled.

        Args:
            shared: what all its tasks share.
        """
        self._begin_loan(shared)
        try:
            yield self
        finally:
            with suppress(ray.exceptions.RayError):  # the queue is gone, and its workers with it
                for trial in self._trials:
                    self.cancel(trial)
                self._share([])

    def submit(self, tasks: Sequence[Task]) -> None:
        """Hand tasks to the pool."""
        tickets = []
        for task in tasks:
            trial, which = task.key
            self._trials.add(trial)
            content = ray.cloudpickle.dumps(task)
            key = (f"{self._loan}{trial}", which)
            tickets.append(Ticket(key, tuple(task.milestones), content, self._loan))
        ray.get(self.queue.submit.remote(tickets))

    def cancel(self, trial: str) -> None:
        """Stop the folds of a trial."""
        ray.get(self.queue.cancel.remote(f"{self._loan}{trial}"))

    def events(self, *, idle_seconds: float = _POLL_SECONDS) -> Iterator[list[Event]]:
        """Events as they come, for ever; an empty list every `idle_seconds` without one.

        Raises:
            PoolError: there was no worker for longer than the deadline, or there can be none.
        """
        while True:
            yield self.poll(idle_seconds)

    def poll(self, wait_seconds: float = 0.0) -> list[Event]:
        """Events since the last call; waits a bounded time for one.

        Raises:
            PoolError: see `events`.
        """
        answer = self.queue.events.remote(self._seen, wait_seconds)
        while True:
            try:
                news: News = ray.get(answer, timeout=max(wait_seconds, _POLL_SECONDS))
                break
            except ray.exceptions.GetTimeoutError:
                self._check()
            except ray.exceptions.RayError as error:
                raise PoolError(f"the queue of the fold pool died: {error}") from error
        if news.life != self._life:  # it has started, or started again
            self._life = news.life
            self._share(self._shared)
        self._seen += len(news.events)
        for event in news.events:
            if event.kind == "hello":
                self.present.add(event.rank)
            elif event.kind == "gone":
                self.present.discard(event.rank)
        self._check()
        return [own for event in news.events if (own := self._own(event))]

    def _begin_loan(self, shared: Any) -> None:
        self._loans += 1
        self._loan = f"{self._loans}/"
        self._trials.clear()
        self._share([ray.put(shared)])

    def _share(self, references: list[ray.ObjectRef]) -> None:
        self._shared = references
        ray.get(self.queue.share.remote(self._loan, references))

    def _own(self, event: Event) -> Event | None:
        """An event of this loan, by the trial's own name; None for what is left of others."""
        if event.key is None:
            return event
        trial, which = event.key
        if not trial.startswith(self._loan):
            return None
        return replace(event, key=(trial.removeprefix(self._loan), which))

    def _check(self) -> None:
        groups, now = self._groups, time.monotonic()
        if groups.waits and not self._told and now - groups.seen > _BUSY_SECONDS:
            self._told = True
            print(f"waiting for room: {in_use(self._config)}", file=sys.stderr)
        if isinstance(groups.failure, PoolError):
            raise groups.failure
        if groups.failure is not None:
            reason = " ".join(str(groups.failure).split())[:300]
            raise PoolError(f"the fold pool ended: {reason}")
        if groups.silent_seconds > _SILENT_SECONDS:
            raise HeadLostError(
                f"the cluster's head has not answered for {groups.silent_seconds:.0f} s: start it again, and the same "
                "command with --resume"
            )
        if now - groups.seen > self._patience():
            reason = lacks(self._config, groups.wanted, self.together)
            raise PoolError(f"no worker for {now - groups.seen:.0f} s: {reason}")

    def _patience(self) -> float:
        """Seconds without a worker that are waited for."""
        longest = self._config.hello_seconds
        if self._groups.has_room or self._groups.had_worker or self._config.max_workers:
            return longest
        return min(longest, _JOIN_SECONDS)


def _own_folder() -> tuple[Path, FileLock]:
    """A folder for files of a pool on this machine, held as long as the process is; those of dead ones are removed."""
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{_PREFIX}*"):
        # One that is not ours cannot be opened; one whose driver lives is held, or is so new that it is not yet.
        with suppress(OSError, Timeout):
            if time.time() - left.stat().st_mtime > _NEW_SECONDS:
                with FileLock(left / ".lock", blocking=False):
                    shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = FileLock(folder / ".lock", blocking=False)
    with suppress(OSError, NotImplementedError):  # a disk that knows no locks
        lock.acquire()
    return folder, lock


STANDING: ContextVar[tuple[ClusterConfig, FoldPool] | None] = ContextVar("pool", default=None)
"""A pool that outlives commands, with all CPUs of its workers, and for which settings."""
