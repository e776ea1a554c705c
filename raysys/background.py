"""Work beside the main thread of a command, in order, in one thread that does not keep the command alive."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """A daemon thread that does jobs one after the other.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.Queue[tuple[Callable[[], Any], Future[Any]]] = queue.Queue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def do(self, job: Callable[[], T]) -> "Future[T]":
        """Queue a job; its error is raised by `Future.result`."""
        future: Future[T] = Future()
        self._jobs.put((job, future))
        return future

    def _work(self) -> None:
        while True:
            job, future = self._jobs.get()
            try:
                future.set_result(job())
            except BaseException as error:  # whoever asks for the result gets it
                future.set_exception(error)
