"""Five folds on one GPU at the same time, against one after the other."""

from dataclasses import replace
from typing import Any

import torch
from rich.console import Console

from raysys.commands.cross_validate import cross_validate
from raysys.config import Config
from raysys.storage import Folder

_SHARES = {"one after another": 1.0, "packed": 0.2}


def measure(config: Config, console: Console, folder: Folder) -> dict[str, Any]:
    """Cross-validate both ways, on a local Ray with a GPU.

    Args:
        config: of what is trained.
        console: for progress.
        folder: for runs.

    Returns:
        Seconds of each without start-up, and their ratio; the reason where there is no GPU.
    """
    if not torch.cuda.is_available():
        return {"skipped": "there is no GPU here"}
    seconds = {}
    for name, share in _SHARES.items():
        cluster = replace(config.cluster, workers=round(1 / share), gpus_per_fold=share)
        storage = replace(config.storage, runs=folder.path(name))
        one = replace(config, name="packing", cluster=cluster, storage=storage)
        found = cross_validate(one, resume=False, console=console).seconds
        seconds[name] = found["total"] - found["startup"]
    first, packed = seconds.values()
    return {"gpu": torch.cuda.get_device_name(), "seconds": seconds, "ratio": first / packed}
