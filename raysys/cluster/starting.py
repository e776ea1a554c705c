"""A Ray of its own for a command on one machine, which nobody else on the network can reach.

A local Ray listens on all interfaces, behind a token. Ray has a switch by which every process of it (GCS, raylet,
agents, workers, driver) listens on the loopback device alone; it is read when Ray is imported and by each process.
"""

import errno
import os
import secrets
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import ray
import ray._private.ray_constants as constants
from ray._private.utils import psutil  # Ray brings its own

from raysys.errors import PoolError

_TRIES = 3
_PAUSE_SECONDS = 2.0
_SWITCH = constants.ENABLE_RAY_CLUSTERS_ENV_VAR
_SLOW = ("timed out", "Failed to start GCS", "Failed to get the system config", "node failed")
"""In what Ray says when its processes are not there soon enough, as on a busy machine."""


def start_ray() -> None:
    """Start a Ray that ends with this process, on the loopback device, and connect to it.

    Raises:
        PoolError: Ray cannot start here; the message has the remedy.
    """
    _make_token()
    before = set(psutil.Process().children())
    for left in reversed(range(_TRIES)):
        try:
            with _on_loopback():
                ray.init(
                    address="local",
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                )
            return
        except (Exception, SystemExit) as error:  # Ray has no class of its own for it
            ray.shutdown()
            _end(set(psutil.Process().children()) - before)
            reason = " ".join(str(error).split())
            if not left or not any(word in reason for word in _SLOW):
                raise PoolError(f"Ray cannot start here: {_remedy(error, reason)}") from error
            print("Ray was not up in time: it is started again", file=sys.stderr)
            time.sleep(_PAUSE_SECONDS)


def _end(processes: set[Any]) -> None:
    """End what a start that failed has left behind."""
    for one in processes:
        with suppress(psutil.Error):
            one.terminate()
    _, alive = psutil.wait_procs(processes, timeout=5.0)
    for one in alive:
        with suppress(psutil.Error):
            one.kill()


def _remedy(error: BaseException, reason: str) -> str:
    said = reason[:300]
    place = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    if "AF_UNIX path length" in reason:
        return (
            f"the folder for temporary files has too long a path for its sockets ({place}): set RAY_TMPDIR to a short "
            "one, as RAY_TMPDIR=/tmp"
        )
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in reason:
        return f"the disk of {place} is full ({said}): make room, or set RAY_TMPDIR to a folder on another one"
    if isinstance(error, OSError):
        return f"it cannot write its files ({said}): set RAY_TMPDIR to a folder that you can write, as /tmp"
    if any(word in reason for word in _SLOW):
        return (
            f"its processes were not up in time, {_TRIES} times ({said}): the machine may be busy or short of memory; "
            f"its logs are in {place}/ray/session_latest/logs"
        )
    return f"{said}; its logs are in {place}/ray/session_latest/logs"


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Ray's switch, for this process and those that it starts."""
    was = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    os.environ[_SWITCH] = "0"
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = was
        os.environ.pop(_SWITCH, None)


def _make_token() -> None:
    """A token that only this user can read: Ray would write one readable by everyone; who has it can run code here.

    Where the home cannot be written, it stays in the environment of this process and its children.
    """
    if "RAY_AUTH_TOKEN" in os.environ or os.environ.get("RAY_AUTH_MODE") == "disabled":
        return
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        if file.is_file():
            with suppress(PermissionError):  # somebody else's, meant for several
                file.chmod(0o600)
            return
        if named:
            return  # Ray says that it is missing
        file.parent.mkdir(mode=0o700, exist_ok=True)
        aside = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(_token())
        try:
            os.link(aside, file)  # whole, or not at all: another command may be reading it
        finally:
            aside.unlink()
    except FileExistsError:  # another command was faster
        pass
    except OSError:
        os.environ["RAY_AUTH_TOKEN"] = _token()


@cache
def _token() -> str:
    """The same for every Ray of this process, which reads it once."""
    return secrets.token_hex(32)
