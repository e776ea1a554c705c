"""The aggregation actor: folds send it what they have to say, it answers with what it comes to.

    worker -> add(trial, fold key, delivered)
    driver -> summary(trial) -> aggregate, such as the averaged class-similarity matrix

Folds store what they send before they send it, so the actor's state can be rebuilt at any time: when it has died, Ray
starts it again, and `summary` reads what is missing from the folds' folders.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray

from raysys.cluster.leases import TaskKey
from raysys.cluster.queue import here


class Aggregator:
    """See the module; made into an actor by `running_aggregator`.

    Args:
        aggregation: what is collected: `read` (fold folder -> what the fold delivers) and `summarise` (what all folds
            delivered, by key in their order -> the aggregate), such as `raysys.predictions.Aggregation`.
    """

    def __init__(self, aggregation: Any) -> None:
        self._aggregation = aggregation
        self._delivered: dict[TaskKey, Any] = {}

    def add(self, trial: str, key: Any, delivered: Any) -> None:
        """Take what a fold delivers; a second delivery of the same fold changes nothing."""
        self._delivered.setdefault((trial, key), delivered)

    def summary(self, trial: str, folders: Mapping[Any, str]) -> Any:
        """The aggregate of a finished trial; what it rests on is dropped afterwards.

        Args:
            trial: name.
            folders: key of a fold -> its folder, from which is read what the actor does not hold.

        Raises:
            StorageError: neither here nor there.
        """
        for key, folder in folders.items():
            if (trial, key) not in self._delivered:
                self.add(trial, key, self._aggregation.read(folder))
        found = self._aggregation.summarise({k: self._delivered[trial, k] for k in sorted(folders)})
        self.drop(trial)
        return found

    def drop(self, trial: str) -> None:
        """Forget a trial; its folds have stored what they sent."""
        for key in [key for key in self._delivered if key[0] == trial]:
            del self._delivered[key]


class DeliverToAggregator:
    """Runs in a worker: sends what a finished fold has stored to the actor, which may be starting again."""

    def __init__(self, actor: Any, read: Callable[[str], Any]) -> None:
        self._actor = actor
        self._read = read

    def __call__(self, task: Any, result: Any) -> None:
        """Send it."""
        ray.get(self._actor.add.remote(*task.key, self._read(task.folder)))


class RunningAggregator:
    """The actor as a driver sees it.

    Args:
        aggregation: what is collected; None: nothing is, and there is no actor.
    """

    def __init__(self, aggregation: Any) -> None:
        self._read = aggregation.read if aggregation else None
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        remote = ray.remote(Aggregator).options(scheduling_strategy=here(), **options)
        self.actor = remote.remote(aggregation) if aggregation else None

    @property
    def deliver(self) -> DeliverToAggregator | None:
        """What workers call with every result."""
        return DeliverToAggregator(self.actor, self._read) if self._read else None

    def summary(self, trial: str, folders: Mapping[Any, str]) -> Any:
        """See `Aggregator.summary`; None without an actor."""
        return ray.get(self.actor.summary.remote(trial, folders)) if self.actor else None

    def drop(self, trial: str) -> None:
        """See `Aggregator.drop`."""
        if self.actor:
            self.actor.drop.remote(trial)


@contextmanager
def running_aggregator(aggregation: Any) -> Iterator[RunningAggregator]:
    """The actor, for as long as it is needed; when it dies it restarts, and calls are repeated until it answers."""
    running = RunningAggregator(aggregation)
    try:
        yield running
    finally:
        if running.actor:
            ray.kill(running.actor)
