"""How each type of pretrained audio model is run on an utterance's own length.

    samples [time] -> prepare -> what the model reads [...] -> states of layers 0..top, each [batch, step * band, dim]

A batch holds utterances of one length, so nothing is padded and no state depends on its neighbours. Whisper and AST,
whose classes in transformers take one fixed length, are run layer by layer: their positions are absolute, so an
utterance uses the first ones. At the full length the states are those of transformers.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from raysys.errors import FeatureError

RATE_HZ = 16000
"""All models here hear 16 kHz."""


@dataclass(frozen=True)
class AudioModel:
    """A loaded model with what its type needs to know."""

    hop: int
    """Samples from one step to the next."""
    shortest: int
    """Samples that give a first step; shorter audio is padded with zeros."""
    longest: int | None
    """Samples that the model can take at once; None where its positions are relative."""
    bands: int
    """Frames a step: AST's patches at one moment, 1 elsewhere."""
    prepare: Callable[[Float[Tensor, " time"]], Tensor]
    """Samples -> what the model reads of them; equal shapes can share a batch."""
    states: Callable[[Tensor, int], list[Float[Tensor, "batch time dim"]]]
    """(a batch, top layer) -> states of layers 0 to the top; the last layer's are those that the model ends with."""
    leading: int = 0
    """States before those of the first step that stand for no moment: AST's two class tokens."""
    convolutions: Callable[[Tensor], Float[Tensor, "batch time dim"]] | None = None
    """A batch -> what comes before the transformer; None where it is no stack of convolutions on samples."""


def whisper(model: Any, extractor: Any) -> AudioModel:
    """Whisper's encoder (Radford et al. 2022, arXiv:2212.04356): 50 states a second, at most 30 s at once."""
    encoder = model.get_encoder()
    hop = extractor.hop_length * 2
    positions = encoder.embed_positions.weight

    def prepare(samples: Tensor) -> Tensor:
        whole = samples[: len(samples) // hop * hop]
        read = extractor(
            whole.numpy(),
            sampling_rate=RATE_HZ,
            padding="longest",
            truncation=False,
            return_tensors="pt",
        )
        frames: Tensor = read.input_features[0]
        return frames[:, : frames.shape[1] // 2 * 2]

    def states(batch: Tensor, top: int) -> list[Tensor]:
        x = nn.functional.gelu(encoder.conv1(batch))
        x = nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)
        x = x + positions[: x.shape[1]]
        return _through(x, encoder.layers, encoder.layer_norm, top)

    return AudioModel(hop, hop, len(positions) * hop, 1, prepare, states)


def spectrogram_transformer(model: Any, extractor: Any) -> AudioModel:
    """AST (Gong et al. 2021, arXiv:2104.01778): patches of filterbanks, in the order of time, then frequency."""
    config, embeddings = model.config, model.embeddings
    window, shift = 400, 160  # samples of a filterbank frame, and from one to the next
    bands, longest = embeddings.get_shape(config)
    grid = embeddings.position_embeddings[0, 2:].unflatten(0, (bands, longest))

    def prepare(samples: Tensor) -> Tensor:
        count = 1 + (len(samples) - window) // shift
        read = extractor(samples.numpy(), sampling_rate=RATE_HZ, return_tensors="pt")
        frames: Tensor = read.input_values[0, :count]
        steps = (count - config.patch_size) // config.time_stride
        return frames[: steps * config.time_stride + config.patch_size]

    def states(batch: Tensor, top: int) -> list[Tensor]:
        patches = embeddings.patch_embeddings(batch)
        steps = patches.shape[1] // bands
        x = patches + grid[:, :steps].flatten(0, 1)
        first = torch.cat([embeddings.cls_token, embeddings.distillation_token], dim=1)
        first = (first + embeddings.position_embeddings[:, :2]).expand(len(x), -1, -1)
        found = _through(torch.cat([first, x], dim=1), model.layers, model.layernorm, top)
        return [torch.cat([one[:, :2], _by_time(one[:, 2:], bands)], dim=1) for one in found]

    shortest = window + shift * (config.patch_size - 1)
    return AudioModel(
        hop=config.time_stride * shift,
        shortest=shortest,
        longest=shortest + (longest - 1) * config.time_stride * shift,
        bands=bands,
        prepare=prepare,
        states=states,
        leading=2,
    )


def waveform_model(model: Any, extractor: Any) -> AudioModel:
    """wav2vec 2.0 and its kind (Baevski et al. 2020, arXiv:2006.11477): convolutions on samples, relative positions."""
    strides, kernels = model.config.conv_stride, model.config.conv_kernel
    # a norm over time sees every sample; without one, what reaches no state can go, and more lengths are equal
    over_time = getattr(model.config, "feat_extract_norm", "layer") == "group"
    hop, reach = math.prod(strides), 1
    for stride, kernel in zip(reversed(strides), reversed(kernels), strict=True):
        reach = (reach - 1) * stride + kernel

    def prepare(samples: Tensor) -> Tensor:
        read = extractor(samples.numpy(), sampling_rate=RATE_HZ, return_tensors="pt")
        values: Tensor = read.input_values[0]
        return values if over_time else values[: (len(values) - reach) // hop * hop + reach]

    def states(batch: Tensor, top: int) -> list[Tensor]:
        found = model(batch, output_hidden_states=True)
        return [*found.hidden_states[:-1], found.last_hidden_state]

    def convolutions(batch: Tensor) -> Tensor:
        found: Tensor = model.feature_extractor(batch).transpose(1, 2)
        return found

    return AudioModel(hop, reach, None, 1, prepare, states, convolutions=convolutions)


FAMILIES: Mapping[str, Callable[[Any, Any], AudioModel]] = {
    "whisper": whisper,
    "audio-spectrogram-transformer": spectrogram_transformer,
    "wav2vec2": waveform_model,
    "hubert": waveform_model,
    "wavlm": waveform_model,
    "data2vec-audio": waveform_model,
    "unispeech": waveform_model,
    "unispeech-sat": waveform_model,
}
"""Type of a model, as its config.json says -> how it is run."""


def check_extractor(extractor: Any, name: str) -> None:
    """Refuse a model that hears more than 16 kHz.

    Raises:
        FeatureError: it does.
    """
    rate = getattr(extractor, "sampling_rate", RATE_HZ)
    if rate != RATE_HZ:
        raise FeatureError(
            f"'{name}' hears {rate} Hz; audio encoders here hear {RATE_HZ} Hz: choose a model of that rate"
        )


def _through(x: Tensor, layers: Any, norm: Any, top: int) -> list[Tensor]:
    """States of layers 0 to `top`; after the last of all comes the model's norm."""
    found = [x]
    for layer in layers[:top]:
        x = layer(x, None)
        found.append(x)
    if top == len(layers):
        found[-1] = norm(x)
    return found


def _by_time(
    patches: Float[Tensor, "batch patch dim"], bands: int
) -> Float[Tensor, "batch patch dim"]:
    """From the order of frequency, then time, to that of time, then frequency."""
    return patches.unflatten(1, (bands, -1)).transpose(1, 2).flatten(1, 2)
