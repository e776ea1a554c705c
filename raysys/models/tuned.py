"""A model above the top layers of pretrained encoders, which are trained with it.

stored states of some modalities -> their top layers -> the model
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from raysys.batches.batch import Part
from raysys.batches.normalise import Normaliser
from raysys.batches.padded import Layout, Padded
from raysys.encoders.top_layers import TopLayers
from raysys.models.output import ModelOutput


class Tuned(nn.Module):
    """Top layers, then a model.

    Args:
        model: reads what the top layers give, and other modalities as they are.
        tops: modality -> its top layers.
    """

    def __init__(self, model: nn.Module, tops: Mapping[str, TopLayers]) -> None:
        super().__init__()
        self.model = model
        self.tops = nn.ModuleDict(tops)

    def forward(self, modalities: Mapping[str, Padded], layout: Layout | None) -> ModelOutput:
        """As the model."""
        read = dict(modalities)
        for modality, top in self.tops.items():
            read[modality] = Padded(*top(read[modality].values, read[modality].mask))
        output: ModelOutput = self.model(read, layout)
        return output

    def fit(self, train: Part, modalities: Sequence[str], batch_size: int) -> None:
        """Have what comes out of some top layers normalised as it is before training, over a train part.

        Args:
            train: own utterances; mixtures are left out.
            modalities: whose frames are normalised.
            batch_size: utterances at a time.
        """
        self.eval()
        for modality in modalities:
            top: TopLayers = self.tops[modality]  # type: ignore[assignment]
            fitted = Normaliser.fit(_Given(top, train, modality, batch_size))
            top.normalise(torch.from_numpy(fitted.mean), torch.from_numpy(fitted.std))


@dataclass(frozen=True)
class _Given:
    """What top layers give for a train part, batch by batch, whenever it is gone through."""

    top: TopLayers
    train: Part
    modality: str
    batch_size: int

    def __iter__(self) -> Iterator[Float32[np.ndarray, "_ dim"]]:
        rows = torch.arange(self.train.own)
        with torch.inference_mode():
            for chosen in rows.split(self.batch_size):
                padded = self.train.batch(chosen).modalities[self.modality]
                values, mask = self.top(padded.values, padded.mask)
                yield values[mask].cpu().numpy()
