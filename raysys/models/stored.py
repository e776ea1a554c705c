"""A model on disk: bundle.json says what it is, weights.safetensors holds its weights; both are checked when read."""

from typing import Any

from raysys.errors import DamagedError, StorageError
from raysys.sealed import read_sealed
from raysys.storage import Folder, bytes_digest

VERSION = 4
_UNSEALED = 3
"""The version before bundles said what they hold."""


def read_stored(folder: Folder) -> tuple[dict[str, Any], bytes]:
    """Content of bundle.json, and the bytes of the weights that belong to it.

    Raises:
        StorageError: one is missing or damaged, or of another version.
    """
    content = folder.read_json("bundle.json")
    version = content.get("version") if isinstance(content, dict) else None
    if version not in (_UNSEALED, VERSION):
        raise StorageError(
            f"{folder.path('bundle.json')} is of version {version}, not {VERSION}: load it with the raysys "
            "that wrote it"
        )
    raw = folder.read_bytes("weights.safetensors")
    if version == VERSION:
        content = read_sealed(folder, "bundle.json")
        if bytes_digest(raw) != content["weights"]:
            raise DamagedError(
                f"{folder.path('weights.safetensors')} is damaged: it is not what was written: --resume trains the "
                "fold again"
            )
    return content, raw
