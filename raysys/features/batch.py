"""Batches: from ragged features of one part of a fold to padded tensors with masks.

    Ragged, indices -> Part (resident on the device) -> rows -> Batch
    Part, pairs     -> Part with mixtures: utterances that exist only as (major row, minor row, share)

A `Part` holds copies of its own utterances only, so code that was given train and val cannot read test. Batches are
gathered by index from the resident frames; nothing is loaded while training.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from raysys.features.normalise import Normaliser
from raysys.features.store import Ragged

_BUCKET = 8
"""Batches whose utterances are sorted by length together; larger buckets pad less and shuffle less."""


@dataclass(frozen=True)
class Padded:
    """One modality of a batch. Values are zero where the mask is False."""

    values: Float[Tensor, "batch time dim"]
    mask: Bool[Tensor, "batch time"]


@dataclass(frozen=True)
class Batch:
    """What a model and an objective see of some utterances."""

    modalities: Mapping[str, Padded]
    targets: Float[Tensor, "batch class"]
    labels: Int64[Tensor, " batch"]
    rows: Int64[Tensor, " batch"]
    """Positions in the part."""


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

    frames: Mapping[str, Float[Tensor, "total_time dim"]]
    offsets: Mapping[str, Int64[Tensor, " own_and_end"]]
    targets: Float[Tensor, "utterance class"]
    labels: Int64[Tensor, " utterance"]
    mixtures: Mixtures | None = None
    """Set when there are more utterances than frames of their own."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def dims(self) -> dict[str, int]:
        """Modality -> width of its frames."""
        return {modality: int(frames.shape[1]) for modality, frames in self.frames.items()}

    @property
    def longest(self) -> Int64[Tensor, " utterance"]:
        """Length of every utterance in its longest modality, in frames or tokens."""
        own = torch.stack([ends.diff() for ends in self.offsets.values()]).max(dim=0).values
        if self.mixtures is None:
            return own
        return torch.maximum(own[self.mixtures.major], own[self.mixtures.minor])

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
        )

    def batch(self, rows: Int64[Tensor, " batch"]) -> Batch:
        """The utterances at some positions of the part, padded to the longest among them."""
        modalities = {modality: self._padded(modality, rows) for modality in self.frames}
        return Batch(modalities, self.targets[rows], self.labels[rows], rows)

    def _padded(self, modality: str, rows: Int64[Tensor, " batch"]) -> Padded:
        frames, offsets = self.frames[modality], self.offsets[modality]
        if self.mixtures is None:
            return _pad(frames, offsets, rows)
        major = _pad(frames, offsets, self.mixtures.major[rows])
        minor = _pad(frames, offsets, self.mixtures.minor[rows])
        return _mix(major, minor, self.mixtures.share[rows])

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """All utterances once.

        Args:
            batch_size: utterances a batch; the last of a pass may be smaller.
            shuffle: source of the order for training, where batches hold utterances of similar length in random
                order; without it, from the shortest utterance to the longest.
        """
        lengths = self.longest.cpu()
        if shuffle is None:
            order = torch.argsort(lengths, stable=True)
            groups = list(order.split(batch_size))
        else:
            order = torch.randperm(len(self), generator=shuffle)
            buckets = [
                b[torch.argsort(lengths[b], stable=True)] for b in order.split(_BUCKET * batch_size)
            ]
            groups = [rows for bucket in buckets for rows in bucket.split(batch_size)]
            groups = [groups[k] for k in torch.randperm(len(groups), generator=shuffle)]
        for rows in groups:
            yield self.batch(rows.to(self.labels.device))


def make_part(
    store: Mapping[str, Ragged],
    indices: Int64[np.ndarray, " row"],
    *,
    labels: Int64[np.ndarray, " utterance"],
    targets: Float[np.ndarray, "utterance class"],
    normalisers: Mapping[str, Normaliser],
    device: str,
) -> Part:
    """Copy one part's utterances out of the corpus.

    Args:
        store: features of the whole corpus by modality.
        indices: the part's utterances, as rows of the corpus.
        labels: class of every utterance of the corpus.
        targets: target distribution of every utterance of the corpus.
        normalisers: by modality; a modality without one is left as it is.
        device: torch device on which the part is resident.
    """
    frames, offsets = {}, {}
    for modality, ragged in store.items():
        pieces = np.concatenate([ragged[int(k)] for k in indices])
        normaliser = normalisers.get(modality)
        values = normaliser(pieces) if normaliser else pieces.astype(np.float32)
        lengths = np.diff(ragged.offsets)[indices]
        frames[modality] = torch.from_numpy(values).to(device)
        offsets[modality] = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])).to(device)
    return Part(
        frames,
        offsets,
        targets=torch.from_numpy(targets[indices]).to(device),
        labels=torch.from_numpy(labels[indices]).to(device),
    )


def fit_normaliser(ragged: Ragged, indices: Int64[np.ndarray, " row"]) -> Normaliser:
    """Column statistics of the given utterances' frames, and of no others."""
    return Normaliser.fit(np.concatenate([ragged[int(k)] for k in indices]))


def _pad(
    frames: Float[Tensor, "total_time dim"],
    offsets: Int64[Tensor, " utterance_and_end"],
    rows: Int64[Tensor, " batch"],
) -> Padded:
    starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
    time = torch.arange(int(lengths.max()), device=frames.device)
    mask = time < lengths[:, None]
    index = torch.where(mask, starts[:, None] + time, 0)
    return Padded(frames[index] * mask[..., None], mask)


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
