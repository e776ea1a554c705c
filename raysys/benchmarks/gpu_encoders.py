"""Whisper and a text model of BERT's size, of random weights, on a GPU: raysys' encoders against hand-written loops.

made-up texts and recordings -> raysys (read, encode), loop (read, encode in batches) -> utterances a second
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from raysys.benchmarks.extraction import text_states, whisper_states
from raysys.benchmarks.speed import seconds_of
from raysys.corpus.table import Utterance
from raysys.encoders import FeaturesConfig
from raysys.encoders.extraction import encode_rows
from raysys.settings import replaced
from raysys.storage import Folder

_RATE_HZ = 16000
_WORDS = tuple(f"word{k}" for k in range(500))
_SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")


@dataclass(frozen=True)
class EncoderSizes:
    """Sizes of models and corpora."""

    text: Mapping[str, int] = field(default_factory=dict)
    """Settings of BERT's config that differ from BERT-base."""
    whisper: Mapping[str, int] = field(
        default_factory=lambda: {
            "d_model": 512,
            "encoder_layers": 6,
            "encoder_attention_heads": 8,
            "encoder_ffn_dim": 2048,
            "decoder_layers": 1,
            "decoder_attention_heads": 8,
        }
    )
    """Settings of Whisper's config: an encoder as Whisper-base has."""
    texts: int = 4000
    recordings: int = 400
    seconds: tuple[int, int] = (2, 8)
    """Length of a recording, at least and at most."""


def measure_encoders(
    device: str, sizes: EncoderSizes, speed: float, folder: Folder
) -> dict[str, dict[str, float]]:
    """Encode made-up texts and recordings by raysys and by a loop; both load the model, which was loaded once before.

    Args:
        device: cpu or cuda.
        sizes: of models and corpora.
        speed: of the device, in billions of operations a second.
        folder: local, for models and recordings.

    Returns:
        By model `utterances_per_second`, `share_of_matrix_speed` (at two operations for each weight of the layers and
        state) and `to_loop`, the speed as a share of the loop's.
    """
    root = Path(folder.path())
    text, whisper = root / "text", root / "whisper"
    layer_weights = {"text": _make_text_model(text, sizes), "audio": _make_whisper(whisper, sizes)}
    random = np.random.default_rng(0)
    texts = [_text(random) for _ in range(sizes.texts)]
    files = [_recording(root / f"{k}.wav", random, sizes) for k in range(sizes.recordings)]
    rows = {
        "text": [Utterance(str(k), text=one) for k, one in enumerate(texts)],
        "audio": [Utterance(str(k), audio=one.name) for k, one in enumerate(files)],
    }
    features = replaced(
        FeaturesConfig(text="transformers", audio="audio_transformers"),
        {
            "transformers.model": str(text),
            "transformers.device": device,
            "audio_transformers.model": str(whisper),
            "audio_transformers.device": device,
        },
    )
    loops: dict[str, Callable[[], Sequence[np.ndarray]]] = {
        "text": lambda: text_states(features, texts, device=device),
        "audio": lambda: whisper_states(features, files, device=device),
    }
    found = {}
    for modality, loop in loops.items():
        own, states = rows[modality], loop()

        def here(modality: str = modality, own: Sequence[Utterance] = own) -> object:
            return encode_rows(features.build(modality), own, root)

        here()
        seconds = seconds_of(here, device)
        gflop = 2 * layer_weights[modality] * sum(map(len, states)) / 1e9
        found[modality] = {
            "utterances_per_second": len(own) / seconds,
            "share_of_matrix_speed": gflop / seconds / speed,
            "to_loop": seconds_of(loop, device) / seconds,
        }
    return found


def _make_text_model(folder: Path, sizes: EncoderSizes) -> int:
    """Save a random BERT with a tokenizer of a few words; how many weights its layers have."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    known = {word: k for k, word in enumerate((*_SPECIAL, *_WORDS))}
    config = transformers.BertConfig(vocab_size=len(known), **sizes.text)
    model = transformers.BertModel(config)
    model.save_pretrained(folder)
    tokenizer: Any = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(one, known[one]) for one in ("[CLS]", "[SEP]")]
    )
    names = dict(zip(("pad_token", "cls_token", "sep_token", "unk_token"), _SPECIAL, strict=True))
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    made.save_pretrained(folder)
    return _count(model.encoder)


def _make_whisper(folder: Path, sizes: EncoderSizes) -> int:
    """Save a random Whisper; how many weights the layers of its encoder have."""
    import transformers

    model = transformers.WhisperModel(transformers.WhisperConfig(**sizes.whisper))
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return _count(model.encoder.layers)


def _count(module: torch.nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())


def _text(random: np.random.Generator) -> str:
    return " ".join(random.choice(_WORDS, size=random.integers(4, 30)))


def _recording(file: Path, random: np.random.Generator, sizes: EncoderSizes) -> Path:
    seconds = random.integers(sizes.seconds[0], sizes.seconds[1] + 1)
    samples = 0.1 * random.standard_normal(int(seconds) * _RATE_HZ)
    soundfile.write(file, samples, _RATE_HZ)
    return file
