"""Video encoder `frames`: whole frames of an utterance's film, without a search for faces.

    film -> frames at even distances -> ResNet [1000] each -> mean over frames [1, 1000]

The ablation of VisExtNet (Shi & Huang 2023, section 3.2.3): what the scene around the faces does.
"""

import sys
from dataclasses import dataclass
from typing import ClassVar

from raysys.encoders.encoder import EncoderConfig, code_digest
from raysys.encoders.film import read_frames
from raysys.encoders.film_encoder import FilmEncoder
from raysys.gpu import Device
from raysys.settings import require


@dataclass(frozen=True)
class FramesConfig(EncoderConfig):
    """A ResNet's values of whole film frames, averaged."""

    modalities: ClassVar = ("video",)
    weights: str = ""
    """Safetensors of a ResNet with 1,000 outputs in torchvision's layout: a file, or a folder with one."""
    frames: int = 20
    """Frames an utterance, at even distances."""
    device: Device = "auto"
    """auto (CUDA when there is one), cpu or cuda."""

    def __post_init__(self) -> None:
        require(1 <= self.frames <= 1000, "features.frames.frames", self.frames, "1 to 1000")

    def build(self, modality: str) -> FilmEncoder:
        """The encoder."""
        return FilmEncoder(
            "frames",
            weights=self.weights,
            device=self.device,
            pictures=lambda row, path: read_frames(row, path, self.frames),
            identity={"frames": self.frames, "code": code_digest(sys.modules[__name__])},
        )
