"""Work outside the main thread of a command, in threads that do not keep the command alive."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_LAST_WORDS: list[Callable[[], None]] = []
_KEPT: list[str] = []


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


@contextmanager
def last_words(say: Callable[[], None], *, kept: str) -> Iterator[None]:
    """Have something said at once, outside the main thread, when a SIGTERM comes inside the block.

    Whoever sends it may kill the process soon (Ray after three seconds), before the main thread has wound up.

    Args:
        say: what is done then.
        kept: where the work is kept that is done inside the block.
    """
    _LAST_WORDS.append(say)
    _KEPT.append(kept)
    try:
        yield
    finally:
        _LAST_WORDS.remove(say)


def work_is_kept_in() -> str:
    """Folder of the run that has begun; empty where none has."""
    return _KEPT[-1] if _KEPT else ""


def say_last_words() -> None:
    """Begin to say them; called by the handler of the signal."""
    for say in _LAST_WORDS:
        threading.Thread(target=say, name="last words", daemon=True).start()
