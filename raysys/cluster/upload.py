"""What `ray job submit --working-dir` would send to a cluster, found by Ray's own walk."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ray._private.ray_constants import (
    DASHBOARD_CLIENT_MAX_SIZE,
    get_runtime_env_default_excludes,
)
from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

from raysys.errors import StorageError

_NAMED = 5
"""How many of the largest entries are named."""
_SMALL = 2**20
"""Bytes that are not worth a mention."""
_HEADS = 200
"""Bytes for each file in an archive, besides its content, which is not compressed."""


def check_upload(folder: Path) -> dict[Path, int]:
    """Bytes of each file that a job's folder would send.

    Args:
        folder: as given to `--working-dir`; `.rayignore` and `.gitignore` in it say what is left out.

    Raises:
        StorageError: there is no such folder, or Ray would refuse it: what is large is named.
    """
    try:
        folder = folder.expanduser().absolute()
    except OSError as error:
        raise StorageError(f"the current folder is gone ({error}): go to another one") from error
    if not folder.is_dir():
        raise StorageError(f"{folder} is not a folder")
    sizes: dict[Path, int] = {}

    def see(path: Path) -> None:
        if path.is_file():
            sizes[path.relative_to(folder)] = path.stat().st_size

    excludes = [_get_excludes(folder, get_runtime_env_default_excludes())]
    try:
        _dir_travel(folder, excludes, see, include_gitignore=True, logger=logging.Logger("upload"))
    except UnicodeDecodeError as error:
        raise StorageError(
            f"a .rayignore or .gitignore in {folder} is not UTF-8 ({error}): save it as UTF-8"
        ) from error
    except (OSError, RecursionError) as error:
        raise StorageError(f"{folder} cannot be read ({error})") from error
    total = sum(sizes.values()) + _HEADS * len(sizes)
    if total >= DASHBOARD_CLIENT_MAX_SIZE:
        raise StorageError(
            f"{folder} has {mib(total)} to upload, Ray takes {mib(DASHBOARD_CLIENT_MAX_SIZE)} at most: leave out in "
            f"{folder / '.rayignore'} what the job does not need, most of all {_largest(sizes)}"
        )
    return sizes


def _largest(sizes: Mapping[Path, int]) -> str:
    """The entries at the top that hold most, and the kind of file that does."""
    tops, kinds = Counter[str](), Counter[str]()
    for path, size in sizes.items():
        tops[path.parts[0] + ("/" if len(path.parts) > 1 else "")] += size
        kinds[f"*{path.suffix}" if path.suffix else path.name] += size
    large = [(name, size) for name, size in tops.most_common(_NAMED) if size > _SMALL]
    named = ", ".join(f"{name} ({mib(size)})" for name, size in large)
    ((kind, size),) = kinds.most_common(1)
    return f"{named}; {mib(size)} of it are {kind}"


def mib(size: float) -> str:
    """Bytes as people read them."""
    return f"{size / 2**20:.1f} MiB"
