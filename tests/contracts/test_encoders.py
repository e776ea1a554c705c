"""What every encoder must hold; a new one joins by its registry line."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from raysys import contracts
from raysys.corpus.table import Utterance
from raysys.encoders import FeaturesConfig, encoder_names
from raysys.encoders.audio_transformers import AudioTransformersConfig
from raysys.encoders.encoder import Encoder, EncoderConfig
from raysys.encoders.extraction import encode_rows
from raysys.encoders.frames import FramesConfig
from raysys.encoders.image_transformers import ImageTransformersConfig
from raysys.encoders.logmel import LogmelConfig
from raysys.encoders.precomputed import PrecomputedConfig
from raysys.encoders.transformers import TransformersConfig
from raysys.encoders.visextnet import VisextnetConfig
from raysys.errors import FeatureError
from tests.conftest import minilm
from tests.films import NO_FACE, ONE_FACE, small_resnet, write_film
from tests.pretrained import make_audio_model, make_image_model

NAMES = [(m, name) for m in ("audio", "text", "video", "image") for name in encoder_names(m)]


@cache
def small_wavlm() -> str:
    """A small random model for the whole session."""
    return str(make_audio_model("wavlm", Path(mkdtemp())))


@cache
def small_vit() -> str:
    """A small random model for the whole session."""
    return str(make_image_model("vit", Path(mkdtemp())))


def make(modality: str, name: str, root: Path = Path()) -> Encoder:
    return settings_of(modality, name, root).build(modality)


def settings_of(modality: str, name: str, root: Path) -> EncoderConfig:
    file = str(root / "features.npz")
    config = FeaturesConfig(
        **{modality: name},
        precomputed=PrecomputedConfig(**{modality: file} if name == "precomputed" else {}),
        logmel=LogmelConfig(deltas=True, pitch=True, energy=True),
        transformers=TransformersConfig(model=minilm(), batch_tokens=200)
        if name == "transformers"
        else TransformersConfig(),
        audio_transformers=AudioTransformersConfig(model=small_wavlm(), layers=(1, 2))
        if name == "audio_transformers"
        else AudioTransformersConfig(),
        image_transformers=ImageTransformersConfig(
            model=small_vit() if name == "image_transformers" else "none", batch_images=3
        ),
        visextnet=VisextnetConfig(weights=small_resnet(), frames=2)
        if name == "visextnet"
        else VisextnetConfig(),
        frames=FramesConfig(weights=small_resnet(), frames=2)
        if name == "frames"
        else FramesConfig(),
    )
    return config.encoder(modality)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Utterance], Path]:
    """Eight utterances of very different lengths, one of 5 ms."""
    root = tmp_path_factory.mktemp("audio")
    random = np.random.default_rng(0)
    made = []
    for k, seconds in enumerate([0.005, 0.03, 0.2, 1.0, 0.5, 2.0, 0.7, 0.3]):
        soundfile.write(
            root / f"{k}.wav", 0.1 * random.standard_normal(round(seconds * 16000)), 16000
        )
        write_film(root / f"{k}.mp4", [(ONE_FACE, NO_FACE)[k % 2]] * (k % 3 + 1))
        sides = (24 + 7 * k, 40 - 3 * k, 3)
        Image.fromarray(random.integers(0, 255, sides, dtype=np.uint8)).save(root / f"{k}.png")
        files = {"audio": f"{k}.wav", "video": f"{k}.mp4", "image": f"{k}.png"}
        made.append(Utterance(f"u{k}", "joy", text="so it is! " * (k + 1), **files))
    lengths = zip(made, (1, 3, 2, 9, 4, 5, 1, 7), strict=True)
    arrays = {row.utterance_id: random.standard_normal((n, 6)) for row, n in lengths}
    np.savez(root / "features.npz", **arrays)
    return made, root


@pytest.mark.parametrize("modality, name", NAMES)
def test_every_utterance_is_encoded_once_and_alike_alone_or_among_others(modality, name, rows):
    utterances, root = rows
    contracts.check_company(settings_of(modality, name, root), modality, utterances, root)


@pytest.mark.parametrize("modality, name", NAMES)
def test_two_encoders_with_equal_fingerprints_agree(modality, name, rows):
    utterances, root = rows
    contracts.check_fingerprint(settings_of(modality, name, root), modality, utterances, root)


def test_logmel_frames_are_20_ms_and_its_columns_mean_what_they_say(tmp_path: Path):
    time = np.arange(16000) / 16000
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(2 * np.pi * 200 * time), 16000)
    row = Utterance("u", "joy", audio="tone.wav")
    (frames,) = encode_rows(make("audio", "logmel"), [row], tmp_path)
    assert frames.shape == (51, 64 + 64 + 1 + 1)
    middle = frames[10:40]
    assert middle[:, :64].mean(axis=0).argmax() < 10  # 200 Hz is in the lowest bands
    np.testing.assert_allclose(middle[:, 64:128], 0, atol=0.05)  # nothing changes
    np.testing.assert_allclose(np.exp(middle[:, 128]), 200, rtol=0.03)
    np.testing.assert_allclose(middle[:, 129], np.log(0.3 / np.sqrt(2)), atol=0.01)


def test_logmel_resamples_higher_rates_and_refuses_lower_ones(tmp_path: Path):
    for rate in (16000, 48000, 8000):
        time = np.arange(rate) / rate
        soundfile.write(tmp_path / f"{rate}.wav", 0.3 * np.sin(2 * np.pi * 440 * time), rate)
    encoder = make("audio", "logmel")
    (plain,) = encode_rows(encoder, [Utterance("a", "joy", audio="16000.wav")], tmp_path)
    (high,) = encode_rows(encoder, [Utterance("b", "joy", audio="48000.wav")], tmp_path)
    assert high.shape == plain.shape
    assert plain[20, :64].argmax() == high[20, :64].argmax()
    with pytest.raises(
        FeatureError, match=r"8000 Hz, below the 16000 Hz .*--features.logmel.sample_rate_hz 8000"
    ):
        encode_rows(encoder, [Utterance("c", "joy", audio="8000.wav")], tmp_path)


def test_a_transformers_encoder_gives_the_models_own_token_states():
    from transformers import AutoModel, AutoTokenizer

    text = "What a wonderful, terrible day."
    encoder = make("text", "transformers")
    (states,) = encode_rows(encoder, [Utterance("u", "joy", text=text)], Path())
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    model = AutoModel.from_pretrained(minilm(), dtype=torch.float32).eval()
    with torch.no_grad():
        expected = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    assert states.shape[1] == 384
    np.testing.assert_allclose(states, expected.numpy(), atol=1e-5)


def test_minilm_holds_kindred_sentences_nearer_than_strange_ones():
    texts = ["I am so happy today!", "What a joyful morning.", "The printer is out of paper."]
    rows = [Utterance(str(k), "joy", text=text) for k, text in enumerate(texts)]
    encoded = encode_rows(make("text", "transformers"), rows, Path())
    means = [encoded[k].mean(axis=0) / np.linalg.norm(encoded[k].mean(axis=0)) for k in range(3)]
    assert means[0] @ means[1] > means[0] @ means[2] + 0.2


def test_a_model_that_is_not_there_is_refused_with_the_remedy(tmp_path: Path):
    config = FeaturesConfig(transformers=TransformersConfig(model=str(tmp_path)))
    with pytest.raises(FeatureError, match="give a local folder or hub name"):
        config.transformers.build("text")


def test_hashed_vectors_are_fixed_for_ever():
    from raysys.encoders.hashed import HashedConfig

    encoder = HashedConfig(dim=8).build("text")
    (vectors,) = encode_rows(encoder, [Utterance("u", "joy", text="Yes, yes!")], Path())
    assert len(vectors) == 4  # yes , yes !
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_allclose(vectors[0, :2], [-0.8204104, -0.2268714], atol=1e-6)
