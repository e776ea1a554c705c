"""A model above the top layers of pretrained encoders, which are trained with it.

stored states of some modalities -> their top layers -> the model
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from raysys.batches.batch import Layout, Padded, Part
from raysys.encoders.top_layers import TopLayers
from raysys.models.output import ModelOutput

_SMALLEST_STD = 1e-5


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
            total, square, count = 0.0, 0.0, 0
            with torch.inference_mode():
                for rows in torch.arange(train.own, device=train.labels.device).split(batch_size):
                    padded = train.batch(rows).modalities[modality]
                    values, mask = top(padded.values, padded.mask)
                    frames = values[mask].double()
                    total = total + frames.sum(dim=0)
                    square = square + frames.square().sum(dim=0)
                    count += len(frames)
                mean: Tensor = torch.as_tensor(total) / count
                std = (torch.as_tensor(square) / count - mean.square()).clamp(min=0).sqrt()
                std = torch.where(std < _SMALLEST_STD, 1.0, std)
                top.normalise(mean.float(), std.float())
