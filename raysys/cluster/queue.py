"""The queue actor: workers pull folds from it and report to it, drivers submit and read events.

All of a pool's traffic goes through here, as small messages; `raysys.cluster.leases` holds the rules. The actor takes
no CPU, lives on the driver's node and ends with the pool. When its process dies, Ray starts another, which reads the
journal of the first; calls that were not answered are made again.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysys.cluster.leases import StaleWorkerError, TaskKey, Ticket, Verdict
from raysys.cluster.ledger import Event, Journal, Ledger

_FREES_NOTHING = ("epochs", "done", "failed")
"""Calls after which no worker that waits for a task can have one."""
_GATHER_SECONDS = 0.01
"""For each worker: events that come sooner than the sum after an answer are reported together, unless a worker waits
for what the driver makes of them. With many workers, a call for each would be most of what queue and driver do."""
_MOST_SECONDS = 1.0
"""For which events are gathered."""
_CALLS_A_SECOND = 10
"""About how many calls report epochs. Up to as many workers report each at once; with more, all gather theirs for
(workers - 10) / 10 seconds, so that the calls stay as many."""


@dataclass(frozen=True)
class Pulled:
    """Answer to a pull."""

    verdict: Literal["task", "idle", "closed", "stale"]
    ticket: Any = None
    """A `Ticket`, with the verdict task."""
    gather_seconds: float = 0.0
    """See `worker.EpochReports`."""


@dataclass(frozen=True)
class News:
    """Answer to a driver that asks for events."""

    events: list[Event]
    life: str
    """Which process of the queue this is: what tasks share must be given to a new one again."""


class FoldQueue:
    """See the module; made into an actor by `start_queue`.

    Args:
        max_attempts: see `LeaseBook`.
        folder: on this machine, for the journal.
    """

    def __init__(self, max_attempts: int, folder: str) -> None:
        self._ledger = Ledger(max_attempts)
        self._journal = Journal(Path(folder) / "journal")
        for name, arguments in self._journal.replay():
            getattr(self._ledger, name)(*arguments)
        self._shared: dict[str, list[ray.ObjectRef]] = {}
        """References of the present loan, once the driver has given them to this life of the queue."""
        self._life = uuid.uuid4().hex
        self._answered = 0.0
        """Monotonic clock of the last answer to a driver."""
        self._waiting = 0
        """Workers without a task."""
        self._told, self._freed, self._idle = (asyncio.Condition() for _ in range(3))
        """What drivers wait for, any event; what workers wait for, that there may be a task for them or none more; and
        that a worker waits. Apart, since with many workers most events are epochs, which are nobody's hurry."""

    async def share(self, key: str, references: list[ray.ObjectRef]) -> None:
        """Keep what tasks of a loan share, as a list of one reference, or none; the loan before is over."""
        self._shared = {key: references}
        await self._notify(self._freed)

    async def shared(self, key: str) -> list[ray.ObjectRef]:
        """What tasks of a loan share; none when it is over."""
        while not self._shared:
            await self._wait_until(time.monotonic() + 1.0, self._freed)
        return self._shared.get(key, [])

    async def submit(self, tickets: Sequence[Ticket]) -> None:
        """See `Ledger.submit`, as of the others."""
        await self._do("submit", tickets)

    async def hello(self, rank: int, token: str, process_id: int) -> None:
        """A worker's loop starts."""
        await self._do("hello", rank, token, process_id)

    async def lost(self, ranks: Sequence[int]) -> None:
        """Workers whose node or group is gone."""
        await self._do("lost", ranks)

    async def leave(self, ranks: Sequence[int]) -> None:
        """Workers whose node will be gone soon."""
        await self._do("leave", ranks)

    async def present(self) -> list[int]:
        """Ranks of the workers that are there."""
        return self._ledger.present

    async def pull(self, rank: int, token: str, wait_seconds: float) -> Pulled:
        """The next task for a worker; waits a bounded time for one.

        The answer to a task's end is one, too, so that a worker says both by one call. Made again, that call gives
        the same task.
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            arguments = (time.monotonic(), rank, token)
            try:
                ticket = self._ledger.take(*arguments)
            except StaleWorkerError:
                return Pulled("stale")
            if ticket is not None:
                self._journal.write("take", arguments)
                await self._notify(self._told)
                more = max(0, len(self._ledger.present) - _CALLS_A_SECOND)
                return Pulled("task", ticket, more / _CALLS_A_SECOND)
            if self._ledger.closed or self._ledger.is_leaving(rank):
                return Pulled("closed")
            if not await self._wait_for_task(deadline):
                return Pulled("idle")

    async def epochs(self, key: TaskKey, rank: int, token: str, records: Sequence[Any]) -> Verdict:
        """Epochs of a task are over; the answer tells the worker what to do."""
        verdict: Verdict = await self._do("epochs", key, rank, token, records)
        return verdict

    async def hand_back(self, key: TaskKey, rank: int, token: str, untold: Sequence[Any]) -> Pulled:
        """A paused task comes back."""
        await self._do("hand_back", key, rank, token, untold)
        return await self.pull(rank, token, 0.0)

    async def done(
        self, key: TaskKey, rank: int, token: str, untold: Sequence[Any], result: Any
    ) -> Pulled:
        """A task has its result."""
        await self._do("done", key, rank, token, untold, result)
        return await self.pull(rank, token, 0.0)

    async def failed(
        self, key: TaskKey, rank: int, token: str, untold: Sequence[Any], reason: str
    ) -> Pulled:
        """A task raised inside its worker."""
        await self._do("failed", key, rank, token, untold, reason)
        return await self.pull(rank, token, 0.0)

    async def events(self, first: int, wait_seconds: float) -> News:
        """Events from number `first` on; waits a bounded time for one."""
        deadline = time.monotonic() + wait_seconds
        while len(self._ledger.events) <= first and await self._wait_until(deadline, self._told):
            pass
        gather = min(_GATHER_SECONDS * len(self._ledger.present), _MOST_SECONDS)
        if not self._waiting:
            await self._wait_until(self._answered + gather, self._idle)
        self._answered = time.monotonic()
        return News(self._ledger.events[first:], self._life)

    async def cancel(self, trial: str) -> None:
        """Stop a trial's folds."""
        await self._do("cancel", trial)

    async def close(self, cancel: bool = False) -> None:
        """Let the workers' loops end."""
        await self._do("close", cancel)

    async def _do(self, name: str, *arguments: Any) -> Any:
        """A call that changes the ledger; it is in the journal before it is answered."""
        timed = (time.monotonic(), *arguments)
        answer = getattr(self._ledger, name)(*timed)
        self._journal.write(name, timed)
        await self._notify(self._told)
        if name not in _FREES_NOTHING:
            await self._notify(self._freed)
        return answer

    async def _wait_for_task(self, deadline: float) -> bool:
        """Wait until there may be one; False when the deadline has passed."""
        self._waiting += 1
        try:
            await self._notify(self._idle)
            return await self._wait_until(deadline, self._freed)
        finally:
            self._waiting -= 1

    async def _notify(self, condition: asyncio.Condition) -> None:
        async with condition:
            condition.notify_all()

    async def _wait_until(self, deadline: float, condition: asyncio.Condition) -> bool:
        """Wait for a change; False when the deadline has passed."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        async with condition:
            try:
                await asyncio.wait_for(condition.wait(), left)
            except TimeoutError:
                return False
        return True


def start_queue(max_attempts: int, folder: Path) -> Any:
    """Start the actor on this node; it lives as long as the returned handle.

    Args:
        max_attempts: see `LeaseBook`.
        folder: on this machine's own disk, for the journal.
    """
    options = {"max_restarts": -1, "max_task_retries": -1, "max_concurrency": 10_000}
    remote = ray.remote(FoldQueue).options(num_cpus=0, scheduling_strategy=here(), **options)
    return remote.remote(max_attempts, str(folder))


def here() -> NodeAffinitySchedulingStrategy:
    """On the node of this process: what must live as long as the driver lives there."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
