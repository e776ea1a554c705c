"""Which code can change a number: of raysys, and of a user's own plug-ins.

What ran under other code is not resumed.
"""

import os
from functools import cache
from pathlib import Path

import raysys
from raysys.config import Config
from raysys.encoders.encoder import STREAMS, digest_of_code
from raysys.plugins import place_of, sources_of
from raysys.settings import digest

DECIDING_ROOMS = (
    "balance",
    "batches",
    "commands",
    "config",
    "corpus",
    "encoders",
    "gpu.py",
    "losses",
    "models",
    "predictions.py",
    "running",
    "search",
    "settings.py",
    "similarity",
    "tasks",
    "together.py",
    "training",
    "trials",
)
"""Parts of raysys whose code can change a number; the others start, show, store and log."""


@cache
def own_code() -> str:
    """`deciding_code` of the raysys that runs."""
    return deciding_code(Path(str(raysys.__file__)).parent)


def deciding_code(package: Path) -> str:
    """Digest of the code that can change a number; comments and docstrings do not count.

    Args:
        package: folder of raysys.
    """
    files = [
        file
        for name in DECIDING_ROOMS
        for file in ([package / name] if name.endswith(".py") else (package / name).rglob("*.py"))
    ]
    return digest_of_code(files, below=package)


def plugin_code(config: Config) -> dict[str, str]:
    """`plug-ins` -> digest of the code of those that a configuration names; empty where it names none.

    Args:
        config: of the command.

    Raises:
        ConfigError: one cannot be imported.
    """
    named = [("raysys.corpora", config.corpus.name), ("raysys.models", config.model.name)]
    read = [m for m in config.model.modalities if m in STREAMS]
    named += [("raysys.encoders", config.features.encoder_of(m)) for m in read]
    places = sorted({place_of(name, group) for group, name in named} - {""})
    code = {
        place: digest_of_code(
            files, below=Path(os.path.commonpath([file.parent for file in files]))
        )
        for place in places
        if (files := sources_of(place))
    }
    return {"plug-ins": digest(code)} if code else {}
