"""Image encoder `image_transformers`: what a frozen pretrained vision model makes of a picture.

    picture [height, width, 3] -> the model's own preparation -> model -> one vector [1, dim], or patches [patch, dim]

Vision transformers (Dosovitskiy et al. 2021, arXiv:2010.11929), DINOv2 (Oquab et al. 2023, arXiv:2304.07193), the
vision part of CLIP (Radford et al. 2021, arXiv:2103.00020), ResNets (He et al. 2016, arXiv:1512.03385). The one vector
is the class token's last state, or a ResNet's average over the picture: heads that a checkpoint may lack take no part.
The model is known by the digests of its files, and loaded when there is something to encode.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from raysys.corpus import pictures
from raysys.corpus.pictures import Picture, read_picture
from raysys.encoders import pretrained
from raysys.encoders.encoder import Encoder, EncoderConfig, Frames, Source, code_digest
from raysys.encoders.pretrained import Precision, PretrainedModel
from raysys.errors import FeatureError
from raysys.gpu import Device
from raysys.settings import require

_GROUP = "image_transformers"
States = tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch patch dim"]]
"""States of a batch of pictures: one vector each, and patches."""


@dataclass(frozen=True)
class ImageTransformersConfig(EncoderConfig):
    """A frozen pretrained vision model: ViT, DINOv2, CLIP's vision part, ResNet."""

    modalities: ClassVar = ("image",)
    model: str = "google/vit-base-patch16-224-in21k"
    """Local folder or hub name with config, preprocessor_config and safetensors weights."""
    revision: str = "main"
    """Hub revision; ignored for a local folder."""
    output: Literal["pooled", "patches"] = "pooled"
    """pooled (one vector a picture) or patches (one a part of the picture, for models that look where something is)."""
    batch_images: int = 32
    """Pictures in one forward pass."""
    precision: Precision = "float32"
    """Type of weights and states: float32; on a GPU also float16 or bfloat16."""
    device: Device = "auto"
    """auto (CUDA when there is one), cpu or cuda."""

    def __post_init__(self) -> None:
        require(bool(self.model), f"features.{_GROUP}.model", self.model, "a folder or hub name")
        count = self.batch_images
        require(1 <= count <= 10_000, f"features.{_GROUP}.batch_images", count, "1 to 10000")

    def build(self, modality: str) -> "ImageTransformersEncoder":
        """The encoder."""
        return ImageTransformersEncoder(self)


@dataclass(frozen=True)
class _Family:
    """How models of one type are loaded and read."""

    loader: str
    """Class of transformers."""
    read: Callable[[Any, Tensor], States]
    """(model, prepared pictures) -> states."""
    options: Mapping[str, Any]


def _tokens(model: Any, batch: Tensor) -> States:
    """States of a transformer whose last states are normalised and begin with the class token's."""
    states = model(pixel_values=batch).last_hidden_state
    return states[:, 0], states[:, 1:]


def _clip(model: Any, batch: Tensor) -> States:
    """CLIP normalises the class token's state alone."""
    found = model(pixel_values=batch)
    return found.pooler_output, found.last_hidden_state[:, 1:]


def _maps(model: Any, batch: Tensor) -> States:
    """States of a convolutional network: the average over the picture, and its parts in the order of reading."""
    maps = model(pixel_values=batch).last_hidden_state.flatten(2).transpose(1, 2)
    return maps.mean(dim=1), maps


_CLIP = _Family("CLIPVisionModel", _clip, {})
FAMILIES: Mapping[str, _Family] = {
    "vit": _Family("ViTModel", _tokens, {"add_pooling_layer": False}),
    "dinov2": _Family("Dinov2Model", _tokens, {}),
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "resnet": _Family("ResNetModel", _maps, {}),
}
"""Type of a model, as its config.json says -> how it is run."""


class ImageTransformersEncoder(Encoder):
    """What a vision model makes of pictures; see the module.

    Raises:
        FeatureError: there is no such model, or it is none for pictures.
    """

    def __init__(self, config: ImageTransformersConfig) -> None:
        self._config = config
        self._files = PretrainedModel(
            _GROUP,
            config.model,
            revision=config.revision,
            device=config.device,
            precision=config.precision,
        )
        self.uses_gpu = config.device != "cpu"
        if self._files.kind not in FAMILIES:
            raise FeatureError(
                f"features.{_GROUP}.model '{config.model}' is a {self._files.kind} model: give one of "
                f"{', '.join(FAMILIES)}"
            )
        if not (self._files.folder / "preprocessor_config.json").is_file():
            raise self._files.unusable(ValueError("preprocessor_config.json is missing"))

    def fingerprint(self) -> dict[str, Any]:
        """Settings that decide values, and digests of the model's files."""
        return {
            "encoder": _GROUP,
            "output": self._config.output,
            "precision": self._config.precision,
            "files": self._files.files,
            "code": code_digest(sys.modules[__name__], pretrained, pictures),
        }

    def read(self, source: Source, root: Path) -> Picture:
        """The picture."""
        return read_picture(root / source.row.image, f"'{source.row.utterance_id}'")

    def load(self) -> None:
        """The model."""
        _ = self._model

    def encode(self, items: Sequence[Picture]) -> Iterator[tuple[int, Frames]]:
        """States of each picture, in order."""
        files, family = self._files, FAMILIES[self._files.kind]
        for first in range(0, len(items), self._config.batch_images):
            some = items[first : first + self._config.batch_images]
            prepared = torch.cat([self._prepared(one) for one in some])
            with torch.inference_mode():
                pooled, patches = family.read(self._model, prepared.to(files.device, files.dtype))
            found = patches if self._config.output == "patches" else pooled[:, None]
            yield from enumerate(found.float().cpu().numpy(), first)

    def _prepared(self, picture: Picture) -> Float[Tensor, "1 3 height width"]:
        """A picture at the model's size and scale, as its preprocessor_config says."""
        found: Tensor = self._processor(images=picture, return_tensors="pt").pixel_values
        return found

    @cached_property
    def _processor(self) -> Any:
        return self._files.load("AutoImageProcessor")

    @cached_property
    def _model(self) -> Any:
        family = FAMILIES[self._files.kind]
        loaded = self._files.load_weights(family.loader, **family.options)
        self.parameters = self._files.parameters
        return loaded
