"""Batches: from ragged features of one part of a fold to frames, padded where a model asks for it.

    Ragged, indices -> Part (resident on the device) -> rows -> Batch
    Part, pairs     -> Part with mixtures: utterances that exist only as (major row, minor row, share)

A `Part` holds copies of its own utterances only, so code that was given train and val cannot read test. Batches are
gathered by index from the resident frames; nothing is loaded while training, unless the frames are too many for that.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from raysys.batches.normalise import Normaliser
from raysys.batches.padded import Layout, Padded
from raysys.batches.reading import OnDisk, prepared, sent
from raysys.encoders.ragged import Copies, Ragged

_BUCKET = 8
"""Batches whose utterances are sorted by length together; larger buckets pad less and shuffle less."""


@dataclass(frozen=True)
class Turns:
    """Where utterances stand in their dialogues; numbers may have gaps."""

    dialogue: Int64[Tensor, " utterance"]
    turn: Int64[Tensor, " utterance"]
    speaker: Int64[Tensor, " utterance"]


@dataclass(frozen=True)
class Batch:
    """What a model and an objective see of some utterances."""

    modalities: Mapping[str, Padded]
    targets: Float[Tensor, "batch output"]
    """What the head is trained on: a distribution over classes, or values."""
    labels: Int64[Tensor, " batch"]
    """Class of each utterance; its stratum, where there are no classes."""
    rows: Int64[Tensor, " batch"]
    """Positions in the part."""
    layout: Layout | None = None
    """Set in batches of whole dialogues."""


@dataclass(frozen=True)
class Mixtures:
    """For every utterance of a part the two that it is made of; one's own frames are itself with share 1."""

    major: Int64[Tensor, " utterance"]
    minor: Int64[Tensor, " utterance"]
    share: Float[Tensor, " utterance"]
    """Share of the major one."""


@dataclass(frozen=True)
class Part:
    """Train, val or test of one fold, on the training device."""

    frames: Mapping[str, Float[Tensor, "total_time dim"] | OnDisk]
    offsets: Mapping[str, Int64[Tensor, " own_and_end"]]
    targets: Float[Tensor, "utterance output"]
    labels: Int64[Tensor, " utterance"]
    """See `Batch`."""
    mixtures: Mixtures | None = None
    """Set when there are more utterances than frames of their own."""
    turns: Turns | None = None
    """None: every utterance is a dialogue of its own."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def own(self) -> int:
        """How many utterances have frames of their own: the first ones."""
        return len(next(iter(self.offsets.values()))) - 1

    @property
    def dims(self) -> dict[str, int]:
        """Modality -> width of its frames."""
        return {modality: int(frames.shape[1]) for modality, frames in self.frames.items()}

    @cached_property
    def longest(self) -> Int64[Tensor, " utterance"]:
        """Length of every utterance in its longest modality, in frames or tokens; on the CPU."""
        own = torch.stack(list(self._lengths.values())).max(dim=0).values
        if self.mixtures is None:
            return own
        major, minor = self._mixed
        return torch.maximum(own[major], own[minor])

    @cached_property
    def _lengths(self) -> dict[str, Int64[Tensor, " own"]]:
        """Number of frames of each utterance; on the CPU, so that a batch's size is known without waiting for a GPU."""
        return {modality: ends.cpu().diff() for modality, ends in self.offsets.items()}

    @cached_property
    def _mixed(self) -> tuple[Int64[Tensor, " utterance"], Int64[Tensor, " utterance"]]:
        """The two rows that each utterance is mixed of; on the CPU."""
        assert self.mixtures is not None
        return self.mixtures.major.cpu(), self.mixtures.minor.cpu()

    @cached_property
    def _units(self) -> tuple[list[Int64[Tensor, " _"]], Int64[Tensor, " utterance"]]:
        """Rows of every dialogue, in the order of its turns, and who speaks, as a number in it; on the CPU."""
        if self.turns is None:
            return list(torch.arange(len(self)).split(1)), torch.zeros(len(self), dtype=torch.int64)
        dialogue, turn, speaker = (
            one.cpu() for one in (self.turns.dialogue, self.turns.turn, self.turns.speaker)
        )
        by_turn = torch.argsort(turn, stable=True)
        order = by_turn[torch.argsort(dialogue[by_turn], stable=True)]
        _, lengths = torch.unique(dialogue, return_counts=True)
        rows, speakers = list(order.split(lengths.tolist())), torch.zeros_like(speaker)
        for one in rows:
            speakers[one] = torch.unique(speaker[one], return_inverse=True)[1]
        return rows, speakers

    def with_mixtures(
        self,
        major: Int64[Tensor, " added"],
        minor: Int64[Tensor, " added"],
        share: Float[Tensor, " added"],
    ) -> "Part":
        """The part and, after its own utterances, mixtures of them.

            x = share x_major + (1 - share) x_minor,   y = share y_major + (1 - share) y_minor

        Frames beyond the end of the shorter utterance are mixed with zeros, as those of padded batches would be. The
        label is that of the larger share, the major one's at 0.5.
        """
        own = torch.arange(len(self), device=self.labels.device)
        weight = share[:, None]
        targets = weight * self.targets[major] + (1 - weight) * self.targets[minor]
        labels = torch.where(share >= 0.5, self.labels[major], self.labels[minor])
        return Part(
            self.frames,
            self.offsets,
            targets=torch.cat([self.targets, targets]),
            labels=torch.cat([self.labels, labels]),
            mixtures=Mixtures(
                torch.cat([own, major]),
                torch.cat([own, minor]),
                torch.cat([torch.ones_like(own, dtype=share.dtype), share]),
            ),
            turns=self._turns_with(len(major)),
        )

    def batch(self, rows: Int64[Tensor, " batch"]) -> Batch:
        """The utterances at some positions of the part (on the CPU), padded to the longest among them."""
        modalities = {modality: self._padded(modality, rows) for modality in self.frames}
        here = sent(rows, str(self.labels.device))
        return Batch(modalities, self.targets[here], self.labels[here], here)

    def dialogues(self) -> list[Int64[Tensor, " _"]]:
        """Rows of every dialogue, in the order of its turns; on the CPU."""
        return self._units[0]

    def of_dialogues(self, dialogues: Sequence[Int64[Tensor, " _"]]) -> Batch:
        """A batch of whole dialogues, given by their rows, with their layout."""
        rows = torch.cat(list(dialogues))
        lengths = torch.tensor([len(one) for one in dialogues])
        turn = torch.arange(int(lengths.max()))
        mask = turn < lengths[:, None]
        starts = lengths.cumsum(dim=0) - lengths
        places = torch.where(mask, starts[:, None] + turn, 0)
        speakers = torch.where(mask, self._units[1][rows][places], 0)
        order = torch.nonzero(mask.flatten())[:, 0]
        n_parties = int(speakers.max()) + 1
        places, mask, speakers, order = (
            sent(one, str(self.labels.device)) for one in (places, mask, speakers, order)
        )
        layout = Layout(places, mask, speakers, order, n_parties)
        return replace(self.batch(rows), layout=layout)

    def _turns_with(self, added: int) -> Turns | None:
        """Turns with so many more utterances, each a dialogue of its own."""
        if self.turns is None:
            return None
        fresh = torch.arange(added, device=self.labels.device) + self.turns.dialogue.max() + 1
        none = torch.zeros_like(fresh)
        return Turns(
            torch.cat([self.turns.dialogue, fresh]),
            torch.cat([self.turns.turn, none]),
            torch.cat([self.turns.speaker, none]),
        )

    def _padded(self, modality: str, rows: Int64[Tensor, " batch"]) -> Padded:
        if self.mixtures is None:
            return self._gathered(modality, rows)
        major, minor = (one[rows] for one in self._mixed)
        share = self.mixtures.share[sent(rows, str(self.labels.device))]
        return _mix(self._gathered(modality, major), self._gathered(modality, minor), share)

    def _gathered(self, modality: str, rows: Int64[Tensor, " batch"]) -> Padded:
        frames, offsets = self.frames[modality], self.offsets[modality]
        lengths = self._lengths[modality][rows]
        total, longest = int(lengths.sum()), int(lengths.max())
        if isinstance(frames, OnDisk):
            return Padded.of_frames(*frames.read(rows), longest)
        here = sent(rows, str(self.labels.device))
        return Padded.of_frames(*_take(frames, offsets, here, total), longest)

    def batches(
        self, batch_size: int, *, dialogues: bool = False, shuffle: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """All utterances once.

        Args:
            batch_size: utterances a batch (dialogues, if `dialogues`); the last of a pass may be smaller.
            dialogues: make batches of whole dialogues, with their layout.
            shuffle: source of the order for training, where batches hold units of similar length in random order;
                without it, from the shortest to the longest.
        """
        if not dialogues:
            for rows in _groups(self.longest, batch_size, shuffle):
                yield self.batch(rows)
            return
        units = self.dialogues()
        lengths = torch.tensor([len(one) for one in units])
        for chosen in _groups(lengths, batch_size, shuffle):
            yield self.of_dialogues([units[k] for k in chosen.tolist()])


def _groups(
    lengths: Int64[Tensor, " unit"], size: int, shuffle: torch.Generator | None
) -> list[Int64[Tensor, " _"]]:
    """Units of a batch each, of similar length."""
    if shuffle is None:
        return list(torch.argsort(lengths, stable=True).split(size))
    order = torch.randperm(len(lengths), generator=shuffle)
    buckets = [b[torch.argsort(lengths[b], stable=True)] for b in order.split(_BUCKET * size)]
    groups = [rows for bucket in buckets for rows in bucket.split(size)]
    return [groups[k] for k in torch.randperm(len(groups), generator=shuffle)]


def make_part(
    store: Mapping[str, Ragged | Copies],
    indices: Int64[np.ndarray, " row"],
    *,
    labels: Int64[np.ndarray, " utterance"],
    targets: Float[np.ndarray, "utterance output"],
    normalisers: Mapping[str, Normaliser],
    device: str,
    turns: Turns | None = None,
    resident_gb: float = math.inf,
) -> Part:
    """Copy one part's utterances out of the corpus.

    Args:
        store: features of the whole corpus by modality; with copies, row k + n * utterances is copy n of k.
        indices: the part's utterances, as rows of the corpus or of copies.
        labels: class (or stratum) of every utterance of the corpus.
        targets: what the head is trained on, for every utterance of the corpus.
        normalisers: by modality; a modality without one is left as it is.
        device: torch device on which the part is resident.
        turns: places of the corpus' utterances in their dialogues.
        resident_gb: frames of a modality that take more as float32 are not copied, but read batch by batch.
    """
    frames: dict[str, Tensor | OnDisk] = {}
    offsets = {}
    rows = indices % len(labels)
    for modality, ragged in store.items():
        normaliser = normalisers.get(modality)
        lengths = ragged.lengths[indices]
        if int(lengths.sum()) * ragged.dim * 4 > resident_gb * 1e9:
            frames[modality] = OnDisk(ragged, np.asarray(indices), normaliser, device)
        else:
            pieces = np.concatenate([ragged[int(k)] for k in indices])
            frames[modality] = torch.from_numpy(prepared(pieces, normaliser)).to(device)
        offsets[modality] = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])).to(device)
    return Part(
        frames,
        offsets,
        targets=torch.from_numpy(targets[rows]).to(device),
        labels=torch.from_numpy(labels[rows]).to(device),
        turns=None if turns is None else _chosen(turns, indices, device),
    )


def _chosen(turns: Turns, indices: Int64[np.ndarray, " row"], device: str) -> Turns:
    """Places of utterances; those of copies are in dialogues of their own."""
    copy, row = (torch.from_numpy(one) for one in np.divmod(indices, len(turns.turn)))
    dialogue = turns.dialogue[row] + copy * (int(turns.dialogue.max()) + 1)
    return Turns(dialogue.to(device), turns.turn[row].to(device), turns.speaker[row].to(device))


def fit_normaliser(ragged: Ragged, indices: Int64[np.ndarray, " row"]) -> Normaliser:
    """Column statistics of the given utterances' frames, and of no others."""
    return Normaliser.fit(ragged.take(indices.tolist()))


def _take(
    frames: Float[Tensor, "total_time dim"],
    offsets: Int64[Tensor, " utterance_and_end"],
    rows: Int64[Tensor, " batch"],
    total: int,
) -> tuple[Float[Tensor, "frame dim"], Int64[Tensor, " batch"]]:
    """Frames of some utterances one after the other, so many in all, and how many each has."""
    lengths = offsets[rows + 1] - offsets[rows]
    shift = offsets[rows] - (lengths.cumsum(dim=0) - lengths)
    spread = torch.repeat_interleave(shift, lengths, output_size=total)
    return frames[spread + torch.arange(total, device=frames.device)], lengths


def _mix(major: Padded, minor: Padded, share: Float[Tensor, " batch"]) -> Padded:
    """Share * major + (1 - share) * minor, as long as the longer of each two."""
    time = max(major.mask.shape[1], minor.mask.shape[1])
    first, second = (
        Padded(
            functional.pad(one.values, (0, 0, 0, time - one.mask.shape[1])),
            functional.pad(one.mask, (0, time - one.mask.shape[1])),
        )
        for one in (major, minor)
    )
    weight = share[:, None, None]
    values = weight * first.values + (1 - weight) * second.values
    return Padded(values, first.mask | second.mask)
