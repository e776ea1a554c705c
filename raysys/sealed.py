"""Files that show whether they are still what was written.

    write_sealed -> NAME: JSON with the SHA-256 of its own content, and on request NAME.copy, the same again
    read_sealed  -> the content, from the copy where the first is damaged
    check_files  -> the files next to it whose digests it holds, each read once a process

Nothing that is damaged is used. Who reads decides what is done again.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from raysys.errors import DamagedError, StorageError
from raysys.settings import digest
from raysys.storage import Folder, as_json, bytes_digest, file_digest

_SEAL = "sha256"
_COPY = ".copy"
_CHECKED: set[tuple[str, str, tuple[int, ...]]] = set()
"""(file, digest, size and times) of files that this process has found whole."""


def write_sealed(
    folder: Folder, name: str, content: Mapping[str, Any], *, twice: bool = False
) -> None:
    """Write JSON with the digest of its content.

    Args:
        folder: where.
        name: of the file.
        content: JSON-able; NaN becomes null.
        twice: keep a copy next to it, for what could not be made again.

    Raises:
        StorageError: the place is not writable.
    """
    plain = json.loads(as_json(content))
    sealed = {**plain, _SEAL: digest(plain)}
    for one in (f"{name}{_COPY}", name) if twice else (name,):
        folder.write_json(one, sealed)


def read_sealed(folder: Folder, name: str) -> dict[str, Any]:
    """The content of a sealed file, without its seal.

    Raises:
        StorageError: there is no such file.
        DamagedError: it is not what was written, and neither is its copy.
    """
    copy, why = f"{name}{_COPY}", "is damaged: it is not what was written"
    if not folder.exists(name) and not folder.exists(copy):
        raise StorageError(f"cannot read {folder.path(name)}: there is no such file")
    for one in (name, copy):
        try:
            found = folder.read_json(one)
        except StorageError:  # said below, where the other one is no better
            continue
        if not isinstance(found, dict):
            continue
        if _SEAL not in found:
            why = "holds no digest of itself: an earlier raysys wrote it, or it is damaged"
        elif found.pop(_SEAL) == digest(found):
            return found
    raise DamagedError(f"{folder.path(name)} {why}")


def is_stored(folder: Folder, name: str) -> bool:
    """Whether a sealed file, or its copy, is there; it may be damaged."""
    return folder.exists(name) or folder.exists(f"{name}{_COPY}")


def digests_of(folder: Folder, names: Iterable[str]) -> dict[str, str]:
    """Name -> SHA-256 of stored files.

    Raises:
        StorageError: one cannot be read.
    """
    return {name: digest_of(folder, name) for name in names}


def digest_of(folder: Folder, name: str) -> str:
    """SHA-256 of a stored file.

    Raises:
        StorageError: it cannot be read.
    """
    if folder.local_path is None:
        return bytes_digest(folder.read_bytes(name))
    try:
        return file_digest(folder.local_path / name)
    except OSError as error:
        raise StorageError(f"cannot read {folder.path(name)}: {error}") from error


def check_files(folder: Folder, digests: Mapping[str, str]) -> None:
    """Refuse files that are not what was written; each is read once a process.

    Raises:
        DamagedError: one is missing or damaged.
    """
    for name, expected in digests.items():
        try:
            known = (folder.path(name), expected, _stamp(folder, name))
            if known in _CHECKED:
                continue
            found = digest_of(folder, name)
        except StorageError as error:
            raise DamagedError(f"{folder.path(name)} is missing or cannot be read") from error
        if found != expected:
            raise DamagedError(f"{folder.path(name)} is damaged: it is not what was written")
        _CHECKED.add(known)


def _stamp(folder: Folder, name: str) -> tuple[int, ...]:
    """What changes when a local file is written again; nothing for object storage."""
    if folder.local_path is None:
        return ()
    try:
        found = (folder.local_path / name).stat()
    except OSError as error:
        raise StorageError(f"cannot read {folder.path(name)}: {error}") from error
    return found.st_size, found.st_mtime_ns, found.st_ino
