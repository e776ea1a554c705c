"""Made films, and weights of a small ResNet in torchvision's layout."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import av
import numpy as np
import safetensors.torch
import torch
from skimage.data import astronaut, cat
from torchvision.models.resnet import Bottleneck, ResNet

ONE_FACE = np.ascontiguousarray(astronaut()[:256, 64:448])
NO_FACE = np.ascontiguousarray(cat()[20:276, 40:424])
TWO_FACES = np.concatenate([ONE_FACE, ONE_FACE], axis=1)


def write_film(path: Path, frames: Sequence[np.ndarray], *, rate: int = 10) -> Path:
    """An mp4 of RGB frames with even sides."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for frame in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        film.mux(stream.encode(None))
    return path


def write_sound(path: Path, samples: np.ndarray, rate: int, **options: str) -> Path:
    """Sound without pictures, as AAC in an mp4 or m4a: [channel, time] of one or two channels."""
    with av.open(str(path), "w", format="mp4", options=options) as film:
        layout = "mono" if len(samples) == 1 else "stereo"
        stream = film.add_stream("aac", rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, dtype=np.float32), format="fltp", layout=layout
        )
        frame.sample_rate = rate
        film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path


@cache
def small_resnet(width: int = 1000) -> str:
    """A folder with random weights of a ResNet of four blocks."""
    torch.manual_seed(0)
    network = ResNet(Bottleneck, [1, 1, 1, 1], num_classes=width)
    folder = Path(mkdtemp())
    safetensors.torch.save_file(network.state_dict(), folder / "model.safetensors")
    return str(folder)
