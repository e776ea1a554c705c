"""SpecAugment on train batches: stretches of audio frames and columns that the model does not see."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from raysys.batches.batch import Batch
from raysys.batches.padded import Padded


def mask_audio(batch: Batch, *, time: float, dims: float, spared: int) -> Batch:
    """SpecAugment (Park et al. 2019, arXiv:1904.08779) without warping: one masked stretch of frames and of columns.

    Masked values become 0, the mean of normalised frames; lengths and masks stay.

    Args:
        batch: of the train part.
        time: longest masked stretch of frames, as a share of the utterance.
        dims: widest masked stretch of columns, as a share of all.
        spared: last columns that stay.
    """
    if "audio" not in batch.modalities or not (time or dims):
        return batch
    audio = batch.modalities["audio"]
    width = audio.values.shape[2] - spared
    values, lengths = audio.values[..., :width], audio.mask.sum(dim=1)
    masked_frames = _random_stretch(lengths, time, values.shape[1])
    masked_columns = _random_stretch(torch.full_like(lengths, width), dims, width)
    kept = values * ~masked_frames[:, :, None] * ~masked_columns[:, None, :]
    kept = torch.cat([kept, audio.values[..., width:]], dim=2) if spared else kept
    return replace(batch, modalities={**batch.modalities, "audio": Padded(kept, audio.mask)})


def _random_stretch(
    lengths: Int64[Tensor, " batch"], share: float, size: int
) -> Bool[Tensor, "batch size"]:
    """Per row, True on a random stretch of up to `share` of its length."""
    width = torch.rand(len(lengths), device=lengths.device) * share * lengths
    start = torch.rand(len(lengths), device=lengths.device) * (lengths - width)
    position = torch.arange(size, device=lengths.device)
    return (position >= start[:, None]) & (position < (start + width)[:, None])
