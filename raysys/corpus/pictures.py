"""Pictures of a corpus: files that Pillow reads, as RGB, the way round that the camera meant."""

import hashlib
import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from raysys.corpus.arrow import embedded, read_embedded
from raysys.errors import CorpusError

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
"""Suffixes of what can be seen."""
Picture = UInt8[np.ndarray, "_ _ 3"]
"""RGB: [height, width, 3]."""


def read_picture(path: Path, where: str) -> Picture:
    """The pixels of a file; of an animation, its first frame.

    Args:
        path: of the file, or of a picture inside a table (`raysys.corpus.arrow.place`).
        where: what names the row, for messages.

    Raises:
        CorpusError: it cannot be read, or is larger than a picture can be.
    """
    from PIL import Image, ImageOps

    inside = embedded(path) is not None
    try:
        with Image.open(io.BytesIO(read_embedded(path)) if inside else path) as picture:
            upright = ImageOps.exif_transpose(picture)
            return np.array(upright.convert("RGB"), dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if not inside and not path.is_file():
            raise CorpusError(f"{where}: image {path} does not exist") from error
        reason = " ".join(str(error).replace(f" {str(path)!r}", "").split())
        raise CorpusError(
            f"{where}: image {path} cannot be read ({reason}): give a PNG, JPEG, WebP, BMP, GIF or TIFF file"
        ) from error


def picture_digest(pixels: Picture) -> str:
    """64 hex digits of a picture's pixels, whatever its file is called and however it is packed."""
    told = hashlib.sha256(pixels.tobytes())
    told.update(f"{pixels.shape}".encode())
    return told.hexdigest()
