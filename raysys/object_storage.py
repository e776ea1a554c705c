"""Object storage (s3://, gs://, az://) as folders: whole objects, and a lease where a disk has a lock.

obstore speaks to the service; credentials, region and endpoint come from the environment (AWS_ACCESS_KEY_ID,
AWS_REGION, AWS_ENDPOINT_URL ...) or from the machine's own role. An object is there once it is whole.

    .lease    {token, owner, renewed, seconds}    token "" is free
    claim     put, only if absent           -> exactly one command creates a folder
    take      put, only if still what was read, when that was free or has expired
    renew     put, only if still one's own, every seconds / 3

No two machines' clocks are compared: a lease has expired when the service's own time stamps say so, and its holder
counts from before it sent its last renewal, so it gives up before anybody else may take over.
"""

import getpass
import hashlib
import json
import os
import signal
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import ObjectStore, from_url

from raysys.errors import StorageError

SCHEMES = ("s3", "gs", "az", "abfs")
_LEASE, _NOW = ".lease", ".lease.now"
_LEASE_SECONDS = 60.0
_SKEW = 2.0
"""Two time stamps are whole seconds, each cut off: their difference is wrong by up to one; and one for luck."""
_FAILURES = (BaseError, OSError)
"""What obstore raises: missing objects are FileNotFoundError."""


class Bucket:
    """Objects under keys; use `open_bucket`.

    Args:
        uri: scheme and bucket.
    """

    def __init__(self, uri: str) -> None:
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http:")
        self._uri = uri
        self.store: ObjectStore = from_url(
            uri,
            client_options={"timeout": "300s", "connect_timeout": "5s", "allow_http": plain},
            retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=60)},
        )

    def exists(self, key: str) -> bool:
        """Whether there is such an object, or anything below it."""
        with self._told(key):
            try:
                obstore.head(self.store, key)
                return True
            except FileNotFoundError:
                return bool(self.names(key))

    def size(self, key: str) -> int:
        """Bytes of an object."""
        with self._told(key):
            return int(obstore.head(self.store, key)["size"])

    def names(self, key: str) -> list[str]:
        """Sorted names of what is directly below a key, leases left out."""
        with self._told(key):
            found = obstore.list_with_delimiter(self.store, f"{key}/")
        keys = [one["path"] for one in found["objects"]] + list(found["common_prefixes"])
        return sorted({one.rstrip("/").rsplit("/", 1)[-1] for one in keys} - {_LEASE, _NOW})

    def read(self, key: str) -> bytes:
        """Content of an object."""
        with self._told(key):
            return bytes(obstore.get(self.store, key).bytes())

    def write(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Write an object: the old one or the new one is there, whatever happens."""
        with self._told(key):
            obstore.put(self.store, key, b"".join(pieces))

    def remove(self, key: str) -> None:
        """Remove one object."""
        with self._told(key):
            obstore.delete(self.store, key)

    def delete(self, key: str) -> None:
        """Remove all objects below a key."""
        with self._told(key):
            for batch in obstore.list(self.store, f"{key}/"):
                obstore.delete(self.store, [one["path"] for one in batch])

    def copy_here(self, key: str) -> Path:
        """A file on this machine with the object's content, fetched once and kept in the folder for temporary files."""
        with self._told(key):
            tag = obstore.head(self.store, key)["e_tag"]
            name = hashlib.sha256(f"{self._uri}/{key} {tag}".encode()).hexdigest()[:32]
            folder = Path(tempfile.gettempdir()) / f"raysys-objects-{os.getuid()}"
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.stat().st_uid != os.getuid():
                raise StorageError(f"{folder} belongs to somebody else: set TMPDIR")
            file = folder / name
            if not file.exists():
                aside = folder / f".{name}.{uuid.uuid4().hex}"
                with aside.open("wb") as stream:
                    for piece in obstore.get(self.store, key):
                        stream.write(piece)
                aside.rename(file)
            return file

    def claim(self, key: str) -> bool:
        """Create a folder for oneself alone; False when anything is in it already, or somebody else was faster.

        A claim behind which nothing came for as long as a lease lasts is that of a dead command, and is taken over.
        """
        with self._told(key):
            if self.exists(key):
                return False
            mark = _Lease(owner=f"claimed by {_me()} {uuid.uuid4().hex}")
            try:
                obstore.put(self.store, f"{key}/{_LEASE}", _bytes(mark), mode="create")
            except AlreadyExistsError:
                found, etag, modified = _read(self.store, key)
                if found.owner == mark.owner:  # an answer was lost, and the client asked again
                    return True
                age = (_service_time(self.store, key) - modified).total_seconds()
                if age <= (found.seconds or _LEASE_SECONDS) + _SKEW:
                    return False
                mark = replace(mark, renewed=found.renewed + 1)
                try:
                    obstore.put(self.store, f"{key}/{_LEASE}", _bytes(mark), mode={"e_tag": etag})
                except PreconditionError:
                    return _read(self.store, key)[0].owner == mark.owner
            return True

    @contextmanager
    def held(self, key: str) -> Iterator["Holder"]:
        """Keep other commands out of a folder. When the lease is lost, the main thread is interrupted.

        Raises:
            StorageError: another command holds it, or took it over meanwhile.
        """
        with self._told(key):
            holder = Holder(self.store, key, f"{self._uri}/{key}")
            holder.take()
        try:
            yield holder
        except KeyboardInterrupt:
            holder.check()  # it may be ours
            raise
        finally:
            holder.release()
        holder.check()

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            reason = str(error).strip().splitlines()[0][:300]
            raise StorageError(f"{self._uri}/{key}: {reason}") from error


@lru_cache(maxsize=32)
def open_bucket(uri: str) -> Bucket:
    """The bucket of a URI, opened once.

    Raises:
        StorageError: the URI or the environment is not what the service needs.
    """
    try:
        return Bucket(uri)
    except (*_FAILURES, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise StorageError(f"'{uri}' cannot be used ({reason})") from error


@dataclass(frozen=True)
class _Lease:
    token: str = ""
    owner: str = ""
    renewed: int = 0
    """An ETag is often the MD5 of the content, so every write must differ."""
    seconds: float = 0.0


class Holder:
    """A lease while it is held.

    Args:
        store: of the bucket.
        key: of the folder.
        place: the same, for people.
        seconds: after which it ends unless it is renewed.
    """

    def __init__(
        self, store: ObjectStore, key: str, place: str, seconds: float = _LEASE_SECONDS
    ) -> None:
        self._store, self._key, self._place = store, key, place
        self._own = _Lease(uuid.uuid4().hex, _me(), 0, seconds)
        self._etag = ""
        self._until = 0.0
        self._lost = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def take(self) -> None:
        """Take a lease that is free, has expired or is not there, and begin to renew it.

        Raises:
            StorageError: another command has it.
        """
        try:
            found, etag, modified = _read(self._store, self._key)
        except FileNotFoundError:
            found, etag, modified = _Lease(), "", None
        if found.token and modified is not None:
            age = (_service_time(self._store, self._key) - modified).total_seconds()
            if age <= found.seconds + _SKEW:
                raise StorageError(
                    f"another command ({found.owner}) is writing to {self._place}, as it said {age:.0f} s ago: wait "
                    f"until it has ended, or end it; if it was killed, its claim ends in "
                    f"{found.seconds + _SKEW - age:.0f} s"
                )
        self._own = replace(self._own, renewed=found.renewed)
        try:
            self._put(self._own, etag)
        except (PreconditionError, AlreadyExistsError) as error:
            if not self._is_own():
                raise StorageError(
                    f"another command has just begun to write to {self._place}: wait until it has ended"
                ) from error
        self._thread.start()

    def check(self) -> None:
        """Nothing is asked: it costs nothing.

        Raises:
            StorageError: the lease is lost, or so old that it may be.
        """
        if not self._lost and not self._ended.is_set() and _clock() > self._until:
            raise StorageError(f"{self._place} was not renewed: another command may have it")
        if self._lost:
            raise StorageError(self._lost)

    def release(self) -> None:
        """Free it, unless it is lost."""
        self._ended.set()
        self._thread.join(30.0)
        if not self._lost:
            with suppress(*_FAILURES):  # then it expires, or the folder was deleted
                self._put(_Lease(renewed=self._own.renewed), self._etag)

    def _renew(self) -> None:
        while not self._lost and not self._ended.wait(self._own.seconds / 3):
            try:
                self._put(self._own, self._etag)
            except PreconditionError:
                self._look()
            except _FAILURES:
                self._give_up_late()

    def _look(self) -> None:
        """Somebody has written the lease: another command, or ourselves and the answer was lost."""
        try:
            if not self._is_own():
                found, _, _ = _read(self._store, self._key)
                self._lose(f"{found.owner or 'another command'} has taken {self._place} over")
        except FileNotFoundError:  # the folder was deleted, by ourselves if all is well
            self._until = _clock() + self._own.seconds
        except _FAILURES:
            self._give_up_late()

    def _give_up_late(self) -> None:
        if _clock() > self._until:
            self._lose(f"{self._place} does not answer: another command may have it by now")

    def _lose(self, why: str) -> None:
        self._lost = why
        if not self._ended.is_set():  # a command in the background of a shell ignores Ctrl-C
            ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM if ignored else signal.SIGINT)

    def _put(self, lease: _Lease, etag: str) -> None:
        sent = _clock()
        lease = replace(lease, renewed=lease.renewed + 1)
        mode: Any = {"e_tag": etag} if etag else "create"
        self._own = replace(self._own, renewed=lease.renewed)
        done = obstore.put(self._store, f"{self._key}/{_LEASE}", _bytes(lease), mode=mode)
        self._etag, self._until = done["e_tag"] or "", sent + lease.seconds

    def _is_own(self) -> bool:
        found, etag, _ = _read(self._store, self._key)
        if (found.token, found.renewed) != (self._own.token, self._own.renewed):
            return False
        self._etag = etag  # `_until` stays that of the write before: too early is safe
        return True


def _service_time(store: ObjectStore, key: str) -> datetime:
    """Now, by the service's clock."""
    name = f"{key}/{_NOW}"
    obstore.put(store, name, uuid.uuid4().bytes)
    return obstore.head(store, name)["last_modified"]


def _read(store: ObjectStore, key: str) -> tuple[_Lease, str, datetime]:
    found = obstore.get(store, f"{key}/{_LEASE}")
    lease = _Lease(**json.loads(bytes(found.bytes())))
    return lease, found.meta["e_tag"] or "", found.meta["last_modified"]


def _bytes(lease: _Lease) -> bytes:
    return json.dumps(asdict(lease)).encode()


def _me() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"


def _clock() -> float:
    """Seconds, those in which the machine slept included where the system counts them."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)
