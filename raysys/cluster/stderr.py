"""What libraries that are not Python print on this process' stderr."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_WAIT_SECONDS = 5.0


@contextmanager
def without(said: bytes) -> Iterator[None]:
    """Lines of this process' stderr that hold something are left out; all others are passed on as they come.

    For what Ray's core prints, which is not Python.

    Args:
        said: what such a line holds.
    """
    kept = os.dup(2)
    source, sink = os.pipe()
    os.dup2(sink, 2)
    os.close(sink)

    def pass_on() -> None:
        with os.fdopen(source, "rb") as lines:
            for line in lines:
                if said not in line:
                    os.write(kept, line)

    reader = threading.Thread(target=pass_on, name="stderr", daemon=True)
    reader.start()
    try:
        yield
    finally:
        os.dup2(kept, 2)  # the pipe's last end: the reader comes to its end
        reader.join(_WAIT_SECONDS)  # a process that was started meanwhile may hold the pipe
        if not reader.is_alive():
            os.close(kept)
