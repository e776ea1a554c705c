"""Text encoder `transformers`: token states of a frozen pretrained model (BERT, RoBERTa, DeBERTa, MiniLM, ...).

    text -> word pieces [token] -> hidden states of the chosen layers [token, dim]
    with context_turns k: the k turns before <sep> text -> states of the text's own tokens

Texts are batched by length, so little is computed for padding. The model is known by the digests of its files, and
loaded only when there is something to encode.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from raysys.corpus.finding import Finding
from raysys.corpus.table import Utterance
from raysys.encoders import pretrained
from raysys.encoders.adapters import LoraConfig, check_lora, check_targets
from raysys.encoders.audio_models import FAMILIES
from raysys.encoders.encoder import Encoder, EncoderConfig, Frames, Source, code_digest, marked
from raysys.encoders.pretrained import (
    LayerPooling,
    Precision,
    PretrainedModel,
    check_model_settings,
    join_layers,
)
from raysys.encoders.top_layers import TopRecipe, recipe_of
from raysys.errors import FeatureError
from raysys.gpu import Device
from raysys.settings import require

_GROUP = "transformers"
_PADDED = 1.5
"""Longest text of a batch, as a share of its shortest."""


@dataclass(frozen=True)
class TransformersConfig(EncoderConfig):
    """Token states of a frozen pretrained text model: BERT, RoBERTa, DeBERTa, MiniLM and their kind."""

    modalities: ClassVar = ("text",)
    model: str = "bert-base-uncased"
    """Local folder or hub name with config, tokenizer and safetensors weights."""
    revision: str = "main"
    """Hub revision; ignored for a local folder."""
    layers: tuple[int, ...] = (-1,)
    """Layers whose token states are used; 0 is what the first one reads, -1 the last."""
    layer_pooling: LayerPooling = "concat"
    """How several layers are combined: concat (side by side) or mean."""
    finetune_layers: int = 0
    """Top layers, up to the one in `layers`, that are trained with the model in every fold; 0 keeps all frozen."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Adapters that are trained in those layers in the place of their weights."""
    context_turns: int = 0
    """Turns of the dialogue before the utterance that the model reads too, each closed by a separator. Only states of
    the utterance's own tokens are kept."""
    max_tokens: int = 128
    """Longer texts are cut here; context is what still fits, nearest turns first."""
    batch_tokens: int = 4096
    """Most tokens (padding included) in one forward pass."""
    precision: Precision = "float32"
    """Type of weights and states: float32; on a GPU also float16 or bfloat16."""
    device: Device = "auto"
    """auto (CUDA when there is one), cpu or cuda."""

    def __post_init__(self) -> None:
        check_model_settings(_GROUP, self.model, self.layers, self.finetune_layers)
        check_lora(_GROUP, self.lora, self.finetune_layers)
        tokens = self.max_tokens
        require(tokens >= 3, "features.transformers.max_tokens", tokens, "3 or more")
        turns = self.context_turns
        require(turns >= 0, "features.transformers.context_turns", turns, "0 or more")
        batch = self.batch_tokens
        rule = "at least features.transformers.max_tokens"
        require(batch >= tokens, "features.transformers.batch_tokens", batch, rule)

    def build(self, modality: str) -> "TransformersEncoder":
        """The encoder."""
        return TransformersEncoder(self)

    def top(self) -> TopRecipe | None:
        """The layers that are trained with the model."""
        return self.build("text").top() if self.finetune_layers else None

    def findings(self, modalities: Sequence[str], corpus: str) -> list[Finding]:
        """A finding where it reads other utterances as context."""
        found = []
        if self.context_turns:
            message = (
                f"text is read with up to {self.context_turns} turns before it, unlabelled, whatever part of a fold "
                "they are in"
            )
            found.append(Finding("note", "dialogue_context", message))
        return found

    def seen(self, features: Iterable[Frames], rows: Sequence[Utterance]) -> list[Finding]:
        """How many texts are longer than what is read of them."""
        longest = self.max_tokens - (2 if self.context_turns else 0)
        full = [row for row, one in zip(rows, features, strict=True) if len(one) >= longest]
        if not full:
            return []
        encoder = self.build("text")
        lengths = [encoder.count_tokens(row.text) for row in full]
        cut = [length for length in lengths if length > longest]
        if not cut:
            return []
        message = (
            f"{len(cut)} of {len(rows)} texts are longer than features.{_GROUP}.max_tokens {self.max_tokens} and were "
            f"cut; the longest has {max(cut)} tokens"
        )
        return [Finding("note", "texts_cut", message)]


@dataclass(frozen=True)
class _Pieces:
    """Word pieces that the model reads, and which of them are kept."""

    ids: list[int]
    kept: slice


class TransformersEncoder(Encoder):
    """Token states; see the module.

    Raises:
        FeatureError: there is no such model, it is none for text, or it has no such layer.
    """

    portion = 20_000.0

    def __init__(self, config: TransformersConfig) -> None:
        self._config = config
        self._files = PretrainedModel(
            _GROUP,
            config.model,
            revision=config.revision,
            device=config.device,
            precision=config.precision,
        )
        self.turns_before = config.context_turns
        self.uses_gpu = config.device != "cpu"
        if self._files.kind in FAMILIES:
            raise FeatureError(
                f"features.{_GROUP}.model '{config.model}' is a {self._files.kind} model, which hears audio: set "
                "--features.audio_transformers.model"
            )
        self._files.check_layers(config.layers)
        self._layers = self._files.stored_layers(config.layers, config.finetune_layers)
        check_targets(_GROUP, self._files.kind, config.lora)

    def top(self) -> TopRecipe:
        """The layers above those whose states are encoded, as pretrained.

        Raises:
            FeatureError: the model cannot be loaded.
        """
        model = self._files.load("AutoModel", dtype=torch.float32, use_safetensors=True)
        (first,), count, lora = self._layers, self._config.finetune_layers, self._config.lora
        return recipe_of(model, self._files.settings, first=first, count=count, lora=lora)

    def fingerprint(self) -> dict[str, Any]:
        """Settings that decide values, and digests of the model's files; not its path."""
        config = self._config
        return {
            "encoder": _GROUP,
            "layers": list(self._layers),
            "marked": config.finetune_layers > 0,
            "layer_pooling": config.layer_pooling,
            "context_turns": config.context_turns,
            "max_tokens": config.max_tokens,
            "precision": config.precision,
            "files": self._files.files,
            "code": code_digest(sys.modules[__name__], pretrained),
        }

    def size(self, source: Source, root: Path) -> float:
        """Characters."""
        return float(sum(len(turn.text) for turn in (source.row, *source.before)))

    def read(self, source: Source, root: Path) -> tuple[str, ...]:
        """The text, and the turns before it."""
        return (source.row.text, *(turn.text for turn in source.before))

    def names(self, row: Utterance) -> list[str]:
        """Its word pieces."""
        pieces = self._pieces(row.text)
        names: list[str] = self._tokenizer.convert_ids_to_tokens(pieces.ids[pieces.kept])
        return names

    def count_tokens(self, text: str) -> int:
        """Number of tokens of a whole text, special tokens included where they are kept."""
        special = not self._config.context_turns
        return len(self._tokenizer(text, add_special_tokens=special).input_ids)

    def load(self) -> None:
        """The model."""
        _ = self._model, self._tokenizer

    def encode(self, items: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, Frames]]:
        """Token states of each text, shortest texts first; special tokens are kept where there is no context."""
        config, files = self._config, self._files
        pieces = [self._pieces(*texts) for texts in items]
        for k, item in enumerate(pieces):
            if not item.ids:  # a text of which the tokenizer knows nothing
                yield k, np.zeros((0, 0), dtype=np.float32)
        for batched in _batches([len(item.ids) for item in pieces], config.batch_tokens):
            batch = self._tokenizer.pad(
                {"input_ids": [pieces[k].ids for k in batched]}, return_tensors="pt"
            )
            with torch.inference_mode():
                found = self._model(**batch.to(files.device), output_hidden_states=True)
                states = join_layers(found.hidden_states, self._layers, config.layer_pooling).cpu()
            for row, k in enumerate(batched):
                every = states[row, : len(pieces[k].ids)].numpy()
                own = pieces[k].kept
                yield k, marked(every, own) if config.finetune_layers else every[own]

    def _pieces(self, text: str, *before: str) -> _Pieces:
        if self._config.context_turns:
            return self._with_context(text, before)
        longest = self._config.max_tokens
        ids = self._tokenizer(text, truncation=True, max_length=longest).input_ids
        return _Pieces(ids, slice(0, len(ids)))

    def _with_context(self, words: str, before: Sequence[str]) -> _Pieces:
        """<cls> turn <sep> turn <sep> ... text <sep>, what comes before the text cut to fit."""
        tokenizer, longest = self._tokenizer, self._config.max_tokens
        begin, end = tokenizer.cls_token_id, tokenizer.sep_token_id
        text, *turns = (
            tokenizer(one, add_special_tokens=False).input_ids for one in (words, *before)
        )
        text = text[: longest - 2]
        context = [token for turn in turns for token in [*turn, end]]
        room = longest - 2 - len(text)
        context = context[-room:] if room else []
        first = 1 + len(context)
        return _Pieces([begin, *context, *text, end], slice(first, first + len(text)))

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = self._files.load("AutoTokenizer")
        longest = min(tokenizer.model_max_length, self._files.positions)
        wanted = self._config.max_tokens
        if wanted > longest:
            raise FeatureError(
                f"'{self._config.model}' reads at most {longest} tokens: set --features.{_GROUP}.max_tokens {longest}"
            )
        if self._config.context_turns and None in (tokenizer.cls_token_id, tokenizer.sep_token_id):
            raise FeatureError(
                f"'{self._config.model}' has no separator token: set --features.{_GROUP}.context_turns 0"
            )
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        loaded = self._files.load_weights()
        self.parameters = self._files.parameters
        return loaded


def _batches(lengths: list[int], most: int) -> Iterator[list[int]]:
    """Positions of texts that have tokens, from short to long, each batch at most `most`, of which padding is few."""
    batch: list[int] = []
    for position in sorted(
        filter(lengths.__getitem__, range(len(lengths))), key=lengths.__getitem__
    ):
        longer = bool(batch) and lengths[position] > _PADDED * lengths[batch[0]] + 1
        if batch and (longer or lengths[position] * (len(batch) + 1) > most):
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
