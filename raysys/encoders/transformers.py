"""Text encoder `transformers`: token states of a frozen BERT-type model, in fp32.

    text -> word pieces [token] -> hidden states of one layer [token, dim]

Texts are batched by length, so little is computed for padding. Weights must be safetensors; nothing is unpickled. The
model is known by the digests of its files, and loaded only when there is something to encode.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from raysys.corpus.audit import Finding
from raysys.corpus.table import Utterance
from raysys.encoders.encoder import EncoderConfig, Frames, code_digest
from raysys.errors import FeatureError
from raysys.settings import require

_HUB_SECONDS = 15.0
"""How long the hub may take to say that it has a model."""
_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
"""Of a model's folder: weights, settings, tokenizer."""
_TRAINED_ON = {
    "superb-er": "iemocap",
    "iemocap": "iemocap",
    "meld": "meld",
    "ravdess": "ravdess",
    "emodb": "emodb",
    "emo-db": "emodb",
}
"""Part of a model's name -> corpus that it was trained on."""


@dataclass(frozen=True)
class TransformersConfig(EncoderConfig):
    """Token states of a frozen BERT-type model, fp32."""

    modalities: ClassVar = ("text",)
    model: str = "bert-base-uncased"
    """Local folder or hub name with config, tokenizer and safetensors weights."""
    revision: str = "main"
    """Hub revision; ignored for a local folder."""
    layer: int = -1
    """Hidden layer whose token states are used; -1 is the last."""
    max_tokens: int = 128
    """Longer texts are cut here."""
    batch_tokens: int = 4096
    """Most tokens (padding included) in one forward pass."""
    device: str = "auto"
    """auto (CUDA when there is one), cpu or cuda."""

    def __post_init__(self) -> None:
        require(bool(self.model), "features.transformers.model", self.model, "a folder or hub name")
        tokens = self.max_tokens
        require(tokens >= 2, "features.transformers.max_tokens", tokens, "2 or more")
        batch = self.batch_tokens
        rule = "at least features.transformers.max_tokens"
        require(batch >= tokens, "features.transformers.batch_tokens", batch, rule)

    def build(self, modality: str) -> "TransformersEncoder":
        """The encoder."""
        return TransformersEncoder(self)

    def findings(self, modalities: Sequence[str], corpus: str) -> list[Finding]:
        """That its name says that it was trained on the corpus."""
        model = self.model.lower()
        if not any(part in model for part, name in _TRAINED_ON.items() if name == corpus):
            return []
        message = f"encoder {model} was trained on {corpus}: its features have seen the test part"
        return [Finding("warning", "encoder_trained_on_corpus", message)]


class TransformersEncoder:
    """Token states; see the module.

    Raises:
        FeatureError: there is no such model, or it has no such layer.
    """

    def __init__(self, config: TransformersConfig) -> None:
        self._config = config
        cuda = config.device == "auto" and torch.cuda.is_available()
        self._device = "cuda" if cuda else config.device.replace("auto", "cpu")
        self._folder = _local_folder(config)
        layers = _count_layers(self._folder, config.model)
        if not -layers - 1 <= config.layer <= layers:
            raise FeatureError(
                f"'{config.model}' has {layers} layers: set --features.transformers.layer"
            )

    def fingerprint(self) -> dict[str, Any]:
        """Layer, length limit, and digests of the model's files; not its path."""
        files = sorted({file for pattern in _FILES for file in self._folder.glob(pattern)})
        return {
            "encoder": "transformers",
            "layer": self._config.layer,
            "max_tokens": self._config.max_tokens,
            "files": {file.name: _digest(file) for file in files},
            "code": code_digest(sys.modules[__name__]),
        }

    def encode(self, rows: Sequence[Utterance], root: Path) -> Iterator[tuple[int, Frames]]:
        """Token states of each text (special tokens included), shortest texts first."""
        tokenize, longest = self._tokenizer, self._config.max_tokens
        ids = [tokenize(row.text, truncation=True, max_length=longest).input_ids for row in rows]
        for positions in _batches([len(item) for item in ids], self._config.batch_tokens):
            batch = tokenize.pad({"input_ids": [ids[k] for k in positions]}, return_tensors="pt")
            with torch.inference_mode():
                states = self._model(
                    **batch.to(self._device), output_hidden_states=True
                ).hidden_states
            layer = states[self._config.layer].cpu()
            for row, position in enumerate(positions):
                yield position, layer[row, : len(ids[position])].numpy()

    @cached_property
    def _tokenizer(self) -> Any:
        return self._load("AutoTokenizer")

    @cached_property
    def _model(self) -> Any:
        model = self._load("AutoModel", dtype=torch.float32, use_safetensors=True)
        return model.eval().to(self._device)

    def _load(self, kind: str, **options: Any) -> Any:
        import transformers  # takes seconds

        logging = transformers.utils.logging
        logging.disable_progress_bar()
        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()
        try:
            return getattr(transformers, kind).from_pretrained(str(self._folder), **options)
        except (OSError, ValueError, KeyError) as error:
            raise _cannot_load(self._config.model, error) from error
        finally:
            logging.set_verbosity(verbosity)


def _local_folder(config: TransformersConfig) -> Path:
    """The model's files on this disk, fetched from the hub where they are not.

    Raises:
        FeatureError: it is no folder and no hub name, or the hub does not answer or has no such model.
    """
    folder = Path(config.model).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import model_info, snapshot_download, try_to_load_from_cache

    name, revision = config.model, config.revision
    try:  # refused at once when the way to it is closed; the loaders would try for a minute
        if not isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
            model_info(name, revision=revision, timeout=_HUB_SECONDS)
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_FILES)))
    except Exception as error:  # whatever the hub's client raises
        raise _cannot_load(name, error) from error


def _count_layers(folder: Path, name: str) -> int:
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return int(settings["num_hidden_layers"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _cannot_load(name, error) from error


def _cannot_load(name: str, error: Exception) -> FeatureError:
    reason = " ".join(str(error).split())[:300]
    return FeatureError(
        f"cannot load features.transformers.model '{name}' ({reason}): give a local folder or hub name "
        "with safetensors weights"
    )


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _batches(lengths: list[int], most: int) -> Iterator[list[int]]:
    """Positions from short to long, each batch at most `most` tokens including its padding."""
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[position] * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
