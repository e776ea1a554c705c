"""Files of runs and feature stores, on a local disk or on object storage, through pyarrow.fs.

A `Folder` is an absolute path or a URI (s3://bucket/runs) and picklable, so workers on other machines can write to
it. Writes are atomic: a reader sees the old file or the new one, never half of one.
"""

import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from pyarrow import fs

from raysys.errors import StorageError


@dataclass(frozen=True)
class Folder:
    """A folder for the files of one thing; created by the first write.

    Raises:
        StorageError: the URI is of no known kind.
    """

    uri: str
    """Absolute local path, or a URI that pyarrow.fs knows."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "uri", self.uri.rstrip("/") or "/")
        _open(self.uri)

    def __truediv__(self, name: str) -> "Folder":
        return Folder(f"{self.uri}/{name}")

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.uri.rsplit("/", 1)[-1]

    @property
    def local_path(self) -> Path | None:
        """The folder on this machine's disk, or None for object storage."""
        system, path = _open(self.uri)
        return Path(path) if isinstance(system, fs.LocalFileSystem) else None

    def path(self, name: str = "") -> str:
        """What to show a user: a plain path for local files, a URI otherwise."""
        base = str(self.local_path) if self.local_path else self.uri
        return f"{base}/{name}" if name else base

    def exists(self, name: str = "") -> bool:
        """Whether the file (or, without a name, the folder) is there."""
        system, path = _open(self.uri)
        target = f"{path}/{name}" if name else path
        return bool(system.get_file_info(target).type != fs.FileType.NotFound)

    def names(self) -> list[str]:
        """Sorted names of the entries; empty when the folder is not there."""
        system, path = _open(self.uri)
        selector = fs.FileSelector(path, allow_not_found=True)
        return sorted(entry.base_name for entry in system.get_file_info(selector))

    def read_bytes(self, name: str) -> bytes:
        """Whole content of a file.

        Raises:
            StorageError: it is missing or unreadable.
        """
        system, path = _open(self.uri)
        try:
            with system.open_input_stream(f"{path}/{name}") as stream:
                return bytes(stream.read())
        except OSError as error:
            raise StorageError(f"cannot read {self.path(name)}: {error}") from error

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file atomically.

        Raises:
            StorageError: the place is not writable or full.
        """
        self._write(name, [content])

    def _write(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        system, path = _open(self.uri)
        local = isinstance(system, fs.LocalFileSystem)
        aside = f"{path}/.{name}.{uuid.uuid4().hex}" if local else f"{path}/{name}"
        try:
            system.create_dir(path, recursive=True)
            with system.open_output_stream(aside) as stream:
                for piece in pieces:
                    stream.write(piece)
            if local:  # an object store shows an object only once it is complete
                system.move(aside, f"{path}/{name}")
        except OSError as error:
            raise StorageError(f"cannot write {self.path(name)}: {error}") from error

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
        """An array; memory-mapped read-only where the file is local. Never unpickles.

        Raises:
            StorageError: missing, truncated or not an NPY file.
        """
        local = self.local_path
        source: Any = local / name if local else io.BytesIO(self.read_bytes(name))
        try:
            found: np.ndarray = np.load(
                source, mmap_mode="r" if local else None, allow_pickle=False
            )
            return found
        except (OSError, ValueError, EOFError) as error:
            reason = " ".join(str(error).split())
            raise StorageError(f"cannot read {self.path(name)}: {reason}") from error

    def write_npy(self, name: str, *arrays: np.ndarray[Any, Any]) -> None:
        """Write an array, or several one after the other along their first axis, atomically in NumPy's NPY format.

        Args:
            name: of the file.
            arrays: of one type and width; they are not joined in memory. Without any, an empty table is written.
        """
        first = arrays[0] if arrays else np.empty((0, 0), dtype=np.float16)
        shape = (sum(map(len, arrays)), *first.shape[1:])
        kind = np.lib.format.dtype_to_descr(first.dtype)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": kind, "fortran_order": False, "shape": shape}
        )
        pieces = (np.ascontiguousarray(array).data.cast("B") for array in arrays if array.size)
        self._write(name, chain([header.getvalue()], pieces))

    def claim(self) -> bool:
        """Create the folder for oneself alone; False when somebody has it already.

        On object storage, which has no such promise, it is only a look whether there is anything.
        """
        if self.local_path is None:
            return not self.names()
        try:
            self.local_path.parent.mkdir(parents=True, exist_ok=True)
            self.local_path.mkdir()
        except FileExistsError:
            return False
        except OSError as error:
            raise StorageError(f"cannot create {self.path()}: {error}") from error
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other commands out of the folder, which exists; ends with the process, however that ends.

        Nothing is held on object storage, nor on a disk that knows no locks.

        Raises:
            StorageError: another command holds it.
        """
        if self.local_path is None:
            yield
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
            yield
        finally:
            lock.release()

    def remove(self, name: str) -> None:
        """Remove one file, which must be there."""
        system, path = _open(self.uri)
        system.delete_file(f"{path}/{name}")

    def delete(self) -> None:
        """Remove the folder and everything in it; nothing happens when it is not there."""
        system, path = _open(self.uri)
        if self.exists():
            system.delete_dir(path)


def resolve_folder(place: str) -> Folder:
    """The folder of a config value: a URI or absolute path as it is, a relative path under the home.

    The home is RAYSYS_HOME when set. Otherwise it is the current folder, except inside a job whose working folder Ray
    unpacked and will delete: there it is ~/raysys.
    """
    if "://" in place:
        return Folder(place)
    return Folder(str((home() / Path(place).expanduser()).resolve()))


def home() -> Path:
    """Where relative storage paths start; see `resolve_folder`."""
    if "RAYSYS_HOME" in os.environ:
        return Path(os.environ["RAYSYS_HOME"])
    here = Path.cwd()
    return Path.home() / "raysys" if "working_dir_files" in here.parts else here


def as_json(content: Any) -> str:
    """Indented JSON; NaN becomes null, so every JSON reader can read it."""
    return json.dumps(_without_nan(content), indent=1, ensure_ascii=False, allow_nan=False)


@lru_cache(maxsize=256)
def _open(uri: str) -> tuple[fs.FileSystem, str]:
    try:
        system, path = fs.FileSystem.from_uri(uri)
    except (ValueError, OSError) as error:
        raise StorageError(
            f"'{uri}' is neither an absolute path nor a known URI: {error}"
        ) from error
    return system, path.rstrip("/")


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
