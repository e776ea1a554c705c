"""A ResNet from safetensors that turns pictures into the values of its last layer.

    pictures [batch, 3, 224, 224] -> ResNet -> linear -> [batch, 1000]

Weights are named as torchvision names them, or as the code of MultiEMO's authors does (features_4_0_conv1, ...), whose
pixels are scaled as theirs. The depth is read from the names, so ResNet-50, -101 and -152 load alike. Nothing is
unpickled.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float, Float32
from safetensors import SafetensorError
from torch import Tensor

from raysys.corpus.pictures import Picture
from raysys.errors import FeatureError

WIDTH = 1000
"""Values of a picture (MultiEMO's d_V)."""
_SIDE = 224
_BATCH = 32
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's pictures by colour, as torchvision's weights expect them."""
_THEIR_MEAN, _THEIR_STD = (127.5 / 255,) * 3, (128 / 255,) * 3
"""Pixels of 0..255 less 127.5, divided by 128: what facenet-pytorch's MTCNN hands to the authors' network."""
_THEIR_NAMES = (
    (r"^features_0\.", "conv1."),
    (r"^features_1\.", "bn1."),
    (r"^features_4_(\d+)_", r"layer1.\1."),
    (r"^features_5_(\d+)_", r"layer2.\1."),
    (r"^features_6_(\d+)_", r"layer3.\1."),
    (r"^features_7_(\d+)_", r"layer4.\1."),
    (r"\.downsample_(\d)\.", r".downsample.\1."),
    (r"^classifier_0\.", "fc."),
)
"""Names of the authors' code -> torchvision's, as rules for `re.sub`."""
_REMEDY = (
    "give a safetensors file, or a folder with one, of torchvision's resnet101: "
    "safetensors.torch.save_file(torchvision.models.resnet101(weights='DEFAULT').state_dict(), FILE); of the MultiEMO "
    "authors' weights: safetensors.torch.save_file(torch.load(THEIRS, weights_only=True), FILE)"
)


class Resnet:
    """The network, loaded.

    Args:
        weights: file, see `weights_file`.
        setting: that named it, for messages.
        device: torch device.

    Raises:
        FeatureError: the weights are not those of a ResNet with bottlenecks and 1,000 outputs.
    """

    def __init__(self, weights: Path, *, setting: str, device: str) -> None:
        from torchvision.models.resnet import Bottleneck, ResNet  # takes seconds

        try:
            tensors = safetensors.torch.load_file(weights)
        except (SafetensorError, OSError) as error:
            raise _unusable(setting, weights, str(error)) from error
        theirs = "features_0.weight" in tensors
        if theirs:
            tensors = {_torchvisions(name): values for name, values in tensors.items()}
        self._scale = (_THEIR_MEAN, _THEIR_STD) if theirs else (_MEAN, _STD)
        width = tensors["fc.weight"].shape[0] if "fc.weight" in tensors else 0
        if width != WIDTH:
            raise _unusable(
                setting, weights, f"its last layer gives {width} values instead of {WIDTH}"
            )
        try:
            network = ResNet(Bottleneck, _depths(tensors))
            network.load_state_dict(tensors)
        except (RuntimeError, ValueError) as error:
            raise _unusable(setting, weights, str(error)) from error
        self._device = device
        self.parameters = sum(one.numel() for one in network.parameters())
        self._network = network.eval().requires_grad_(False).to(device)

    def __call__(self, pictures: Sequence[Picture]) -> Float32[np.ndarray, "picture value"]:
        """Values of pictures of any size."""
        found = []
        with torch.inference_mode():
            for first in range(0, len(pictures), _BATCH):
                some = pictures[first : first + _BATCH]
                batch = torch.cat([_prepared(one, *self._scale) for one in some])
                found.append(self._network(batch.to(self._device)).float().cpu().numpy())
        return np.concatenate(found)


def weights_file(place: str, setting: str) -> Path:
    """The file that a setting names: itself, or the only one in its folder.

    Raises:
        FeatureError: there is none.
    """
    path = Path(place).expanduser()
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not place or len(files) != 1 or not files[0].is_file():
        raise _unusable(setting, place or "''", "there is no such file, or not exactly one")
    return files[0]


def _depths(tensors: dict[str, Tensor]) -> list[int]:
    blocks = [re.match(r"layer([1-4])\.(\d+)\.", name) for name in tensors]
    depths = [0, 0, 0, 0]
    for block in filter(None, blocks):
        layer, index = int(block[1]) - 1, int(block[2])
        depths[layer] = max(depths[layer], index + 1)
    if 0 in depths:
        raise ValueError("it has not the four groups of layers of a ResNet")
    return depths


def _torchvisions(name: str) -> str:
    for theirs, ours in _THEIR_NAMES:
        name = re.sub(theirs, ours, name)
    return name


def _prepared(
    picture: Picture, mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "1 3 height width"]:
    """A picture at the network's size and scale."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
    scaled = torch.nn.functional.interpolate(
        pixels, size=(_SIDE, _SIDE), mode="bilinear", antialias=True, align_corners=False
    )
    middle, width = (torch.tensor(values)[None, :, None, None] for values in (mean, std))
    return (scaled - middle) / width


def _unusable(setting: str, place: object, reason: str) -> FeatureError:
    return FeatureError(
        f"cannot load {setting} {place} ({' '.join(reason.split())[:200]}): {_REMEDY}"
    )
