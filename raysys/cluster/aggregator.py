"""The aggregation actor: it collects what the folds of a trial have stored, and answers with what it comes to.

    driver -> summary(folders of a trial's folds) -> aggregate, such as the averaged class-similarity matrix

It runs next to the driver and holds nothing: when it has died, Ray starts it again, and the call is made again.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray

from raysys.cluster.queue import here


class Aggregator:
    """See the module; made into an actor by `running_aggregator`.

    Args:
        aggregation: what is collected, such as `raysys.predictions.Aggregation`: `read` (fold folder -> what is needed
            of a fold) and `summarise` (that of all folds, by key in their order -> the aggregate).
    """

    def __init__(self, aggregation: Any) -> None:
        self._aggregation = aggregation

    def summary(self, folders: Mapping[Any, str]) -> Any:
        """The aggregate of a finished trial.

        Args:
            folders: key of a fold -> its folder.

        Raises:
            StorageError: a fold's files are missing or damaged.
        """
        read = {key: self._aggregation.read(folders[key]) for key in sorted(folders)}
        return self._aggregation.summarise(read)


class RunningAggregator:
    """The actor as a driver sees it.

    Args:
        aggregation: what is collected; None: nothing is, and there is no actor.
    """

    def __init__(self, aggregation: Any) -> None:
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        remote = ray.remote(Aggregator).options(scheduling_strategy=here(), **options)
        self.actor = remote.remote(aggregation) if aggregation else None

    def summary(self, folders: Mapping[Any, str]) -> Any:
        """See `Aggregator.summary`; None without an actor."""
        return ray.get(self.actor.summary.remote(folders)) if self.actor else None


@contextmanager
def running_aggregator(aggregation: Any) -> Iterator[RunningAggregator]:
    """The actor, for as long as it is needed; when it dies it restarts, and calls are repeated until it answers."""
    running = RunningAggregator(aggregation)
    try:
        yield running
    finally:
        if running.actor:
            ray.kill(running.actor)
