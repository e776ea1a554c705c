"""A connection to a cluster that runs already, looked at before Ray tries it for minutes."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import ray

from raysys.cluster.stderr import without
from raysys.errors import PoolError

_PROBE_SECONDS = 5.0
_PORT = 6379
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a connection of HTTP/2 begins, with empty settings (RFC 9113, 3.4)."""
_SETTINGS = 4
"""The type of the frame that any server of HTTP/2, as Ray's GCS, sends first."""

_WITNESS = """
import sys
if not sys.stdin.buffer.read(1):
    sys.exit(
        "error: the command ended without a word: it was killed, or the cluster's head or this machine's raylet is gone"
        ", and Ray ends it then. Where the cluster is gone, start it again; the same command with --resume goes on"
    )
"""
"""A program that reads a byte when all is well, and nothing once the process that holds the pipe is dead."""


def join_ray(address: str, environment: Mapping[str, str]) -> None:
    """Connect to a cluster.

    Args:
        address: host:port of its GCS, or auto for one on this machine.
        environment: variables for its workers.

    Raises:
        PoolError: it is no such address, or nothing answers there, or Ray refuses; the message has the remedy.
    """
    check_address(address)
    where = f"Ray at {address}"
    # Of a head that is gone, this process speaks itself, and once.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        with without(b"Set ray log level from environment"):
            ray.init(
                address=address,
                runtime_env={"env_vars": dict(environment)},
                log_to_driver=False,
                logging_level="ERROR",
            )
    except (Exception, SystemExit) as error:  # Ray has no class of its own for it
        reason = " ".join(str(error).split())[:300]
        remedy = (
            "set RAY_AUTH_TOKEN, or copy the head's ~/.ray/auth_token here"
            if isinstance(error, ray.exceptions.AuthenticationError)
            else "check --cluster.address (or RAY_ADDRESS), that this machine is one of its nodes, and, where the "
            "cluster asks for a token, RAY_AUTH_MODE=token and ~/.ray/auth_token"
        )
        raise PoolError(f"cannot reach {where} ({reason}): {remedy}") from error


def check_address(address: str) -> None:
    """Refuse what is no address of a cluster, or where none answers: Ray would try for minutes.

    Raises:
        PoolError: see the message.
    """
    where = f"Ray at {address}"
    if "://" in address:
        raise PoolError(
            f"cannot reach {where}: a command runs on the cluster and takes HOST:{_PORT} of its head; from elsewhere, "
            "submit it with 'ray job submit' (configs/CLUSTER.md), or unset RAY_ADDRESS for a local Ray"
        )
    if address not in ("auto", "local"):
        _probe(address, where)


@contextmanager
def witnessed() -> Iterator[None]:
    """Whatever ends this process inside, a line is printed.

    A Ray that has lost the head, or the raylet next to it, may end the process on the spot, without Python: another
    process waits for that.
    """
    witness = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _WITNESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal is not meant for it
    )
    assert witness.stdin is not None
    try:
        yield
    finally:
        with suppress(OSError):
            witness.stdin.write(b".")
            witness.stdin.close()
        witness.wait()


def _probe(address: str, where: str) -> None:
    """Refuse an address where no GCS answers: Ray would try it for minutes."""
    host, _, port = address.rpartition(":")
    remedy = "check --cluster.address (or RAY_ADDRESS) and 'ray status' on the head, or unset it for a local Ray"
    if not host or not port.isdigit():
        raise PoolError(f"'{address}' is no address of Ray: it is HOST:PORT, as head:{_PORT}")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _PROBE_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            connection.settimeout(_PROBE_SECONDS)
            connection.sendall(_HELLO)
            answer = b""
            with suppress(TimeoutError):
                while len(answer) <= 3 and (piece := connection.recv(64)):
                    answer += piece
    except (OSError, OverflowError) as error:
        raise PoolError(f"cannot reach {where} ({error}): {remedy}") from error
    if answer[3:4] != bytes([_SETTINGS]):
        raise PoolError(
            f"cannot reach {where}: what answers there is not Ray's GCS (port {_PORT}, unless it was started with "
            f"another): {remedy}"
        )
