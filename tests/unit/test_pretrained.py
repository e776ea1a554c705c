"""Pretrained encoders of every type: whose states they are, of which batch and length they do not depend."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import transformers

from raysys.corpus.table import Corpus, Utterance
from raysys.encoders import FeaturesConfig, prepare_features
from raysys.encoders.audio_transformers import (
    AudioTransformersConfig,
    AudioTransformersEncoder,
    join_windows,
)
from raysys.encoders.extraction import encode_rows
from raysys.encoders.logmel import LogmelConfig
from raysys.encoders.transformers import TransformersConfig, TransformersEncoder
from raysys.errors import ConfigError, FeatureError
from raysys.storage import Folder
from tests.conftest import minilm
from tests.pretrained import (
    AUDIO_TYPES,
    TEXT_TYPES,
    make_audio_model,
    make_text_model,
    whisper_tiny,
)

RATE = 16000


@pytest.fixture(scope="module")
def audio_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("audio_models")
    return {kind: make_audio_model(kind, root / kind) for kind in AUDIO_TYPES}


@pytest.fixture(scope="module")
def text_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("text_models")
    return {kind: make_text_model(kind, root / kind) for kind in TEXT_TYPES}


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Utterance], Path]:
    """Noise of 5 ms to 3 s, two of one length."""
    root = tmp_path_factory.mktemp("spoken")
    random = np.random.default_rng(0)
    rows = []
    for k, seconds in enumerate([0.005, 0.21, 0.8, 1.0, 0.8, 3.0, 0.4]):
        noise = 0.1 * random.standard_normal(round(seconds * RATE)).cumsum() / 10
        soundfile.write(root / f"{k}.wav", noise, RATE, subtype="FLOAT")
        rows.append(Utterance(f"u{k}", "joy", audio=f"{k}.wav"))
    return rows, root


def audio_encoder(model: Path | str, **settings: Any) -> AudioTransformersEncoder:
    return AudioTransformersConfig(model=str(model), **settings).build("audio")


def samples_of(row: Utterance, root: Path) -> np.ndarray:
    return soundfile.read(root / row.audio, dtype="float32")[0]


@pytest.mark.parametrize("kind", AUDIO_TYPES)
def test_states_of_an_utterance_do_not_depend_on_its_batch(kind, audio_models, spoken):
    rows, root = spoken
    encoder = audio_encoder(audio_models[kind], layers=(0, 2, -1), layer_pooling="mean")
    together = encode_rows(encoder, rows, root)
    for k, row in enumerate(rows):
        (alone,) = encode_rows(encoder, [row], root)
        assert len(alone) >= 1
        np.testing.assert_allclose(together[k], alone, atol=1e-5)
        assert alone.std() > 0.01


@pytest.mark.parametrize("kind", AUDIO_TYPES)
def test_at_the_models_own_length_states_are_those_of_transformers(kind, audio_models, tmp_path):
    folder = audio_models[kind]
    count = 400 + 115 * 160 if kind == "ast" else RATE  # 116 frames of 10 ms; 50 positions of 20 ms
    noise = 0.05 * np.random.default_rng(1).standard_normal(count).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", noise, RATE, subtype="FLOAT")
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    with torch.no_grad():
        if kind == "whisper":
            mel = extractor(noise, sampling_rate=RATE, padding="longest", return_tensors="pt")
            found = model.get_encoder()(mel.input_features, output_hidden_states=True)
        else:
            read = extractor(noise, sampling_rate=RATE, return_tensors="pt")
            found = model(read.input_values, output_hidden_states=True)
    middle, last = found.hidden_states[1][0], found.last_hidden_state[0]
    row = Utterance("u", "joy", audio="a.wav")
    for layer, expected in ((1, middle), (-1, last)):
        (ours,) = encode_rows(
            audio_encoder(folder, layers=(layer,), patches="all"), [row], tmp_path
        )
        wanted = expected.numpy()
        if kind == "ast":  # without the two first tokens, by time instead of by frequency
            grid = wanted[2:].reshape(3, 11, -1)
            wanted = grid.transpose(1, 0, 2).reshape(33, -1)
        np.testing.assert_allclose(ours, wanted, atol=2e-5)


def test_patches_of_one_moment_can_be_averaged(audio_models, spoken):
    rows, root = spoken
    means = encode_rows(audio_encoder(audio_models["ast"]), rows, root)
    every = encode_rows(audio_encoder(audio_models["ast"], patches="all"), rows, root)
    for k in range(len(rows)):
        np.testing.assert_allclose(
            means[k], every[k].reshape(len(means[k]), 3, -1).mean(axis=1), atol=1e-6
        )


def test_layers_stand_side_by_side_or_are_averaged(audio_models, spoken):
    rows, root = spoken
    one, two = (
        encode_rows(audio_encoder(audio_models["hubert"], layers=(k,)), rows, root) for k in (1, 2)
    )
    both = encode_rows(audio_encoder(audio_models["hubert"], layers=(1, 2)), rows, root)
    averaging = audio_encoder(audio_models["hubert"], layers=(1, 2), layer_pooling="mean")
    mean = encode_rows(averaging, rows, root)
    np.testing.assert_array_equal(both[3], np.concatenate([one[3], two[3]], axis=1))
    np.testing.assert_allclose(mean[3], (one[3] + two[3]) / 2, atol=1e-6)


@pytest.mark.parametrize("kind", AUDIO_TYPES)
def test_long_audio_has_as_many_states_as_its_length_says(kind, audio_models, spoken):
    rows, root = spoken
    windows = audio_encoder(audio_models[kind], window_seconds=1.0, overlap_seconds=0.25)
    found = encode_rows(windows, rows, root)
    hop = 1600 if kind == "ast" else 320
    for k, row in enumerate(rows):
        samples = len(samples_of(row, root))
        assert abs(len(found[k]) - samples / hop) <= 2, (k, samples)


def test_a_window_as_long_as_the_utterance_changes_nothing(audio_models, spoken):
    rows, root = spoken
    whole = encode_rows(audio_encoder(audio_models["wavlm"]), rows, root)
    windows = audio_encoder(audio_models["wavlm"], window_seconds=1.0, overlap_seconds=0.5)
    cut = encode_rows(windows, rows, root)
    for k in (1, 2, 3, 6):  # at most 1 s
        np.testing.assert_allclose(whole[k], cut[k], atol=1e-5)
    assert len(cut[5]) == len(whole[5])
    assert np.abs(whole[5] - cut[5]).max() > 0.01  # 3 s: attention reaches no further than a window


def test_windows_are_joined_in_order_whatever_shares_their_batches(audio_models, spoken):
    """An utterance as long as another's last window is of its batch, before that one's other windows."""
    rows, root = spoken
    soundfile.write(root / "last.wav", samples_of(rows[5], root)[:12480], RATE, subtype="FLOAT")
    short, long = Utterance("last", "joy", audio="last.wav"), rows[5]
    encoder = audio_encoder(audio_models["hubert"], window_seconds=1.0, overlap_seconds=0.25)
    together = encode_rows(encoder, [short, long], root)
    (alone,) = encode_rows(encoder, [long], root)
    np.testing.assert_allclose(together[1], alone, atol=1e-5)


def test_joined_windows_take_each_step_from_the_window_whose_middle_is_nearer():
    def window(start: int, name: float) -> tuple[int, np.ndarray]:
        steps = np.arange(start, start + 6, dtype=np.float32)
        return start, np.stack([steps, np.full(6, name, dtype=np.float32)], axis=1)[:, None]

    joined = join_windows([window(0, 1), window(4, 2), window(8, 3)])[:, 0]
    np.testing.assert_array_equal(joined[:, 0], np.arange(14))
    np.testing.assert_array_equal(joined[:, 1], [1] * 5 + [2] * 4 + [3] * 5)


def test_real_whisper_at_30_seconds_is_that_of_transformers(tmp_path: Path):
    noise = 0.05 * np.random.default_rng(2).standard_normal(30 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", noise, RATE, subtype="FLOAT")
    row = Utterance("u", "joy", audio="a.wav")
    (ours,) = encode_rows(audio_encoder(whisper_tiny(), layers=(2,)), [row], tmp_path)
    model = transformers.AutoModel.from_pretrained(whisper_tiny(), dtype=torch.float32).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(whisper_tiny())
    mel = extractor(noise, sampling_rate=RATE, return_tensors="pt").input_features
    with torch.no_grad():
        expected = model.get_encoder()(mel, output_hidden_states=True).hidden_states[2][0]
    assert ours.shape == (1500, 384)
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("kind", TEXT_TYPES)
def test_states_of_a_text_do_not_depend_on_its_batch(kind, text_models):
    rows = [Utterance(f"u{k}", "joy", text="so it is ! " * k) for k in (1, 5, 2, 9)]
    config = TransformersConfig(model=str(text_models[kind]), layers=(1, -1), batch_tokens=130)
    encoder = config.build("text")
    together = encode_rows(encoder, rows, Path())
    for k, row in enumerate(rows):
        (alone,) = encode_rows(encoder, [row], Path())
        assert alone.shape == (len(row.text.split()) + 2, 64)
        np.testing.assert_allclose(together[k], alone, atol=1e-5)


def dialogue(*texts: str, name: str = "d") -> list[Utterance]:
    return [
        Utterance(f"{name}{k}", "joy", text=text, dialogue_id=name, turn=k)
        for k, text in enumerate(texts)
    ]


def test_context_is_read_and_only_the_texts_own_states_are_kept(text_models):
    folder = str(text_models["roberta"])
    rows = dialogue("so it is", "not so", "how come ?")
    encoder = TransformersConfig(model=folder, context_turns=2).build("text")
    found = encode_rows(encoder, rows, Path())
    assert [len(found[k]) for k in range(3)] == [3, 2, 3]
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("so it is", return_tensors="pt").input_ids
    for text in ("not so", "how come ?"):
        more = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        ids = torch.cat([ids, more, torch.tensor([[2]])], dim=1)
    with torch.no_grad():
        expected = model(ids).last_hidden_state[0, -4:-1]
    np.testing.assert_allclose(found[2], expected.numpy(), atol=1e-5)


def test_context_ends_with_the_dialogue_and_with_the_room(text_models):
    folder = str(text_models["bert"])
    first, second = dialogue("so it is", "not so"), dialogue("well then", name="e")
    encoder = TransformersConfig(model=folder, context_turns=5).build("text")
    found = encode_rows(encoder, [*first, *second], Path())
    (alone,) = encode_rows(encoder, second, Path())
    np.testing.assert_allclose(found[2], alone, atol=1e-6)
    short = TransformersConfig(model=folder, context_turns=5, max_tokens=5).build("text")
    near = encode_rows(short, dialogue("so it is", "not so"), Path())
    reference = TransformersConfig(model=folder, context_turns=5).build("text")
    cut = encode_rows(reference, dialogue("", "not so"), Path())[1]
    assert len(near[1]) == 2
    assert near[1].shape == cut.shape


def test_frames_are_averaged_before_they_are_stored(spoken):
    rows, root = spoken
    plain = FeaturesConfig(logmel=LogmelConfig(n_mels=8))
    pooled = replace(plain, pool_frames=4)
    every = encode_rows(plain.build("audio"), rows, root)
    few = encode_rows(pooled.build("audio"), rows, root)
    assert pooled.build("audio").fingerprint() != plain.build("audio").fingerprint()
    for k in range(len(rows)):
        pieces = [every[k][i : i + 4].mean(axis=0) for i in range(0, len(every[k]), 4)]
        np.testing.assert_allclose(few[k], pieces, atol=1e-5)
    assert type(pooled.build("text")) is type(plain.build("text"))


def broken(source: Path, folder: Path, *without: str) -> Path:
    folder.mkdir()
    for file in source.iterdir():
        if file.name not in without:
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_model_that_cannot_be_used_is_refused_in_one_line(audio_models, text_models, tmp_path):
    good = audio_models["wav2vec2"]
    cases: dict[str, tuple[Any, str]] = {
        "no model": (tmp_path / "none", "cannot load features.audio_transformers.model"),
        "no weights": (broken(good, tmp_path / "a", "model.safetensors"), "holds no weights"),
        "a text model": (text_models["bert"], "is a bert model: give one of whisper"),
        "no extractor": (
            broken(good, tmp_path / "b", "preprocessor_config.json"),
            "preprocessor_config.json is missing",
        ),
    }
    pickled = broken(good, tmp_path / "c", "model.safetensors")
    torch.save({}, pickled / "pytorch_model.bin")
    cases["pickles"] = (pickled, "pytorch_model.bin may run code when it is read")
    for place, expected in cases.values():
        with pytest.raises(FeatureError, match=expected):
            audio_encoder(place)
    with pytest.raises(FeatureError, match="has 3 layers and no layer 7"):
        audio_encoder(good, layers=(7,))
    with pytest.raises(FeatureError, match="is a wav2vec2 model, which hears audio"):
        TransformersConfig(model=str(good)).build("text")
    with pytest.raises(ConfigError, match="one or more, each once"):
        AudioTransformersConfig(layers=())


def test_a_model_of_another_rate_is_refused(audio_models, spoken, tmp_path):
    rows, root = spoken
    folder = broken(audio_models["hubert"], tmp_path / "fast")
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "sampling_rate": 48000}))
    with pytest.raises(FeatureError, match="hears 48000 Hz"):
        encode_rows(audio_encoder(folder), rows, root)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_needs_a_gpu_is_refused_without_one(audio_models, spoken):
    rows, root = spoken
    with pytest.raises(
        FeatureError, match="device asks for a GPU that cannot be used: .*device cpu"
    ):
        encode_rows(audio_encoder(audio_models["wavlm"], device="cuda"), rows, root)
    with pytest.raises(FeatureError, match="precision is float16, which needs a GPU"):
        encode_rows(audio_encoder(audio_models["wavlm"], precision="float16"), rows, root)


def test_too_many_tokens_for_the_model_are_refused():
    encoder: TransformersEncoder = TransformersConfig(
        model=minilm(), max_tokens=4000, batch_tokens=4000
    ).build("text")
    with pytest.raises(FeatureError, match=r"reads at most \d+ tokens"):
        encode_rows(encoder, [Utterance("u", "joy", text="so")], Path())


@pytest.mark.parametrize(("kind", "most"), [("bert", 20), ("roberta", 19), ("deberta-v2", 20)])
def test_a_tokenizer_that_does_not_know_the_models_limit_is_no_crash(
    kind: str, most: int, tmp_path: Path
):
    """RoBERTa counts positions from after the padding's."""
    folder = str(make_text_model(kind, tmp_path, positions=20, longest=None))
    rows = [Utterance("u", "joy", text="so " * 200)]
    with pytest.raises(FeatureError, match=f"reads at most {most} tokens: set .*max_tokens {most}"):
        encode_rows(TransformersConfig(model=folder, max_tokens=30).build("text"), rows, Path())
    (found,) = encode_rows(
        TransformersConfig(model=folder, max_tokens=most).build("text"), rows, Path()
    )
    assert len(found) == most


def test_a_text_of_which_no_token_is_left_costs_itself_and_is_named(tmp_path: Path):
    texts = ["so it is", "\u200b\u200b", "not so"]
    rows = tuple(Utterance(f"u{k}", "joy", text=text) for k, text in enumerate(texts))
    corpus = Corpus("texts", tmp_path, ("joy", "rage"), rows, ("",) * 3)
    config = FeaturesConfig(
        text="transformers", transformers=TransformersConfig(model=minilm(), context_turns=1)
    )
    cache = Folder(str(tmp_path))
    for _ in range(2):  # not a dead end
        with pytest.raises(FeatureError, match="nothing is left of utterance 'u1' to encode"):
            prepare_features(corpus, config, ["text"], cache=cache)
    store = prepare_features(corpus, config, ["text"], cache=cache, skip_bad=True)
    assert list(store.failed) == [1]


def test_texts_that_were_cut_are_counted_exactly(tmp_path: Path):
    texts = ["so it is", "so " * 6, "so " * 9, "so " * 40]  # of 5, 8, 11 and 42 tokens
    rows = tuple(Utterance(f"u{k}", "joy", text=text) for k, text in enumerate(texts))
    config = TransformersConfig(model=minilm(), max_tokens=8)
    features = encode_rows(config.build("text"), rows, tmp_path)
    assert [len(one) for one in features] == [5, 8, 8, 8]
    (finding,) = config.seen(features, rows)
    assert finding.message == (
        "2 of 4 texts are longer than features.transformers.max_tokens 8 and were cut; the longest has 42 tokens"
    )
    wide = TransformersConfig(model=minilm(), max_tokens=64)
    assert wide.seen(encode_rows(wide.build("text"), rows, tmp_path), rows) == []


@pytest.mark.parametrize(
    "kind", ["wav2vec2", "wav2vec2-large", "hubert", "wavlm", "data2vec-audio"]
)
def test_convolutions_are_what_comes_before_the_transformer(kind, audio_models, spoken):
    """One every 20 ms, as many as states, as wide as the last convolution."""
    rows, root = spoken
    found = encode_rows(audio_encoder(audio_models[kind], output="convolutions"), rows, root)
    states = encode_rows(audio_encoder(audio_models[kind]), rows, root)
    assert [len(one) for one in found] == [len(one) for one in states]
    assert {one.shape[1] for one in found} == {16}
    model = transformers.AutoModel.from_pretrained(audio_models[kind]).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(audio_models[kind])
    read = extractor(samples_of(rows[-1], root), sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        theirs = model.feature_extractor(read.input_values)[0].T.numpy()
    np.testing.assert_allclose(found[-1], theirs[: len(found[-1])], atol=1e-4)


def test_convolutions_of_a_model_without_them_are_refused(audio_models):
    with pytest.raises(FeatureError, match=r"reads no samples: set --features\.audio_transformers"):
        audio_encoder(audio_models["whisper"], output="convolutions")
    with pytest.raises(
        ConfigError, match="finetune_layers is 1, but must be 0 where .*convolutions"
    ):
        AudioTransformersConfig(output="convolutions", finetune_layers=1)
