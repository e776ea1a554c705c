"""Video encoder `visextnet`: the faces of an utterance's film, without the scene around them.

    film -> frames that show faces -> some of them -> their faces -> ResNet [1000] each -> mean over all faces [1, 1000]

Shi & Huang 2023 (MultiEMO, ACL 2023), section 3.2.3, and the authors' code: MTCNN looks at every frame; of n frames
with faces every (n div 20)-th is taken, 20 at most; ResNet-101 trained on VGGFace2 gives the values, whose mean is
over all faces of these frames. Here the detector is another (see `raysys.encoders.faces`), and the weights are what
`weights` names. An utterance without a face gives zeros; the report counts them.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from raysys.corpus.finding import Finding
from raysys.corpus.pictures import Picture
from raysys.corpus.table import Utterance
from raysys.encoders import faces, film
from raysys.encoders.encoder import EncoderConfig, Frames, code_digest
from raysys.encoders.faces import FaceDetector
from raysys.encoders.film_encoder import FilmEncoder
from raysys.gpu import Device
from raysys.settings import require


@dataclass(frozen=True)
class VisextnetConfig(EncoderConfig):
    """VisExtNet: a ResNet's values of all faces in a film, averaged over faces and frames."""

    modalities: ClassVar = ("video",)
    weights: str = ""
    """Safetensors of a ResNet with 1,000 outputs, in torchvision's layout or by the names of the authors' code: a file,
    or a folder with one."""
    frames: int = 20
    """Frames an utterance, of those that show faces; every frame of the film is searched for them."""
    score: float = 0.8
    """Least certainty of a face, from 0 to 1."""
    margin: float = 0.2
    """What is kept around a face, as a share of its size, on each side; 0 in the authors' code."""
    device: Device = "auto"
    """auto (CUDA when there is one), cpu or cuda."""

    def __post_init__(self) -> None:
        require(1 <= self.frames <= 1000, "features.visextnet.frames", self.frames, "1 to 1000")
        require(0 < self.score < 1, "features.visextnet.score", self.score, "in (0, 1)")
        require(0 <= self.margin <= 1, "features.visextnet.margin", self.margin, "0 to 1")

    def build(self, modality: str) -> FilmEncoder:
        """The encoder."""
        identity = {
            "frames": self.frames,
            "score": self.score,
            "margin": self.margin,
            "detector": FaceDetector.version(),
            "code": code_digest(sys.modules[__name__], faces),
        }
        return FilmEncoder(
            "visextnet",
            weights=self.weights,
            device=self.device,
            pictures=_Faces(self.frames, self.score, self.margin),
            identity=identity,
        )

    def seen(self, features: Iterable[Frames], rows: Sequence[Utterance]) -> list[Finding]:
        """How many utterances show no face."""
        faceless = [not np.any(frames) for frames in features]
        if not any(faceless):
            return []
        message = (
            f"{sum(faceless)} of {len(faceless)} utterances show no face: their video features are "
            "zeros"
        )
        return [Finding("note", "no_face", message)]


class _Faces:
    """The faces of some frames of a film."""

    def __init__(self, frames: int, score: float, margin: float) -> None:
        self._frames = frames
        self._score = score
        self._margin = margin

    def __call__(self, row: Utterance, path: Path) -> list[Picture]:
        every = film.chosen_frames(row, path, range)
        boxes = [self._detector.find(picture, least=self._score) for picture in every]
        chosen = spread(np.flatnonzero([len(one) for one in boxes]).tolist(), self._frames)
        if not chosen:
            return []
        pictures = film.chosen_frames(row, path, lambda there: chosen)
        return [
            faces.cut(picture, box, margin=self._margin)
            for k, picture in zip(chosen, pictures, strict=True)
            for box in boxes[k]
        ]

    @cached_property
    def _detector(self) -> FaceDetector:
        return FaceDetector()


def spread(positions: Sequence[int], most: int) -> list[int]:
    """Every (n div most)-th of n positions, `most` at most; all of them where there are fewer."""
    return list(positions[:: max(1, len(positions) // most)][:most])
