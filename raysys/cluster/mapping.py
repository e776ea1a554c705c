"""Work on many portions by Ray Data: actors that hold what does it, results as they come.

portions -> actors (one a worker) -> (place of the portion, result)
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from raysys.cluster.extraction import Row, as_row, content_of, quiet
from raysys.cluster.nodes import slots
from raysys.cluster.session import ray_session
from raysys.cluster.stderr import without
from raysys.config.running import ClusterConfig
from raysys.errors import RaysysError


def on_workers(
    make: Callable[[], Callable[[Any], Any]],
    portions: Sequence[Any],
    cluster: ClusterConfig,
) -> Iterator[tuple[int, Any]]:
    """Results of portions, in the order in which they are done; a worker that dies is replaced.

    Args:
        make: makes, once in each worker, what does a portion.
        portions: each small enough to be sent.
        cluster: Ray, number and size of the workers.

    Raises:
        PoolError: Ray cannot be reached.
        RaysysError: what a portion could not be done for.
    """
    cpus = cluster.cpus_per_fold

    class Work:
        """As a class of its own it needs no arguments, which Ray could not restore for a second start."""

        def __init__(self) -> None:
            torch.set_num_threads(max(1, round(cpus)))
            self._failed: RaysysError | None = None
            try:
                self._do = make()
            except RaysysError as error:
                self._failed = error

        def __call__(self, row: Row) -> Row:
            if self._failed:
                return as_row(self._failed)
            place, portion = content_of(row["portion"][0])
            try:
                return as_row((place, self._do(portion)))
            except RaysysError as error:
                return as_row(error)

    with ray_session(cluster):
        import ray.data  # takes a second

        quiet()
        workers = max(1, min(cluster.workers or slots(cluster), len(portions)))
        items = [{"portion": ray.cloudpickle.dumps(item)} for item in enumerate(portions)]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            Work,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=cpus,
            num_gpus=cluster.gpus or None,
        )
        with without(b"constructor arguments in the object store"):
            rows = iter(done.iter_rows())
            row = next(rows, None)
        while row is not None:
            found = content_of(row["portion"])
            if isinstance(found, RaysysError):
                raise found
            yield found
            row = next(rows, None)
