"""What the encoders of films share: pictures of a film, through a ResNet, averaged.

film -> pictures -> ResNet [1000] each -> mean over all [1, 1000]
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from raysys.corpus.pictures import Picture
from raysys.corpus.table import Utterance
from raysys.encoders import film, resnet
from raysys.encoders.encoder import Encoder, Frames, Source, code_digest
from raysys.encoders.pretrained import torch_device
from raysys.encoders.resnet import WIDTH, Resnet, weights_file
from raysys.storage import file_digest


class FilmEncoder(Encoder):
    """One frame an utterance; zeros where its film shows no picture that counts.

    Args:
        name: of the encoder, and of its settings in `features`.
        weights: of the ResNet: a file, or a folder with one.
        device: auto, cpu or cuda.
        pictures: (utterance, its film) -> what the ResNet sees of it.
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
        device: str,
        pictures: Callable[[Utterance, Path], list[Picture]],
        identity: Mapping[str, Any],
    ) -> None:
        self._name = name
        self._setting = f"features.{name}.weights"
        self._weights = weights_file(weights, self._setting)
        self._device = device
        self.uses_gpu = device != "cpu"
        self._pictures = pictures
        self._identity = identity

    def fingerprint(self) -> dict[str, Any]:
        """Settings that decide values, and the digest of the weights."""
        return {
            "encoder": self._name,
            "weights": file_digest(self._weights),
            "shared_code": code_digest(sys.modules[__name__], film, resnet),
            **self._identity,
        }

    def read(self, source: Source, root: Path) -> list[Picture]:
        """The pictures of the film that count."""
        return self._pictures(source.row, root / source.row.video)

    def load(self) -> None:
        """The model."""
        _ = self._network

    def encode(self, items: Sequence[list[Picture]]) -> Iterator[tuple[int, Frames]]:
        """The mean over each utterance's pictures, in order."""
        for k, pictures in enumerate(items):
            yield k, self._mean(pictures)

    def _mean(self, pictures: Sequence[Picture]) -> Frames:
        if not pictures:
            return np.zeros((1, WIDTH), dtype=np.float32)
        return self._network(pictures).mean(axis=0, keepdims=True)

    @cached_property
    def _network(self) -> Resnet:
        network = Resnet(
            self._weights, setting=self._setting, device=torch_device(self._name, self._device)
        )
        self.parameters = network.parameters
        return network
