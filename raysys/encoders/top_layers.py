"""Fine-tuning: the top layers of a pretrained model as a module that is trained with the classifier, fold by fold.

    stored: states that the top layers read, and a mark      [time, dim + 1]     computed once, whatever trains on them
    top:    states -> layers first + 1 .. first + count -> own frames [own, dim]

Either the layers themselves are trained, or adapters in them (`raysys.encoders.adapters`).

The mark is 1 for frames that are the utterance's own and 0 for those that its frames only look at: turns of context,
AST's two class tokens. The store keeps what is below the top layers, so these alone cost time in training. A recipe of
plain values builds the module again, without the pretrained files.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from raysys.encoders.adapters import LoraConfig, add_adapters, keep_adapters_alone

_WAVEFORMS = {"wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat"}
_SPECTROGRAMS = {"whisper", "audio-spectrogram-transformer"}
_TEXTS = {
    "bert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "electra",
    "mpnet",
    "deberta",
    "deberta-v2",
}
_PADDED = 1.25
"""Longest utterance of a group, as a share of its shortest."""
TUNABLE = _WAVEFORMS | _SPECTROGRAMS | _TEXTS
"""Types of models, as their config.json says, whose top layers can be trained."""


@dataclass(frozen=True)
class TopRecipe:
    """What the top layers are, and their pretrained weights."""

    settings: Mapping[str, Any]
    """The model's config.json."""
    first: int
    """Layer whose states are stored."""
    count: int
    """Layers above it that are trained."""
    bands: int = 1
    """Frames of one moment that are averaged at the end (AST's patches)."""
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Pretrained weights of `TopLayers`; empty where a bundle holds trained ones."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Adapters that are trained in the place of the layers' weights."""

    @property
    def plain(self) -> dict[str, Any]:
        """Without weights, for JSON; with adapters, a digest says on which weights they stand."""
        known = {"first": self.first, "count": self.count, "bands": self.bands}
        adapted = {"lora": asdict(self.lora), "base": self.base} if self.lora.rank else {}
        return {"settings": dict(self.settings), **known, **adapted}

    @property
    def base(self) -> str:
        """Digest of the pretrained weights, their names included."""
        total = hashlib.sha256()
        for name, value in sorted(self.weights.items()):
            total.update(name.encode())
            total.update(np.ascontiguousarray(value).data)
        return total.hexdigest()

    def build(self) -> "TopLayers":
        """The module, with the pretrained weights where there are such, and new adapters in it where it has some.

        Raises:
            FeatureError: adapters are asked for, and PEFT is not installed.
        """
        import transformers  # takes seconds

        kind = str(self.settings["model_type"])
        known = dict(self.settings)
        if "decoder_layers" in known:  # not used
            known["decoder_layers"] = 1
        config = transformers.AutoConfig.for_model(**known)
        model = transformers.AutoModel.from_config(config, dtype=torch.float32)  # not the files'
        top = TopLayers(model, kind, self)
        if self.weights:
            tensors = {name: torch.tensor(value) for name, value in self.weights.items()}
            top.load_state_dict(tensors)
        if self.lora.rank:
            top.adapt(self.lora)
        return top


def recipe_of(
    model: Any,
    settings: Mapping[str, Any],
    *,
    first: int,
    count: int,
    lora: LoraConfig,
    bands: int = 1,
) -> TopRecipe:
    """The recipe of a loaded model's top layers.

    Args:
        model: of transformers, in float32 on the CPU; it is cut, and of no use afterwards.
        settings: its config.json.
        first: layer whose states are stored.
        count: layers that are trained.
        lora: adapters in them.
        bands: frames of one moment that are averaged at the end.
    """
    plain = TopRecipe(settings, first, count, bands, lora=lora)
    top = TopLayers(model, str(settings["model_type"]), plain)
    weights = {name: value.detach().numpy().copy() for name, value in top.state_dict().items()}
    return replace(plain, weights=weights)


class TopLayers(nn.Module):
    """Layers that are trained; see the module.

    Args:
        model: of transformers, which is cut.
        kind: its type.
        recipe: which layers.
    """

    def __init__(self, model: Any, kind: str, recipe: TopRecipe) -> None:
        super().__init__()
        self._bands = recipe.bands
        kept = slice(recipe.first, recipe.first + recipe.count)
        cut = _cut_waveforms if kind in _WAVEFORMS else _cut_spectrograms
        self.layers = (_cut_texts if kind in _TEXTS else cut)(model, kept)
        self.checkpointing = False
        """Compute the layers again in the backward pass instead of keeping what they need for it."""
        self.mixed = False
        """Compute in bfloat16 where torch's autocast does."""
        config, dim = model.config, int(model.config.hidden_size)
        within = "encoder_ffn_dim" if hasattr(config, "encoder_ffn_dim") else "intermediate_size"
        self._inner = int(getattr(config, within))
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def adapt(self, lora: LoraConfig) -> None:
        """From now on, adapters are trained in the place of the layers' weights, and kept without them.

        Raises:
            FeatureError: PEFT is not installed.
        """
        add_adapters(self.layers, lora, hidden=len(self.mean), inner=self._inner)
        keep_adapters_alone(self, "layers")

    def normalise(self, mean: Tensor, std: Tensor) -> None:
        """From now on, columns are (x - mean) / std."""
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(
        self, values: Float[Tensor, "batch time marked"], mask: Bool[Tensor, "batch time"]
    ) -> tuple[Float[Tensor, "batch own dim"], Bool[Tensor, "batch own"]]:
        """States of each utterance's own frames, and which of them are there."""
        states, own = values[..., :-1], mask & (values[..., -1] > 0)
        found = self._through(states, mask)
        order = torch.argsort((~own).int(), dim=1, stable=True)
        longest = int(own.sum(dim=1).max())
        order = order[:, :longest]
        kept = own.gather(1, order)
        found = found.gather(1, order[..., None].expand(-1, -1, found.shape[2]))
        if self._bands > 1:
            found = found.unflatten(1, (-1, self._bands)).mean(dim=2)
            kept = kept.unflatten(1, (-1, self._bands))[..., 0]
        normal = (found - self.mean) / self.std
        return normal * kept[..., None], kept

    def _through(self, states: Tensor, mask: Tensor) -> Tensor:
        """The layers' states, computed for utterances of like length at a time: little of it is padding."""
        lengths = mask.sum(dim=1)
        order = torch.argsort(lengths, stable=True)
        found = []
        for group in order.split(_group_sizes(lengths[order].tolist())):
            longest = int(lengths[group].max())
            given = states[group, :longest], mask[group, :longest]
            with torch.autocast(states.device.type, dtype=torch.bfloat16, enabled=self.mixed):
                if self.checkpointing and self.training:
                    part = checkpoint(self.layers, *given, use_reentrant=False)
                else:
                    part = self.layers(*given)
            found.append(nn.functional.pad(part.float(), (0, 0, 0, states.shape[1] - longest)))
        return torch.cat(found)[torch.argsort(order)]


def _group_sizes(lengths: Sequence[int]) -> list[int]:
    """Sizes of groups of utterances in which the longest is little longer than the shortest.

    Args:
        lengths: of the utterances, from short to long.
    """
    sizes, shortest = [0], lengths[0]
    for length in lengths:
        if length > _PADDED * shortest + 1:
            sizes.append(0)
            shortest = length
        sizes[-1] += 1
    return sizes


class _Texts(nn.Module):
    """A text model that begins with states instead of tokens."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = self.model(
            inputs_embeds=states, attention_mask=mask.long()
        ).last_hidden_state
        return found


class _Given(nn.Module):
    """In the place of embeddings: what is given."""

    def forward(self, *tokens: Any, inputs_embeds: Tensor, **others: Any) -> Tensor:
        return inputs_embeds


class _Nothing(nn.Module):
    """In the place of positions, which the states below have seen."""

    def forward(self, states: Tensor) -> Tensor:
        return torch.zeros_like(states)


class _Spectrograms(nn.Module):
    """Layers one after the other, and the model's norm after the last of all."""

    def __init__(self, config: Any, layers: Any, norm: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.layers = layers
        self.norm = norm

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        from transformers.masking_utils import create_bidirectional_mask

        seen = create_bidirectional_mask(
            config=self.config, inputs_embeds=states, attention_mask=mask
        )
        for layer in self.layers:
            states = layer(states, seen)
        found: Tensor = self.norm(states)
        return found


class _Waveforms(nn.Module):
    """The transformer of a waveform model, without its positions."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*mismatched key_padding_mask")  # WavLM's
            found: Tensor = self.encoder(states.clone(), attention_mask=mask).last_hidden_state
        return found


def _cut_texts(model: Any, kept: slice) -> nn.Module:
    encoder = model.encoder
    if kept.start > 0 and hasattr(encoder, "conv"):  # DeBERTa's, after its first layer
        encoder.conv = None
    encoder.layer = encoder.layer[kept]
    model.embeddings = _Given()
    model.pooler = None
    if hasattr(model, "embeddings_project"):
        del model.embeddings_project
    return _Texts(model)


def _cut_spectrograms(model: Any, kept: slice) -> nn.Module:
    encoder = model.get_encoder() if hasattr(model, "decoder") else model
    norm = encoder.layer_norm if hasattr(encoder, "layer_norm") else encoder.layernorm
    whole = kept.stop == len(encoder.layers)
    return _Spectrograms(encoder.config, encoder.layers[kept], norm if whole else nn.Identity())


def _cut_waveforms(model: Any, kept: slice) -> nn.Module:
    encoder, layers = model.encoder, model.encoder.layers
    positions = getattr(layers[0].attention, "rel_attn_embed", None)
    after = getattr(encoder.config, "do_stable_layer_norm", False) and kept.stop == len(layers)
    encoder.layers = layers[kept]
    if positions is not None:  # WavLM's first layer holds the relative positions of all
        encoder.layers[0].attention.rel_attn_embed = positions
    encoder.pos_conv_embed = _Nothing()
    if (
        not after
    ):  # otherwise it stands before the first layer, where the stored states have passed it
        encoder.layer_norm = nn.Identity()
    encoder.config.layerdrop = 0.0
    return _Waveforms(encoder)
