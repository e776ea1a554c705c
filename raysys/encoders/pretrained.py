"""What encoders of pretrained transformers models share: files, identity, loading, and the layers that are kept.

    name or folder -> local files -> digests (without loading) -> model, when there is something to encode
    states of all layers [.., dim] -> chosen layers, side by side or their mean

Weights must be safetensors; nothing is unpickled.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float

from raysys import gpu
from raysys.encoders.top_layers import TUNABLE
from raysys.errors import FeatureError, GpuError
from raysys.settings import require
from raysys.storage import file_digest

_AFTER_PADDING = {
    "camembert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
}
"""Kinds of models whose positions begin after the padding token's id."""
Precision = Literal["float32", "float16", "bfloat16"]
LayerPooling = Literal["concat", "mean"]

_HUB_SECONDS = 15.0
"""How long the hub may take to say that it has a model."""
_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
"""Files that are read from a model's folder: weights, settings, tokenizer."""
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers from the terminal."""
    from transformers.utils import logging  # takes seconds

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


class PretrainedModel:
    """A model's files on this disk, fetched from the hub where they are not; loaded on demand.

    Args:
        group: name of the encoder's settings, for messages.
        name: local folder or hub name.
        revision: of the hub; ignored for a folder.
        device: auto, cpu or cuda.
        precision: of weights and states.

    Raises:
        FeatureError: there is no such model, or it has no safetensors weights.
    """

    def __init__(
        self,
        group: str,
        name: str,
        *,
        revision: str,
        device: str,
        precision: Precision = "float32",
    ) -> None:
        self._group = group
        self.name = name
        self._device = device
        self.parameters = 0
        self._precision = precision
        self.dtype = getattr(torch, precision)
        try:
            self.folder = _local_folder(name, revision)
            self.settings: dict[str, Any] = json.loads(
                (self.folder / "config.json").read_text(encoding="utf-8")
            )
        except Exception as error:  # whatever the hub's client raises
            raise self.unusable(error) from error
        self._refuse_pickles()

    @property
    def kind(self) -> str:
        """What the model says that it is: bert, whisper, ..."""
        return str(self.settings.get("model_type", "nameless"))

    @cached_property
    def files(self) -> dict[str, str]:
        """File name -> SHA-256 of its content."""
        found = sorted({file for pattern in _FILES for file in self.folder.glob(pattern)})
        return {file.name: file_digest(file) for file in found}

    @cached_property
    def device(self) -> str:
        """Torch device on this machine, which need not be the one that plans.

        Raises:
            FeatureError: it is not there, or cannot compute in the precision that is asked for.
        """
        found = torch_device(self._group, self._device)
        if self._precision != "float32" and found == "cpu":
            raise FeatureError(
                f"features.{self._group}.precision is {self._precision}, which needs a GPU: set "
                f"--features.{self._group}.precision float32"
            )
        return found

    @property
    def layers(self) -> int:
        """How many layers it has (Whisper: its encoder).

        Raises:
            FeatureError: config.json does not say.
        """
        count = self.settings.get("encoder_layers", self.settings.get("num_hidden_layers"))
        if not isinstance(count, int):
            raise self.unusable(ValueError("config.json does not say how many layers it has"))
        return count

    @property
    def positions(self) -> int:
        """Tokens that it has places for, which a tokenizer need not know; RoBERTa's kind begins after the padding's.

        Models with relative positions have no limit.
        """
        count = self.settings.get("max_position_embeddings")
        if not isinstance(count, int) or not self.settings.get("position_biased_input", True):
            return sys.maxsize
        if self.kind in _AFTER_PADDING:
            count -= int(self.settings.get("pad_token_id", 1)) + 1
        return count if count > 0 else sys.maxsize

    def check_layers(self, layers: Sequence[int]) -> None:
        """Refuse layers that are not there; 0 is what the first one reads.

        Raises:
            FeatureError: the model does not have them all.
        """
        count = self.layers
        absent = [layer for layer in layers if not -count - 1 <= layer <= count]
        if absent:
            raise FeatureError(
                f"'{self.name}' has {count} layers and no layer {absent[0]}: set --features.{self._group}.layers"
            )

    def stored_layers(self, chosen: Sequence[int], tuned: int) -> tuple[int, ...]:
        """The layers whose states are stored: the chosen ones, or the one below those that are trained.

        Args:
            chosen: `layers` of the settings.
            tuned: `finetune_layers` of the settings.

        Raises:
            FeatureError: the model's layers cannot be trained, or are fewer.
        """
        if not tuned:
            return tuple(chosen)
        if self.kind not in TUNABLE:
            raise FeatureError(
                f"layers of a {self.kind} model ('{self.name}') cannot be trained here: set "
                f"--features.{self._group}.finetune_layers 0, or choose one of {', '.join(sorted(TUNABLE))}"
            )
        top = chosen[0] % (self.layers + 1)
        if tuned > top:
            raise FeatureError(
                f"features.{self._group}.finetune_layers is {tuned}, but '{self.name}' has {top} layers up to layer "
                f"{top}: lower it"
            )
        return (top - tuned,)

    def load(self, loader: str, **options: Any) -> Any:
        """What a class of transformers reads from the folder, without a word on the terminal.

        Raises:
            FeatureError: it cannot.
        """
        import transformers  # takes seconds

        try:
            with quietly():
                return getattr(transformers, loader).from_pretrained(str(self.folder), **options)
        except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
            raise self.unusable(error) from error

    def load_weights(self, loader: str = "AutoModel", **options: Any) -> Any:
        """The model, ready to encode on its device.

        Args:
            loader: class of transformers that it is.
            options: for that.

        Raises:
            FeatureError: it cannot be loaded, or there is no such device.
        """
        device = self.device
        model = self.load(loader, dtype=self.dtype, use_safetensors=True, **options)
        encodes = model.get_encoder() if self.settings.get("is_encoder_decoder") else model
        self.parameters = sum(one.numel() for one in encodes.parameters())
        return model.eval().requires_grad_(False).to(device)

    def unusable(self, error: Exception) -> FeatureError:
        """The error that says why a model cannot be loaded, and the remedy."""
        reason = " ".join(str(error).split())[:300]
        return FeatureError(
            f"cannot load features.{self._group}.model '{self.name}' ({reason}): give a local folder or hub name "
            "with safetensors weights"
        )

    def _refuse_pickles(self) -> None:
        if any(self.folder.glob("*.safetensors")):
            return
        pickled = [file.name for pattern in _PICKLED for file in self.folder.glob(pattern)]
        if not pickled:
            raise self.unusable(ValueError("the folder holds no weights"))
        raise self.unusable(ValueError(f"{pickled[0]} may run code when it is read; convert it"))


def check_model_settings(
    group: str, model: str, layers: Sequence[int], finetune_layers: int
) -> None:
    """Rules of the settings that name a model and its layers.

    Raises:
        ConfigError: one does not hold.
    """
    require(bool(model), f"features.{group}.model", model, "a folder or hub name")
    distinct = len(layers) == len(set(layers)) > 0
    require(distinct, f"features.{group}.layers", layers, "one or more, each once")
    rule = f"0 or more, with one layer in features.{group}.layers"
    fits = finetune_layers == 0 or (finetune_layers > 0 and len(layers) == 1)
    require(fits, f"features.{group}.finetune_layers", finetune_layers, rule)


def join_layers(
    states: Sequence[Float[torch.Tensor, "batch time dim"]],
    layers: Sequence[int],
    pooling: LayerPooling,
) -> Float[torch.Tensor, "batch time joined"]:
    """The chosen layers side by side, or their mean, in float32."""
    chosen = [states[layer].float() for layer in layers]
    return torch.stack(chosen).mean(dim=0) if pooling == "mean" else torch.cat(chosen, dim=-1)


def torch_device(group: str, asked: str) -> str:
    """What auto, cpu or cuda comes to on this machine.

    Raises:
        FeatureError: cuda is asked for, or auto where there is a GPU, and it cannot be used.
    """
    given = gpu.is_there()
    try:
        return gpu.device_for(asked, setting=f"features.{group}.device", given=given)
    except GpuError as error:
        raise FeatureError(f"{error}; or set --features.{group}.device cpu") from error


def _local_folder(name: str, revision: str) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.startswith(("/", "~", "./", "../")):
        raise FileNotFoundError("there is no such folder")
    from huggingface_hub import model_info, snapshot_download, try_to_load_from_cache

    # refused at once when the way to the hub is closed; the loaders would try for a minute
    if not isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        model_info(name, revision=revision, timeout=_HUB_SECONDS)
    files = [*_FILES, "README.md"]  # the card says what the model was trained on
    return Path(snapshot_download(name, revision=revision, allow_patterns=files))
