"""Whether every node sees the folder of the runs: what a fold writes elsewhere, nobody finds."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysys.errors import PoolError
from raysys.storage import Folder

_LATE_SECONDS = 15.0
"""For which a network disk may not show a new file yet."""


@contextmanager
def marker_in(folder: Folder) -> Iterator[str]:
    """The path of a new file that lies in a folder meanwhile; empty for object storage, which is the same everywhere.

    Args:
        folder: of all runs.
    """
    if folder.local_path is None:
        yield ""
        return
    marker = folder.local_path / f".shared-{uuid.uuid4().hex}"
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    try:
        yield str(marker)
    finally:
        marker.unlink(missing_ok=True)


def must_see(node: str, address: str, marker: str) -> None:
    """Refuse a node that does not see a file.

    Args:
        node: id of a node that is there.
        address: how people know it.
        marker: path of the file.

    Raises:
        PoolError: it does not see it.
    """
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    look = ray.remote(_is_there).options(num_cpus=0, scheduling_strategy=there)
    with suppress(ray.exceptions.RayError):  # the node is gone meanwhile
        if not ray.get(look.remote(marker)):
            raise PoolError(
                f"node {address} does not see {Path(marker).parent}, where the runs are kept: set --storage.runs to a "
                "folder that all nodes share, or to object storage (s3://BUCKET/runs)"
            )


def _is_there(path: str) -> bool:
    deadline = time.monotonic() + _LATE_SECONDS
    while not Path(path).exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
