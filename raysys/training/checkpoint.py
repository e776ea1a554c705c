"""Checkpoints of one fold: everything that the next epoch depends on, in one safetensors file, never unpickled.

    model/NAME, best/NAME, optimizer/INDEX/KEY tensors + a JSON header (epoch, kept one so far, history)

Randomness needs no state: every epoch seeds its generators from (seed, fold, epoch), see `stream_seed`.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from raysys.errors import DamagedError
from raysys.settings import under
from raysys.storage import Folder
from raysys.training.optimizer import Adam
from raysys.training.records import EpochRecord

_FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class Progress:
    """Where a fold stands after an epoch."""

    history: tuple[EpochRecord, ...] = ()
    best_epoch: int = 0

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)


def stream_seed(*path: int) -> int:
    """A seed of its own for every (seed, fold, epoch, ...): far apart, and the same in any process."""
    return int(np.random.SeedSequence(path).generate_state(1, np.uint64)[0] >> 1)


def save_checkpoint(
    folder: Folder,
    progress: Progress,
    *,
    model: nn.Module,
    optimizer: Adam,
    best: dict[str, Tensor],
) -> None:
    """Write the state after an epoch, atomically."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in best.items()}
    for index, state in optimizer.state.items():
        tensors |= {f"optimizer/{index}/{key}": value for key, value in state.items()}
    header = json.dumps(asdict(progress))
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    known = {"progress": header, "sha256": _digest(plain, header)}
    folder.write_bytes(_FILE, safetensors.torch.save(plain, known), lasting=False)


def load_checkpoint(
    folder: Folder, *, model: nn.Module, optimizer: Adam
) -> tuple[Progress, dict[str, Tensor]]:
    """Put the last checkpoint into model and optimizer.

    Returns:
        Where the fold stands and its best weights; an empty `Progress` and no weights when there is no checkpoint.

    Raises:
        DamagedError: the file is damaged or belongs to another model.
    """
    if not folder.exists(_FILE):
        return Progress(), {}
    content = folder.read_bytes(_FILE)
    try:
        tensors, header = safetensors.torch.load(content), _header(content)
        if header["sha256"] != _digest(tensors, header["progress"]):
            raise ValueError("it is not what was written")
        progress = _progress(json.loads(header["progress"]))
        model.load_state_dict(under("model/", tensors))
        _load_optimizer(optimizer, under("optimizer/", tensors))
    except (SafetensorError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedError(f"{folder.path(_FILE)} is damaged ({reason})") from error
    return progress, under("best/", tensors)


def delete_checkpoint(folder: Folder) -> None:
    """Drop the checkpoint of a finished fold: its weights are kept elsewhere."""
    if folder.exists(_FILE):
        folder.remove(_FILE)


def _header(content: bytes) -> dict[str, str]:
    """Metadata of a safetensors file: 8 bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return metadata


def _digest(tensors: dict[str, Tensor], header: str) -> str:
    """Over names, types, shapes and values, and what the header says."""
    total = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _progress(plain: dict[str, Any]) -> Progress:
    history = tuple(EpochRecord(**record) for record in plain["history"])
    return Progress(history, plain["best_epoch"])


def _load_optimizer(optimizer: Adam, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split("/", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load(state)
