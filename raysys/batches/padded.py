"""What a model is given of a batch: frames of each modality, and where its utterances stand in their dialogues."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class Padded:
    """One modality of a batch, in two forms of which each is made when it is asked for.

    Args:
        values: [batch, time, dim], zero where the mask is False.
        mask: [batch, time], True where there is a frame; padding is at the end.
    """

    def __init__(
        self, values: Float[Tensor, "batch time dim"], mask: Bool[Tensor, "batch time"]
    ) -> None:
        self.mask = mask
        self.values = values

    @classmethod
    def of_frames(
        cls, frames: Float[Tensor, "frame dim"], lengths: Int64[Tensor, " batch"], longest: int
    ) -> "Padded":
        """A batch whose frames stand one after the other: padded, most of a batch of dialogues would be empty."""
        made = cls.__new__(cls)
        made.mask = torch.arange(longest, device=frames.device) < lengths[:, None]
        made.frames = frames
        made.total = len(frames)
        return made

    @classmethod
    def like(cls, other: "Padded", values: Float[Tensor, "batch time dim"]) -> "Padded":
        """Other values in the places of frames that are there."""
        made = cls(values, other.mask)
        made.total = other.total
        return made

    @cached_property
    def total(self) -> int:
        """Real frames of all utterances; a GPU need not be waited for to know it of frames one after the other."""
        return int(self.mask.sum())

    @cached_property
    def values(self) -> Float[Tensor, "batch time dim"]:
        """Padded with zeros."""
        lengths = self.mask.sum(dim=1)
        starts = lengths.cumsum(dim=0) - lengths
        places = starts[:, None] + torch.arange(self.mask.shape[1], device=self.mask.device)
        # gathered, not scattered: a GPU need not be waited for to know how many places there are
        known = self.frames[torch.where(self.mask, places, 0)]
        return known.masked_fill(~self.mask[..., None], 0)

    @cached_property
    def frames(self) -> Float[Tensor, "frame dim"]:
        """Real frames of all utterances, one after the other."""
        return self.values[self.mask]


@dataclass(frozen=True)
class Layout:
    """Which utterance of a batch is which turn of which dialogue."""

    places: Int64[Tensor, "dialogue turn"]
    """Position in the batch; 0 for padding."""
    mask: Bool[Tensor, "dialogue turn"]
    """True where there is a turn; padding is at the end."""
    speakers: Int64[Tensor, "dialogue turn"]
    """Who speaks, as a number from 0 within the dialogue."""
    order: Int64[Tensor, " batch"] | None = None
    """Place of each utterance among all places of turns; None: it is counted from the others."""
    n_parties: int | None = None
    """Speakers of a dialogue at most; None: they are counted."""

    def arrange(self, values: Float[Tensor, "batch dim"]) -> Float[Tensor, "dialogue turn dim"]:
        """Values of utterances in the places of their turns; zeros in padding."""
        return values[self.places] * self.mask[..., None]

    def flatten(self, values: Float[Tensor, "dialogue turn dim"]) -> Float[Tensor, "batch dim"]:
        """Values of turns in the order of the batch's utterances."""
        if self.order is not None:
            return values.flatten(0, 1)[self.order]
        return values[self.mask][torch.argsort(self.places[self.mask])]
