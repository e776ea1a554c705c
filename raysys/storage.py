"""Files of runs and feature stores, on a disk or on object storage.

A `Folder` is an absolute path or a URI (s3://bucket/runs) and picklable, so workers on other machines can write to
it. Writes are atomic: a reader sees the old file or the new one, never half of one.
"""

import errno
import glob
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from filelock import FileLock, Timeout
from pydantic import BeforeValidator

from raysys.aside import aside_name, is_left
from raysys.errors import StorageError
from raysys.object_storage import SCHEMES, Bucket, open_bucket


@dataclass(frozen=True)
class Folder:
    """A folder for the files of one thing; created by the first write.

    Raises:
        StorageError: the URI is of no known kind.
    """

    uri: str
    """Absolute local path, or a URI of object storage."""

    def __post_init__(self) -> None:
        plain = self.uri.removeprefix("file://").rstrip("/") or "/"
        object.__setattr__(self, "uri", plain)
        scheme, separator, rest = plain.partition("://")
        if separator and (scheme not in SCHEMES or not rest or "?" in rest or "@" in rest):
            raise StorageError(
                f"'{self.uri}' is neither an absolute path nor a known URI: {', '.join(SCHEMES)}://BUCKET/PATH, with "
                "credentials, region and endpoint in the environment"
            )
        if not separator and not plain.startswith("/"):
            raise StorageError(f"'{self.uri}' is neither an absolute path nor a known URI")

    def __truediv__(self, name: str) -> "Folder":
        return Folder(f"{self.uri}/{name}")

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.uri.rsplit("/", 1)[-1]

    @property
    def local_path(self) -> Path | None:
        """The folder on this machine's disk, or None for object storage."""
        return None if "://" in self.uri else Path(self.uri)

    def path(self, name: str = "") -> str:
        """What to show a user: a plain path for local files, a URI otherwise."""
        return f"{self.uri}/{name}" if name else self.uri

    def exists(self, name: str = "") -> bool:
        """Whether the file (or, without a name, the folder) is there."""
        if self.local_path is not None:
            return (self.local_path / name).exists()
        bucket, key = self._object(name)
        return bucket.exists(key)

    def size(self, name: str) -> int:
        """Bytes of a file.

        Raises:
            StorageError: it is missing.
        """
        if self.local_path is None:
            bucket, key = self._object(name)
            return bucket.size(key)
        try:
            return (self.local_path / name).stat().st_size
        except OSError as error:
            raise StorageError(f"cannot read {self.path(name)}: {error}") from error

    def names(self) -> list[str]:
        """Sorted names of the entries; empty when the folder is not there."""
        if self.local_path is not None:
            return sorted(os.listdir(self.local_path)) if self.local_path.is_dir() else []
        bucket, key = self._object()
        return bucket.names(key)

    def read_bytes(self, name: str) -> bytes:
        """Whole content of a file.

        Raises:
            StorageError: it is missing or unreadable.
        """
        try:
            if self.local_path is not None:
                return (self.local_path / name).read_bytes()
            bucket, key = self._object(name)
            return bucket.read(key)
        except (OSError, StorageError) as error:
            raise StorageError(f"cannot read {self.path(name)}: {error}") from error

    def write_bytes(self, name: str, content: bytes, *, lasting: bool = True) -> None:
        """Write a file atomically.

        Args:
            name: of the file.
            content: all of it.
            lasting: wait until the disk has it, so that it survives a power cut as it is; not for what is written again
                soon.

        Raises:
            StorageError: the place is not writable or full.
        """
        self._write(name, [content], lasting=lasting)

    def _write(
        self, name: str, pieces: Iterable[bytes | memoryview], *, lasting: bool = True
    ) -> None:
        try:
            if self.local_path is None:
                bucket, key = self._object(name)
                bucket.write(key, pieces)
                return
            self.local_path.mkdir(parents=True, exist_ok=True)
            aside = self.local_path / aside_name(name)
            with aside.open("wb") as stream:
                stream.writelines(pieces)
                if lasting:
                    stream.flush()
                    os.fsync(stream.fileno())
            aside.replace(self.local_path / name)
        except (OSError, StorageError) as error:
            raise StorageError(f"cannot write {self.path(name)}: {error}") from error

    def _object(self, name: str = "") -> tuple[Bucket, str]:
        scheme, _, rest = self.uri.partition("://")
        place, _, key = rest.partition("/")
        return open_bucket(f"{scheme}://{place}"), "/".join(part for part in (key, name) if part)

    def read_json(self, name: str) -> Any:
        """Parsed JSON of a file.

        Raises:
            StorageError: missing, or not JSON.
        """
        try:
            return json.loads(self.read_bytes(name))
        except ValueError as error:
            raise StorageError(f"{self.path(name)} is not JSON: {error}") from error

    def write_json(self, name: str, content: Any) -> None:
        """Write indented JSON atomically; NaN becomes null, so every JSON reader can read it."""
        self.write_bytes(name, as_json(content).encode())

    def read_npy(self, name: str) -> np.ndarray[Any, Any]:
        """An array, memory-mapped read-only, from object storage by way of a copy on this machine. Never unpickles.

        Raises:
            StorageError: missing, truncated or not an NPY file.
        """
        try:
            if self.local_path is not None:
                file = self.local_path / name
            else:
                bucket, key = self._object(name)
                file = bucket.copy_here(key)
            found: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
            return found
        except (OSError, ValueError, EOFError, StorageError) as error:
            reason = " ".join(str(error).split())
            raise StorageError(f"cannot read {self.path(name)}: {reason}") from error

    def write_npy(self, name: str, *arrays: np.ndarray[Any, Any]) -> None:
        """Write an array, or several one after the other along their first axis, atomically in NumPy's NPY format.

        Args:
            name: of the file.
            arrays: of one type and width; they are not joined in memory. Without any, an empty table is written.

        Raises:
            ValueError: they are of different types or widths, so that their bytes would mean other numbers.
            StorageError: as `write_bytes`.
        """
        kinds = {(array.dtype.str, array.shape[1:]) for array in arrays}
        if len(kinds) > 1:
            raise ValueError(
                f"{self.path(name)}: arrays of different types or widths: {sorted(kinds)}"
            )
        first = arrays[0] if arrays else np.empty((0, 0), dtype=np.float16)
        shape = (sum(map(len, arrays)), *first.shape[1:])
        kind = np.lib.format.dtype_to_descr(first.dtype)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": kind, "fortran_order": False, "shape": shape}
        )
        pieces = (np.ascontiguousarray(array).data.cast("B") for array in arrays if array.size)
        self._write(name, chain([header.getvalue()], pieces))

    def claim(self, begin: Callable[["Folder"], None]) -> bool:
        """Create the folder for oneself alone, with what it holds from the beginning.

        Args:
            begin: writes that, and is given the folder, or one that becomes it: on a disk no folder is ever there
                without, and an empty one, which belongs to nobody, is taken.

        Returns:
            False when somebody has it already.

        Raises:
            StorageError: the place is not writable.
        """
        if self.local_path is None:
            bucket, key = self._object()
            if not bucket.claim(key):
                return False
            begin(self)
            return True
        place = self.local_path
        aside = place.with_name(aside_name(place.name))
        for left in place.parent.glob(f".{glob.escape(place.name)}.*"):
            if is_left(left):
                shutil.rmtree(left, ignore_errors=True)
        try:
            if place.exists() and (not place.is_dir() or any(place.iterdir())):
                return False
            aside.mkdir(parents=True)
            try:
                begin(Folder(str(aside)))
                aside.replace(place)
            except StorageError as error:
                raise StorageError(str(error).replace(aside.name, place.name)) from error
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    return False
                raise
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            raise StorageError(f"cannot create {self.path()}: {error}") from error
        return True

    def sweep(self) -> None:
        """Remove what writers that died have left aside, here and in all folders below; of a disk."""
        if self.local_path is None:
            return
        for folder, _, files in os.walk(self.local_path):
            for left in (Path(folder, name) for name in files):
                if is_left(left):
                    left.unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[Callable[[], None]]:
        """Keep other commands out of the folder, which exists; ends with the process, however that ends.

        On object storage it is a lease that is renewed: after a crash it ends by itself, within about a minute.

        Returns:
            What raises StorageError once the folder is no longer held, which may happen on object storage: then this
            process is interrupted (as by Ctrl-C) and may not write there any more.

        Raises:
            StorageError: another command holds it.
        """
        if self.local_path is None:
            bucket, key = self._object()
            with bucket.held(key) as holder:
                yield holder.check
            return
        lock = FileLock(self.local_path / ".lock", blocking=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise StorageError(
                f"another command is writing to {self.path()}: wait until it has ended, or end it"
            ) from error
        except (NotImplementedError, OSError):
            pass  # a disk that knows no locks
        try:
            yield lambda: None
        finally:
            lock.release()

    def remove(self, name: str) -> None:
        """Remove one file, which must be there."""
        if self.local_path is not None:
            (self.local_path / name).unlink()
            return
        bucket, key = self._object(name)
        bucket.remove(key)

    def delete(self) -> None:
        """Remove the folder and everything in it; nothing happens when it is not there."""
        if self.local_path is None:
            bucket, key = self._object()
            bucket.delete(key)
        elif self.exists():
            shutil.rmtree(self.local_path)


def bytes_digest(content: bytes) -> str:
    """SHA-256 of bytes, in 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def file_digest(file: Path) -> str:
    """SHA-256 of a local file's content, in 64 hex digits.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def resolve_folder(place: str) -> Folder:
    """The folder of a config value: a URI or absolute path as it is, a relative path under the home.

    The home is RAYSYS_HOME when set. Otherwise it is the current folder, except inside a job whose working folder Ray
    unpacked and will delete: there it is ~/raysys.
    """
    if "://" in place:
        return Folder(place)
    return Folder(str((home() / Path(place).expanduser()).resolve()))


def named_folder(place: str | Path) -> Folder:
    """A folder that a user names: a URI, or a path, also with ~ or relative to the current folder."""
    text = str(place)
    return Folder(text if "://" in text else str(Path(text).expanduser().resolve()))


def split_place(file: str) -> tuple[Folder, str]:
    """Folder and name of a file that a user names: a URI, or a path, also with ~ or relative to the current folder."""
    if "://" not in file:
        file = str(Path(file).expanduser().resolve())
    place, _, name = file.rpartition("/")
    return Folder(place or "/"), name


def home() -> Path:
    """Where relative storage paths start; see `resolve_folder`."""
    if "RAYSYS_HOME" in os.environ:
        return Path(os.environ["RAYSYS_HOME"])
    return Path.home() / "raysys" if in_submitted_job() else Path.cwd()


def in_submitted_job() -> bool:
    """Whether this is a job whose working folder Ray has unpacked, on a machine where the user is not."""
    return "working_dir_files" in Path.cwd().parts


Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A number that pydantic reads from JSON, where one that cannot be known is null."""


def with_nan(numbers: Mapping[str, float | None]) -> dict[str, float]:
    """Numbers of a JSON file: null is NaN again."""
    return {name: math.nan if value is None else value for name, value in numbers.items()}


def as_json(content: Any) -> str:
    """Indented JSON; NaN becomes null, so every JSON reader can read it."""
    return json.dumps(_without_nan(content), indent=1, ensure_ascii=False, allow_nan=False)


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    if isinstance(content, np.ndarray):
        return _without_nan(content.tolist())
    if isinstance(content, float | np.floating):
        return float(content) if np.isfinite(content) else None
    if isinstance(content, np.integer):
        return int(content)
    return content
