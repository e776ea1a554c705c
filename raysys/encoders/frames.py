"""Video encoder `frames`: whole frames of an utterance's film, without a search for faces.

    film -> frames at even distances -> ResNet [1000] each -> mean over frames [1, 1000]

The ablation of VisExtNet (Shi & Huang 2023, section 3.2.3): what the scene around the faces does.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from raysys.corpus.table import Utterance
from raysys.encoders import film, resnet
from raysys.encoders.encoder import EncoderConfig, Frames, code_digest, positions
from raysys.encoders.pretrained import torch_device
from raysys.encoders.resnet import Resnet, file_digest, weights_file
from raysys.settings import require


@dataclass(frozen=True)
class FramesConfig(EncoderConfig):
    """A ResNet's values of whole film frames, averaged."""

    modalities: ClassVar = ("video",)
    weights: str = ""
    """Safetensors of a ResNet with 1,000 outputs in torchvision's layout: a file, or a folder with one."""
    frames: int = 20
    """Frames an utterance, at even distances."""
    device: str = "auto"
    """auto (CUDA when there is one), cpu or cuda."""

    def __post_init__(self) -> None:
        require(1 <= self.frames <= 1000, "features.frames.frames", self.frames, "1 to 1000")

    def build(self, modality: str) -> "FramesEncoder":
        """The encoder."""
        return FramesEncoder(self)


class FramesEncoder:
    """Whole frames of films; see the module.

    Raises:
        FeatureError: there are no such weights.
    """

    def __init__(self, config: FramesConfig) -> None:
        self._config = config
        self._weights = weights_file(config.weights, "features.frames.weights")
        self._device = torch_device("frames", config.device)

    def fingerprint(self) -> dict[str, Any]:
        """How many frames, and digest of the weights."""
        return {
            "encoder": "frames",
            "frames": self._config.frames,
            "weights": file_digest(self._weights),
            "code": code_digest(sys.modules[__name__], film, resnet),
        }

    def encode(
        self, rows: Sequence[Utterance], root: Path, chosen: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Frames]]:
        """The mean of each utterance's frames, in order."""
        for position in positions(rows, chosen):
            row = rows[position]
            pictures = film.read_frames(row, root / row.video, self._config.frames)
            yield position, self._network(pictures).mean(axis=0, keepdims=True)

    @cached_property
    def _network(self) -> Resnet:
        return Resnet(self._weights, setting="features.frames.weights", device=self._device)
