"""Video encoder `visextnet`: the faces of an utterance's film, without the scene around them.

    film -> frames at even distances -> faces of each -> ResNet [1000] each -> mean over faces and frames [1, 1000]

Shi & Huang 2023 (MultiEMO, ACL 2023), section 3.2.3: 20 frames an utterance, MTCNN, ResNet-101 trained on VGGFace2.
Here the detector is another (see `raysys.encoders.faces`), and the weights are what `weights` names. The mean is over
all faces of all frames. An utterance without a face gives zeros; the report counts them.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from raysys.corpus.audit import Finding
from raysys.corpus.table import Utterance
from raysys.encoders import faces, film, resnet
from raysys.encoders.encoder import EncoderConfig, Frames, code_digest, positions
from raysys.encoders.faces import FaceDetector
from raysys.encoders.film import Picture
from raysys.encoders.pretrained import torch_device
from raysys.encoders.resnet import WIDTH, Resnet, file_digest, weights_file
from raysys.settings import require


@dataclass(frozen=True)
class VisextnetConfig(EncoderConfig):
    """VisExtNet: a ResNet's values of all faces in a film, averaged over faces and frames."""

    modalities: ClassVar = ("video",)
    weights: str = ""
    """Safetensors of a ResNet with 1,000 outputs in torchvision's layout: a file, or a folder with one."""
    frames: int = 20
    """Frames an utterance, at even distances."""
    score: float = 0.8
    """Least certainty of a face, from 0 to 1."""
    margin: float = 0.2
    """What is kept around a face, as a share of its size, on each side."""
    device: str = "auto"
    """auto (CUDA when there is one), cpu or cuda."""

    def __post_init__(self) -> None:
        require(1 <= self.frames <= 1000, "features.visextnet.frames", self.frames, "1 to 1000")
        require(0 < self.score < 1, "features.visextnet.score", self.score, "in (0, 1)")
        require(0 <= self.margin <= 1, "features.visextnet.margin", self.margin, "0 to 1")

    def build(self, modality: str) -> "VisextnetEncoder":
        """The encoder."""
        return VisextnetEncoder(self)

    def seen(self, features: Iterable[Frames]) -> list[Finding]:
        """How many utterances show no face."""
        faceless = [not np.any(frames) for frames in features]
        if not any(faceless):
            return []
        message = f"{sum(faceless)} of {len(faceless)} utterances show no face: their video features are zeros"
        return [Finding("note", "no_face", message)]


class VisextnetEncoder:
    """Faces of films; see the module.

    Raises:
        FeatureError: there are no such weights.
    """

    def __init__(self, config: VisextnetConfig) -> None:
        self._config = config
        self._weights = weights_file(config.weights, "features.visextnet.weights")
        self._device = torch_device("visextnet", config.device)

    def fingerprint(self) -> dict[str, Any]:
        """Settings that decide values, digest of the weights, version of the detector."""
        config = self._config
        return {
            "encoder": "visextnet",
            "frames": config.frames,
            "score": config.score,
            "margin": config.margin,
            "weights": file_digest(self._weights),
            "detector": FaceDetector.version(),
            "code": code_digest(sys.modules[__name__], film, faces, resnet),
        }

    def encode(
        self, rows: Sequence[Utterance], root: Path, chosen: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Frames]]:
        """The mean of each utterance's faces, in order; zeros where there is none."""
        for position in positions(rows, chosen):
            row = rows[position]
            pictures = film.read_frames(row, root / row.video, self._config.frames)
            found = [face for picture in pictures for face in self._faces(picture)]
            yield position, self._mean(found)

    def _faces(self, picture: Picture) -> list[Picture]:
        margin = self._config.margin
        return [
            faces.cut(picture, box, margin=margin)
            for box in self._detector.find(picture, least=self._config.score)
        ]

    def _mean(self, pictures: Sequence[Picture]) -> Frames:
        if not pictures:
            return np.zeros((1, WIDTH), dtype=np.float32)
        return self._network(pictures).mean(axis=0, keepdims=True)

    @cached_property
    def _detector(self) -> FaceDetector:
        return FaceDetector()

    @cached_property
    def _network(self) -> Resnet:
        return Resnet(self._weights, setting="features.visextnet.weights", device=self._device)
