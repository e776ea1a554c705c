"""What the encoders of films share: parts of some frames, through a ResNet, averaged.

film -> frames at even distances -> parts of each -> ResNet [1000] each -> mean over all [1, 1000]
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from raysys.encoders import film, resnet
from raysys.encoders.encoder import Encoder, Frames, Source, code_digest
from raysys.encoders.film import Picture
from raysys.encoders.pretrained import torch_device
from raysys.encoders.resnet import WIDTH, Resnet, weights_file
from raysys.storage import file_digest


class FilmEncoder(Encoder):
    """One frame an utterance; zeros where its film shows no part that counts.

    Args:
        name: of the encoder, and of its settings in `features`.
        weights: of the ResNet: a file, or a folder with one.
        frames: looked at in a film.
        device: auto, cpu or cuda.
        parts: of a frame that the ResNet sees.
        identity: what else decides the values.

    Raises:
        FeatureError: there are no such weights.
    """

    portion = 8.0

    def __init__(
        self,
        name: str,
        *,
        weights: str,
        frames: int,
        device: str,
        parts: Callable[[Picture], list[Picture]],
        identity: Mapping[str, Any],
    ) -> None:
        self._name = name
        self._setting = f"features.{name}.weights"
        self._weights = weights_file(weights, self._setting)
        self._frames = frames
        self._device = device
        self.uses_gpu = device != "cpu"
        self._parts = parts
        self._identity = identity

    def fingerprint(self) -> dict[str, Any]:
        """Settings that decide values, and the digest of the weights."""
        return {
            "encoder": self._name,
            "frames": self._frames,
            "weights": file_digest(self._weights),
            "shared_code": code_digest(sys.modules[__name__], film, resnet),
            **self._identity,
        }

    def read(self, source: Source, root: Path) -> list[Picture]:
        """The parts of some frames of the film."""
        row = source.row
        pictures = film.read_frames(row, root / row.video, self._frames)
        return [part for one in pictures for part in self._parts(one)]

    def load(self) -> None:
        """The model."""
        _ = self._network

    def encode(self, items: Sequence[list[Picture]]) -> Iterator[tuple[int, Frames]]:
        """The mean over each utterance's parts, in order."""
        for k, parts in enumerate(items):
            yield k, self._mean(parts)

    def _mean(self, parts: Sequence[Picture]) -> Frames:
        if not parts:
            return np.zeros((1, WIDTH), dtype=np.float32)
        return self._network(parts).mean(axis=0, keepdims=True)

    @cached_property
    def _network(self) -> Resnet:
        network = Resnet(
            self._weights, setting=self._setting, device=torch_device(self._name, self._device)
        )
        self.parameters = network.parameters
        return network
