"""Text encoder `transformers`: token states of a frozen BERT-type model, in fp32.

    text -> word pieces [token] -> hidden states of one layer [token, dim]

Texts are batched by length, so little is computed for padding. Weights must be safetensors; nothing is unpickled.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import model_info, try_to_load_from_cache
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from raysys.config import FeaturesConfig
from raysys.corpus.table import Utterance
from raysys.errors import FeatureError
from raysys.features.encoder import Frames

_HUB_SECONDS = 15.0
"""How long the hub may take to say that it has a model."""


class TransformersEncoder:
    """Token states; see the module.

    Raises:
        FeatureError: the model cannot be loaded, or has no such layer.
    """

    def __init__(self, config: FeaturesConfig) -> None:
        self._config = config.transformers
        cuda = self._config.device == "auto" and torch.cuda.is_available()
        self._device = "cuda" if cuda else self._config.device.replace("auto", "cpu")
        name = str(Path(self._config.model).expanduser())
        name = name if Path(name).is_dir() else self._config.model
        if not Path(name).is_dir():
            _check_hub(name, self._config.revision)
        logging.disable_progress_bar()
        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name, revision=self._config.revision)
            model = AutoModel.from_pretrained(
                name, revision=self._config.revision, dtype=torch.float32, use_safetensors=True
            )
        except (OSError, ValueError, KeyError) as error:
            raise _cannot_load(name, error) from error
        finally:
            logging.set_verbosity(verbosity)
        self._model = model.eval().to(self._device)
        layers = self._model.config.num_hidden_layers
        if not -layers - 1 <= self._config.layer <= layers:
            raise FeatureError(f"'{name}' has {layers} layers: set --features.transformers.layer")

    def fingerprint(self) -> dict[str, Any]:
        """Layer, length limit, and digests of the weights and the vocabulary; not the model's path."""
        weights = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            weights.update(name.encode())
            weights.update(tensor.cpu().contiguous().numpy().tobytes())
        vocabulary = hashlib.sha256(repr(sorted(self._tokenizer.get_vocab().items())).encode())
        return {
            "encoder": "transformers",
            "layer": self._config.layer,
            "max_tokens": self._config.max_tokens,
            "weights": weights.hexdigest(),
            "vocabulary": vocabulary.hexdigest(),
        }

    def encode(self, rows: Sequence[Utterance], root: Path) -> Iterator[tuple[int, Frames]]:
        """Token states of each text (special tokens included), shortest texts first."""
        ids = [
            self._tokenizer(row.text, truncation=True, max_length=self._config.max_tokens).input_ids
            for row in rows
        ]
        for positions in _batches([len(item) for item in ids], self._config.batch_tokens):
            batch = self._tokenizer.pad(
                {"input_ids": [ids[k] for k in positions]}, return_tensors="pt"
            )
            with torch.inference_mode():
                states = self._model(
                    **batch.to(self._device), output_hidden_states=True
                ).hidden_states
            layer = states[self._config.layer].cpu()
            for row, position in enumerate(positions):
                yield position, layer[row, : len(ids[position])].numpy()


def _check_hub(name: str, revision: str | None) -> None:
    """Refuse at once a model that is neither on this disk nor to be had; the loaders would try for a minute.

    Raises:
        FeatureError: it is no folder and no hub name, or the hub does not answer or has no such model.
    """
    try:
        if not isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
            model_info(name, revision=revision, timeout=_HUB_SECONDS)
    except Exception as error:  # whatever the hub's client raises, the way to the model is closed
        raise _cannot_load(name, error) from error


def _cannot_load(name: str, error: Exception) -> FeatureError:
    reason = " ".join(str(error).split())[:300]
    return FeatureError(
        f"cannot load features.transformers.model '{name}' ({reason}): give a local folder or hub name "
        "with safetensors weights"
    )


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
