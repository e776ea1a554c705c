"""Small random models of every type, saved as transformers reads them, and where real ones are."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
CONVOLUTIONS: dict[str, Any] = {
    "conv_dim": (16, 16),
    "conv_stride": (20, 16),
    "conv_kernel": (25, 24),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}
WHISPER: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 3,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 48,
    "num_mel_bins": 20,
    "max_source_positions": 50,
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
AST: dict[str, Any] = {**SIZES, "num_mel_bins": 36, "max_length": 116, "patch_size": 16}
AUDIO_TYPES = ("whisper", "ast", "wav2vec2", "wav2vec2-large", "hubert", "wavlm", "data2vec-audio")
TEXT_TYPES = ("bert", "roberta", "deberta-v2")
IMAGE_TYPES = ("vit", "dinov2", "clip", "resnet")
VOCABULARY = [
    "[PAD]",
    "[CLS]",
    "[SEP]",
    "[UNK]",
    *["so", "it", "is", "!", "?", "not", "well", "then", "how", "come"],
]


def make_audio_model(kind: str, folder: Path) -> Path:
    """Save a small random audio model with its feature extractor."""
    torch.manual_seed(0)
    if kind == "whisper":
        model = transformers.WhisperModel(transformers.WhisperConfig(**WHISPER))
        extractor: Any = transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=1)
    elif kind == "ast":
        model = transformers.ASTModel(transformers.ASTConfig(**AST))
        extractor = transformers.ASTFeatureExtractor(num_mel_bins=36, max_length=116)
    else:
        model, extractor = _waveform_model(kind), transformers.Wav2Vec2FeatureExtractor()
    _roughen(model)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def _waveform_model(kind: str) -> Any:
    if kind == "wav2vec2-large":  # norms before layers, as large models have them
        settings = {**SIZES, **CONVOLUTIONS, "do_stable_layer_norm": True}
        return transformers.Wav2Vec2Model(
            transformers.Wav2Vec2Config(**settings, feat_extract_norm="layer")
        )
    config, model = {
        "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
        "hubert": (transformers.HubertConfig, transformers.HubertModel),
        "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
        "data2vec-audio": (transformers.Data2VecAudioConfig, transformers.Data2VecAudioModel),
    }[kind]
    return model(config(**SIZES, **CONVOLUTIONS))


def make_text_model(
    kind: str, folder: Path, *, positions: int = 512, longest: int | None = 128
) -> Path:
    """Save a small random text model with a tokenizer of a few words, which may not know how much the model reads."""
    torch.manual_seed(0)
    config, model = {
        "bert": (transformers.BertConfig, transformers.BertModel),
        "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
        "deberta-v2": (transformers.DebertaV2Config, transformers.DebertaV2Model),
    }[kind]
    sizes = {**SIZES, "max_position_embeddings": positions}
    made = model(config(**sizes, vocab_size=len(VOCABULARY), pad_token_id=0))
    _roughen(made)
    made.save_pretrained(folder)
    words = {word: k for k, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    from tokenizers.processors import TemplateProcessing

    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        **({} if longest is None else {"model_max_length": longest}),
    ).save_pretrained(folder)
    return folder


def make_image_model(kind: str, folder: Path, *, side: int = 32) -> Path:
    """Save a small random vision model with its image processor."""
    torch.manual_seed(0)
    sizes = {**SIZES, "image_size": side, "patch_size": 8}
    vision = {**sizes, "projection_dim": 16}
    made: Any = {
        "vit": lambda: transformers.ViTModel(transformers.ViTConfig(**sizes)),
        "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**sizes)),
        "clip": lambda: transformers.CLIPModel(
            transformers.CLIPConfig(
                text_config={**SIZES, "vocab_size": 50, "projection_dim": 16},
                vision_config=vision,
                projection_dim=16,
            )
        ),
        "resnet": lambda: transformers.ResNetModel(
            transformers.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
            )
        ),
    }[kind]()
    _roughen(made)
    made.save_pretrained(folder)
    processor = (
        transformers.CLIPImageProcessor if kind == "clip" else transformers.ViTImageProcessor
    )
    square = {"height": side, "width": side}
    processor(size=square, crop_size=square).save_pretrained(folder)
    return folder


def _roughen(model: torch.nn.Module) -> None:
    """Weights large enough for states to differ from step to step, biases and positions included."""
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.1 * torch.randn(weights.shape))


def whisper_tiny() -> str:
    """The folder of a real pretrained speech encoder, where the machine has it."""
    shared = Path(__file__).resolve().parents[2] / "shared"
    folder = shared / "models" / "whisper-tiny-en"
    if not folder.is_dir():
        pytest.skip(f"no Whisper at {folder}")
    return str(folder)


__all__ = [
    "AUDIO_TYPES",
    "IMAGE_TYPES",
    "TEXT_TYPES",
    "make_audio_model",
    "make_image_model",
    "make_text_model",
    "whisper_tiny",
]
