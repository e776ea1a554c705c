"""Files and folders that are written aside until they are whole and take their names; the names show who writes.

    .NAME.<machine, process, chance: 32 hex digits>

So what a killed process has left can be distinguished from what another one is writing.
"""

import hashlib
import os
import re
import socket
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

_ASIDE = re.compile(r"\..+\.([0-9a-f]{12})([0-9a-f]{8})[0-9a-f]{12}")
_OLD_SECONDS = 86_400.0
"""After which what another machine has left aside belongs to nobody."""


def aside_name(name: str) -> str:
    """Where something is written until it takes its name.

    Args:
        name: which it will have.
    """
    return f".{name}.{_machine()}{os.getpid():08x}{uuid.uuid4().hex[:12]}"


def is_left(path: Path) -> bool:
    """Whether this is what a writer left aside that is dead; another machine's is taken for dead after a day."""
    found = _ASIDE.fullmatch(path.name)
    if found is None:
        return False
    try:
        if found[1] != _machine():
            return time.time() - path.stat().st_mtime > _OLD_SECONDS
        os.kill(int(found[2], 16), 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's process, or it has just got its name
        pass
    return False


@cache
def _machine() -> str:
    """Where process ids are those of this process: 12 hex digits of this boot of this machine, or of its container."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text(),
            os.readlink("/proc/self/ns/pid"),
        ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
