"""Threads whose folds are trained together from the first of their works on."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from raysys import together
from raysys.together import seated

_SECONDS = 120


def all_at_once(*works: Callable[[], Any]) -> list[Any]:
    """What folds return that train together; all are seated, in this order, before the first one's turn."""

    def fold(work: Callable[[], Any]) -> Any:
        with seated():
            return work()

    with ThreadPoolExecutor(len(works)) as threads:
        with seated():  # nobody's turn comes yet
            futures = []
            for count, work in enumerate(works, 1):
                futures.append(threads.submit(fold, work))
                _wait_for(lambda count=count: len(together._TABLE.ready) == count)
        return [future.result(timeout=_SECONDS) for future in futures]


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
