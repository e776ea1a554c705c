"""Frames on their way to the device: of a part that is too large to be resident, and of any batch's indices."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from raysys.batches.normalise import Normaliser
from raysys.encoders.ragged import Copies, Ragged


@dataclass(frozen=True)
class OnDisk:
    """Frames of one part that are read when they are asked for: too many to be resident."""

    ragged: Ragged | Copies
    indices: Int64[np.ndarray, " utterance"]
    """The part's utterances, as rows of the corpus."""
    normaliser: Normaliser | None
    device: str

    @property
    def shape(self) -> tuple[int, int]:
        """Frames of all utterances, and their width."""
        return int(self.ragged.lengths[self.indices].sum()), self.ragged.dim

    def read(self, rows: Int64[Tensor, " batch"]) -> tuple[Tensor, Int64[Tensor, " batch"]]:
        """Frames of some utterances one after the other, and how many each has."""
        chosen = [int(self.indices[k]) for k in rows.tolist()]
        pieces = [prepared(self.ragged[k], self.normaliser) for k in chosen]
        values = sent(torch.from_numpy(np.concatenate(pieces)), self.device)
        return values, sent(torch.tensor([len(one) for one in pieces]), self.device)


def prepared(
    frames: Shaped[np.ndarray, "_ dim"], normaliser: Normaliser | None
) -> Float[np.ndarray, "_ dim"]:
    """Frames as a model reads them, in float32.

    Args:
        frames: as they are stored.
        normaliser: of their columns; None leaves them as they are.
    """
    return normaliser(frames) if normaliser else frames.astype(np.float32)


def sent(values: Tensor, device: str) -> Tensor:
    """Values on a device; those that go to a GPU are not waited for.

    Args:
        values: on the CPU.
        device: cpu or cuda.
    """
    if device.startswith("cuda"):
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
