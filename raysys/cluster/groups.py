"""The pool's workers: groups of Ray Train, which come and go with the nodes.

A group lives on one node. When a node with room is there, a group is started on it, at the beginning and at any time
later; when a node is gone, or will be soon, what its workers held goes back to the queue and others go on. In a group,
a worker that dies is replaced in its place and the others are not touched: none has anything to say to another.
"""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from raysys.cluster.nodes import Node, divide, release_orphans, resources, survey
from raysys.cluster.sharing import must_see
from raysys.cluster.worker import ApartConfig, worker_loop
from raysys.config.running import ClusterConfig

_TICK_SECONDS = 1.0
_USE_SECONDS = 10.0
"""Seconds within which a group of workers should see and use free room."""
_FAILED_STARTS = 3
"""Groups in a row that end before any of their workers says hello: then the reason is not chance."""


@dataclass
class _Group:
    node: str
    workers: int
    ranks: range
    """Of the tasks that its workers do at the same time, one or more each."""
    thread: threading.Thread | None = None
    failure: BaseException | None = None
    leaving: bool = False
    greeted: set[int] = field(default_factory=set)

    @property
    def has_ended(self) -> bool:
        return self.thread is not None and not self.thread.is_alive()


class _Demand:
    """Asks an autoscaler, where there is one, for room for more workers.

    Placement groups that wait are what an autoscaler sees. One that has found its place is given up at once, and
    nothing is asked for while workers come to use the room: the next group would take it from them.

    Args:
        worker: resources of one.
    """

    def __init__(self, worker: dict[str, float]) -> None:
        self._worker = worker
        self._waiting: list[PlacementGroup] = []
        self._found = -_USE_SECONDS
        """When there was room last, by the monotonic clock."""

    def withdraw(self) -> None:
        """Give up what has been placed."""
        for group in [one for one in self._waiting if one.wait(timeout_seconds=0)]:
            self._waiting.remove(group)
            remove_placement_group(group)
            self._found = time.monotonic()

    def state(self, count: int) -> None:
        """Have so many wait from now on."""
        while len(self._waiting) > max(0, count):
            remove_placement_group(self._waiting.pop())
        if time.monotonic() < self._found + _USE_SECONDS:
            return
        while len(self._waiting) < count:
            self._waiting.append(placement_group([self._worker]))


class _Trainer(DataParallelTrainer):  # type: ignore[misc]
    """Without Ray's cleaner of placement groups, as `release_orphans` does that.

    The cleaner is an actor that outlives the driver, and does not end where its controller was killed.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [one for one in callbacks if not isinstance(one, PlacementGroupCleanerCallback)]


class WorkerGroups:
    """Keeps as many workers as are wanted and the cluster has room for.

    Args:
        queue: the pool's.
        config: size and number of workers, placement.
        most: workers that are wanted at most.
        folder: on this machine, for Ray Train's own state; workers report nothing to it.
        settings: of `worker_loop`, but for the ranks.
        together: tasks that a worker does at the same time.
        marker: path of a file that every node must see; empty for none.
    """

    def __init__(
        self,
        queue: Any,
        config: ClusterConfig,
        *,
        most: int,
        folder: Path,
        settings: dict[str, Any],
        together: int = 1,
        marker: str = "",
    ) -> None:
        self._queue = queue
        self._together = together
        self._marker = marker
        self._seeing = {ray.get_runtime_context().get_node_id()}
        """Nodes that are known to see the marker."""
        self._config = config
        self.wanted = min(config.workers or most, most)
        """Workers at most."""
        self._folder = folder
        self._settings = settings | {"together": together}
        self._groups: list[_Group] = []
        self._next_rank = 0
        self._demand = _Demand(resources(config))
        self._failed_starts = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="worker-groups", daemon=True)
        self.failure: BaseException | None = None
        """Why there will be no workers."""
        self.seen = time.monotonic()
        """`time.monotonic()` when there was a worker last; at first, when they were asked for."""
        self.had_worker = False
        """Whether there ever was one."""
        self.waits = False
        """Whether all nodes that are large enough are in use, and there is no worker."""
        self._asked: float | None = None
        nodes = survey(config)
        self.has_room = _slots(nodes) > 0
        """Whether a node is large enough for one worker."""
        self.workers = self._room(nodes)
        """Workers that are wanted and for which there is room."""

    @property
    def silent_seconds(self) -> float:
        """For how long the cluster's head has not answered what it was asked."""
        asked = self._asked
        return 0.0 if asked is None else time.monotonic() - asked

    def start(self) -> None:
        """Begin to start workers, in the background."""
        self._thread.start()

    def end(self, seconds: float) -> bool:
        """Start no more; wait for workers that the queue tells to end.

        Returns:
            Whether they have ended.
        """
        deadline = time.monotonic() + seconds
        self._ending.set()
        threads = [self._thread, *(group.thread for group in self._groups if group.thread)]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _supervise(self) -> None:
        try:
            while not self._ending.is_set():
                self._tick()
                self._ending.wait(_TICK_SECONDS)
            self._demand.state(0)
        except BaseException as error:  # kept for the driver, which asks in `poll`
            self.failure = error

    def _tick(self) -> None:
        """Look at the nodes and the groups, and do what has changed."""
        self._asked = time.monotonic()
        self._demand.withdraw()
        nodes = survey(self._config)
        self._asked = None
        self._greet()
        for group in [one for one in self._groups if one.has_ended or one.node not in nodes]:
            self._let_go(group)
        for group in self._groups:
            if nodes[group.node].leaving and not group.leaving:
                group.leaving = True
                ray.get(self._queue.leave.remote(list(group.ranks)))
        if any(group.greeted for group in self._groups):
            self.seen, self._failed_starts, self.had_worker = time.monotonic(), 0, True
        self.has_room = _slots(nodes) > 0
        self.workers = self._room(nodes)
        release_orphans()
        for node, count in self._missing(nodes).items():
            if self._marker and node not in self._seeing:
                must_see(node, nodes[node].address, self._marker)
                self._seeing.add(node)
            self._start_group(node, count)
        self.waits = self.has_room and not self._groups
        there = sum(group.workers for group in self._groups if not group.leaving)
        self._demand.state(min(self.wanted, self._config.max_workers) - there)

    def _greet(self) -> None:
        """See who of those that were started has come."""
        coming = [group for group in self._groups if len(group.greeted) < len(group.ranks)]
        present = set(ray.get(self._queue.present.remote())) if coming else set()
        for group in coming:
            group.greeted.update(present.intersection(group.ranks))

    def _let_go(self, group: _Group) -> None:
        """A group that has ended, or whose node is gone."""
        self._groups.remove(group)
        ray.get(self._queue.lost.remote(list(group.ranks)))
        if group.failure is not None and not group.greeted:
            self._failed_starts += 1
            if self._failed_starts >= _FAILED_STARTS:
                raise group.failure

    def _missing(self, nodes: dict[str, Node]) -> dict[str, int]:
        """Node -> workers to start there."""
        staying = [group for group in self._groups if not group.leaving]
        taken, coming = Counter[str](), Counter[str]()
        for group in staying:
            taken[group.node] += group.workers
            coming[group.node] += group.workers - len(group.greeted) // self._together
        room = {name: one.free - coming[name] for name, one in nodes.items() if not one.leaving}
        count = self.wanted - taken.total()
        return divide(room, taken, count, self._config.placement)

    def _room(self, nodes: dict[str, Node]) -> int:
        return max(1, min(self.wanted, _slots(nodes)))

    def _start_group(self, node: str, count: int) -> None:
        end = self._next_rank + count * self._together
        group = _Group(node, count, range(self._next_rank, end))
        self._next_rank = end
        name = f"worker-group-{group.ranks.start}"
        group.thread = threading.Thread(target=self._fit, args=[group], name=name, daemon=True)
        self._groups.append(group)
        group.thread.start()

    def _fit(self, group: _Group) -> None:
        settings = self._settings | {"first_rank": group.ranks.start}
        try:
            _Trainer(
                worker_loop,
                train_loop_config={"settings": ray.cloudpickle.dumps(settings)},
                backend_config=ApartConfig(),
                scaling_config=ScalingConfig(
                    num_workers=group.workers,
                    use_gpu=self._config.gpus > 0,
                    resources_per_worker=resources(self._config),
                    placement_strategy="PACK",
                    label_selector={"ray.io/node-id": group.node},
                ),
                run_config=RunConfig(
                    name=f"pool-{time.time_ns()}-{group.ranks.start}",
                    storage_path=str(self._folder),
                    failure_config=FailureConfig(max_failures=-1, controller_failure_limit=0),
                ),
            ).fit()
        except BaseException as error:  # kept for `_let_go`
            group.failure = error


def _slots(nodes: dict[str, Node]) -> int:
    """Workers for which there are nodes that stay."""
    return sum(node.slots for node in nodes.values() if not node.leaving)
