"""Audio encoder `audio_transformers`: states of a frozen pretrained model of waveforms or spectrograms.

    waveform at 16 kHz -> windows -> states of the chosen layers -> joined windows [step, dim]

Every utterance is run at its own length (see `raysys.encoders.audio_models`), so only real frames come out and none
depends on its batch. Audio longer than a window is cut into overlapping ones; each step is taken from the window in
which it lies farther from the edge. The model is known by the digests of its files, and loaded when there is something
to encode.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32

from raysys.corpus import audio
from raysys.encoders import audio_models, pretrained, waveform
from raysys.encoders.adapters import LoraConfig, check_lora, check_targets
from raysys.encoders.audio_models import FAMILIES, RATE_HZ, AudioModel, waveform_model
from raysys.encoders.encoder import Encoder, EncoderConfig, Frames, Source, code_digest, marked
from raysys.encoders.pretrained import (
    LayerPooling,
    Precision,
    PretrainedModel,
    check_model_settings,
    join_layers,
)
from raysys.encoders.top_layers import TopRecipe, recipe_of
from raysys.encoders.waveform import Samples
from raysys.errors import FeatureError
from raysys.gpu import Device
from raysys.settings import require

_GROUP = "audio_transformers"


@dataclass(frozen=True)
class AudioTransformersConfig(EncoderConfig):
    """States of a frozen pretrained audio model: Whisper, wav2vec 2.0, HuBERT, WavLM, data2vec-audio, AST."""

    modalities: ClassVar = ("audio",)
    idle: ClassVar[Mapping[str, Mapping[str, tuple[Any, ...]]]] = {
        name: {"output": ("convolutions",)} for name in ("layers", "layer_pooling")
    }
    model: str = "openai/whisper-tiny.en"
    """Local folder or hub name with config, preprocessor_config and safetensors weights."""
    revision: str = "main"
    """Hub revision; ignored for a local folder."""
    layers: tuple[int, ...] = (-1,)
    """Layers whose states are used; 0 is what the first one reads, -1 the last. Middle layers often serve best."""
    layer_pooling: LayerPooling = "concat"
    """How several layers are combined: concat (side by side) or mean."""
    output: Literal["layers", "convolutions"] = "layers"
    """layers, or convolutions: what wav2vec 2.0, HuBERT, WavLM and data2vec compute of 25 ms every 20 ms before their
    first layer, 512 values wide."""
    finetune_layers: int = 0
    """Top layers, up to the one in `layers`, that are trained with the model in every fold; 0 keeps all frozen."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Adapters that are trained in those layers in the place of their weights."""
    patches: Literal["time", "all"] = "time"
    """Frames of models with patches (AST): time (mean over the frequencies of one moment) or all (each a frame)."""
    window_seconds: float = 30.0
    """Longer audio is cut into windows; a model that takes less at once sets its own."""
    overlap_seconds: float = 2.0
    """What neighbouring windows share."""
    batch_seconds: float = 60.0
    """Most audio in one forward pass, of utterances of one length."""
    precision: Precision = "float32"
    """Type of weights and states: float32; on a GPU also float16 or bfloat16."""
    device: Device = "auto"
    """auto (CUDA when there is one), cpu or cuda."""

    def __post_init__(self) -> None:
        check_model_settings(_GROUP, self.model, self.layers, self.finetune_layers)
        check_lora(_GROUP, self.lora, self.finetune_layers)
        fits = self.output == "layers" or not self.finetune_layers
        rule = f"0 where features.{_GROUP}.output is convolutions"
        require(fits, f"features.{_GROUP}.finetune_layers", self.finetune_layers, rule)
        window, overlap = self.window_seconds, self.overlap_seconds
        require(1 <= window <= 600, f"features.{_GROUP}.window_seconds", window, "1 to 600")
        rule = f"0 to half of features.{_GROUP}.window_seconds"
        require(0 <= overlap <= window / 2, f"features.{_GROUP}.overlap_seconds", overlap, rule)
        batch = self.batch_seconds
        require(batch > 0, f"features.{_GROUP}.batch_seconds", batch, "above 0")

    def build(self, modality: str) -> "AudioTransformersEncoder":
        """The encoder."""
        return AudioTransformersEncoder(self)

    def top(self) -> TopRecipe | None:
        """The layers that are trained with the model."""
        return self.build("audio").top() if self.finetune_layers else None


@dataclass(frozen=True)
class _Stretch:
    """A window of an utterance, as the model reads it."""

    item: int
    step: int
    """Where its first state stands in the utterance."""
    samples: int
    values: torch.Tensor


class AudioTransformersEncoder(Encoder):
    """States of an audio model; see the module.

    Raises:
        FeatureError: there is no such model, it is none for audio, or it has no such layer.
    """

    portion = waveform.PORTION_SECONDS
    hears_hz = RATE_HZ

    def __init__(self, config: AudioTransformersConfig) -> None:
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
        if config.output == "convolutions" and FAMILIES[self._files.kind] is not waveform_model:
            raise FeatureError(
                f"features.{_GROUP}.output is convolutions, but '{config.model}' is a {self._files.kind} model, which "
                f"reads no samples: set --features.{_GROUP}.output layers"
            )
        self._files.check_layers(config.layers)
        self._layers = self._files.stored_layers(config.layers, config.finetune_layers)
        check_targets(_GROUP, self._files.kind, config.lora)
        if not (self._files.folder / "preprocessor_config.json").is_file():
            raise self._files.unusable(ValueError("preprocessor_config.json is missing"))

    def top(self) -> TopRecipe:
        """The layers above those whose states are encoded, as pretrained.

        Raises:
            FeatureError: the model cannot be loaded.
        """
        model = self._files.load("AutoModel", dtype=torch.float32, use_safetensors=True)
        known = FAMILIES[self._files.kind](model, self._files.load("AutoFeatureExtractor"))
        bands = known.bands if self._config.patches == "time" else 1
        (first,), count, lora = self._layers, self._config.finetune_layers, self._config.lora
        settings = self._files.settings
        return recipe_of(model, settings, first=first, count=count, lora=lora, bands=bands)

    def fingerprint(self) -> dict[str, Any]:
        """Settings that decide values, digests of the model's files, versions of what computes."""
        config = self._config
        names = (
            "layers",
            "layer_pooling",
            "output",
            "patches",
            "window_seconds",
            "overlap_seconds",
        )
        return {
            "encoder": _GROUP,
            **{name: getattr(config, name) for name in names},
            "layers": list(self._layers),
            "marked": config.finetune_layers > 0,
            "precision": config.precision,
            "files": self._files.files,
            "code": code_digest(sys.modules[__name__], audio_models, pretrained, waveform, audio),
            "torchaudio": version("torchaudio"),
        }

    def size(self, source: Source, root: Path) -> float:
        """Seconds."""
        return waveform.seconds(source.row, root)

    def read(self, source: Source, root: Path) -> Samples:
        """Samples at 16 kHz."""
        remedy = f"leave the file out, or choose another encoder than {_GROUP}"
        return waveform.read_waveform(source.row, root, RATE_HZ, remedy=remedy)

    def load(self) -> None:
        """The model."""
        _ = self._model

    def encode(self, items: Sequence[Samples]) -> Iterator[tuple[int, Frames]]:
        """States of each utterance."""
        stretches = [
            one
            for k, samples in enumerate(items)
            for one in self._stretches(k, torch.from_numpy(samples))
        ]
        found: dict[int, list[tuple[int, np.ndarray]]] = {}
        for batch in self._batches(stretches):
            for one, states in zip(batch, self._states(batch), strict=True):
                found.setdefault(one.item, []).append((one.step, states))
        for k, pieces in found.items():
            yield k, self._frames(sorted(pieces, key=lambda piece: piece[0]))

    def _stretches(self, item: int, samples: torch.Tensor) -> Iterator[_Stretch]:
        model, config = self._model, self._config
        if len(samples) < model.shortest:
            samples = torch.nn.functional.pad(samples, (0, model.shortest - len(samples)))
        wanted = int(config.window_seconds * RATE_HZ)
        window = min(wanted, model.longest or wanted)
        shared = max(int(config.overlap_seconds * RATE_HZ), model.shortest)
        advance = max(1, (window - shared) // model.hop) * model.hop
        start = 0
        while True:
            piece = samples[start : start + window]
            yield _Stretch(item, start // model.hop, len(piece), model.prepare(piece))
            if start + window >= len(samples):
                return
            start += advance

    def _batches(self, stretches: Sequence[_Stretch]) -> Iterator[list[_Stretch]]:
        """Stretches of one shape each."""
        alike: dict[tuple[int, ...], list[_Stretch]] = {}
        for one in stretches:
            alike.setdefault(tuple(one.values.shape), []).append(one)
        for group in alike.values():
            size = max(1, int(self._config.batch_seconds * RATE_HZ / group[0].samples))
            for first in range(0, len(group), size):
                yield group[first : first + size]

    def _states(self, batch: Sequence[_Stretch]) -> Float32[np.ndarray, "batch state dim"]:
        files, config = self._files, self._config
        layers = [k % (files.layers + 1) for k in self._layers]
        with torch.inference_mode():
            moved = torch.stack([one.values for one in batch]).to(files.device, files.dtype)
            if config.output == "convolutions":
                assert self._model.convolutions is not None
                return self._model.convolutions(moved).float().cpu().numpy()
            states = self._model.states(moved, max(layers))
            return join_layers(states, layers, config.layer_pooling).cpu().numpy()

    def _frames(self, pieces: Sequence[tuple[int, Float32[np.ndarray, "_ dim"]]]) -> Frames:
        """One utterance's frames of the states of its windows."""
        leading, bands = self._model.leading, self._model.bands
        first = pieces[0][1][:leading]
        states = join_windows(
            [(start, part[leading:].reshape(-1, bands, part.shape[1])) for start, part in pieces]
        )
        if self._config.finetune_layers:
            if leading and len(pieces) > 1:
                raise FeatureError(
                    f"an utterance is longer than '{self._config.model}' hears at once, so its layers cannot be "
                    f"trained: leave it out, or set --features.{_GROUP}.finetune_layers 0"
                )
            every = np.concatenate([first, states.reshape(-1, states.shape[2])])
            return marked(every, slice(leading, None))
        if self._config.patches == "time":
            return states.mean(axis=1)
        return states.reshape(-1, states.shape[2])

    @cached_property
    def _model(self) -> AudioModel:
        extractor = self._files.load("AutoFeatureExtractor")
        audio_models.check_extractor(extractor, self._config.model)
        loaded = FAMILIES[self._files.kind](self._files.load_weights(), extractor)
        self.parameters = self._files.parameters
        return loaded


def join_windows(
    pieces: Sequence[tuple[int, Float[np.ndarray, "_ band dim"]]],
) -> Float[np.ndarray, "step band dim"]:
    """One array of overlapping windows: each step from the window in which it lies farther from the edge.

    Args:
        pieces: where the first step of each window stands, and its states; by start, without gaps.
    """
    kept, begin = [], 0
    for k, (start, states) in enumerate(pieces):
        end = start + len(states)
        if k + 1 < len(pieces):
            end = (pieces[k + 1][0] + end + 1) // 2
        kept.append(states[begin - start : end - start])
        begin = end
    return np.concatenate(kept)
