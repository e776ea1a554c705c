"""Layers that are trained: as pretrained they give what the frozen model gives, and a bundle holds them whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from raysys.batches.batch import Part
from raysys.corpus.table import Utterance
from raysys.encoders import FeaturesConfig
from raysys.encoders.audio_transformers import AudioTransformersConfig
from raysys.encoders.encoder import EncoderConfig, own_frames
from raysys.encoders.extraction import encode_rows
from raysys.encoders.top_layers import TopRecipe
from raysys.encoders.transformers import TransformersConfig
from raysys.errors import ConfigError, FeatureError
from raysys.models.cltnet import CltnetConfig
from raysys.models.tuned import Tuned
from tests.pretrained import AUDIO_TYPES, TEXT_TYPES, make_audio_model, make_text_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    made = {kind: make_audio_model(kind, tmp_path_factory.mktemp(kind)) for kind in AUDIO_TYPES}
    made |= {kind: make_text_model(kind, tmp_path_factory.mktemp(kind)) for kind in TEXT_TYPES}
    return {kind: str(folder) for kind, folder in made.items()}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Utterance], Path]:
    root = tmp_path_factory.mktemp("audio")
    random = np.random.default_rng(0)
    made = []
    for k, seconds in enumerate([0.4, 0.9, 0.25, 0.7]):
        samples = 0.1 * random.standard_normal(round(seconds * 16000))
        soundfile.write(root / f"{k}.wav", samples, 16000, subtype="FLOAT")
        row = Utterance(f"u{k}", "joy", text="so it is " * (k + 1), audio=f"{k}.wav")
        made.append(replace(row, dialogue_id="d", turn=k))
    return made, root


def config_of(kind: str, folder: str, **settings: object) -> EncoderConfig:
    made = TransformersConfig if kind in TEXT_TYPES else AudioTransformersConfig
    return made(model=folder, **settings)


def padded(frames: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    values = torch.nn.utils.rnn.pad_sequence([torch.tensor(one) for one in frames], True)
    lengths = torch.tensor([len(one) for one in frames])
    return values, torch.arange(values.shape[1]) < lengths[:, None]


@pytest.mark.parametrize("layer, count", [(2, 1), (2, 2), (1, 1), (-1, 1)])
@pytest.mark.parametrize("kind", [*AUDIO_TYPES, *TEXT_TYPES])
def test_top_layers_give_the_frozen_states_whatever_shares_the_batch(
    kind: str, layer: int, count: int, models: dict[str, str], rows
):
    utterances, root = rows
    frozen = config_of(kind, models[kind], layers=(layer,))
    tuned = replace(frozen, finetune_layers=count)
    modality = tuned.modalities[0]
    expected = encode_rows(frozen.build(modality), utterances, root)
    top = tuned.top().build().eval()
    with torch.no_grad():
        values, mask = top(*padded(encode_rows(tuned.build(modality), utterances, root)))
    assert mask.sum(dim=1).tolist() == [len(frames) for frames in expected]
    for k, frames in enumerate(expected):
        np.testing.assert_allclose(values[k][mask[k]].numpy(), frames, atol=2e-5)
    assert not values[~mask].any()


def test_turns_of_context_are_seen_and_left_out(models: dict[str, str], rows):
    utterances, root = rows
    frozen = TransformersConfig(model=models["bert"], context_turns=2)
    tuned = replace(frozen, finetune_layers=1)
    expected = encode_rows(frozen.build("text"), utterances, root)
    stored = encode_rows(tuned.build("text"), utterances, root)
    assert [len(own_frames(one)) for one in stored] == [len(one) for one in expected]
    top = tuned.top().build().eval()
    with torch.no_grad():
        values, mask = top(*padded(stored))
    for k, frames in enumerate(expected):
        np.testing.assert_allclose(values[k][mask[k]].numpy(), frames, atol=2e-5)


def test_a_recipe_without_weights_builds_what_trained_weights_fit_into(models: dict[str, str]):
    recipe = config_of("wavlm", models["wavlm"], layers=(2,), finetune_layers=1).top()
    again = TopRecipe(**recipe.plain).build()
    again.load_state_dict(recipe.build().state_dict())
    for one, other in zip(again.parameters(), recipe.build().parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_files_in_half_precision_are_trained_in_single_precision(models: dict[str, str]):
    recipe = config_of("whisper", models["whisper"], layers=(2,), finetune_layers=1).top()
    half = replace(recipe, settings={**recipe.settings, "dtype": "float16"})
    for built in (half.build(), replace(half, weights={}).build()):
        assert {weights.dtype for weights in built.parameters()} == {torch.float32}


def test_recomputing_states_in_the_backward_pass_changes_no_gradient(models: dict[str, str], rows):
    utterances, root = rows
    tuned = config_of("bert", models["bert"], layers=(2,), finetune_layers=2)
    values, mask = padded(encode_rows(tuned.build("text"), utterances, root))

    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        top = tuned.top().build().train()
        top.checkpointing = checkpointing
        torch.manual_seed(3)  # dropout
        top(values, mask)[0].square().sum().backward()
        return [weights.grad for weights in top.parameters() if weights.grad is not None]

    for one, other in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(one, other)


def test_what_comes_out_is_normalised_as_frozen_frames_would_be(models: dict[str, str], rows):
    utterances, root = rows
    tuned = config_of("whisper", models["whisper"], layers=(2,), finetune_layers=1)
    stored = encode_rows(tuned.build("audio"), utterances, root)
    expected = np.concatenate(
        encode_rows(replace(tuned, finetune_layers=0).build("audio"), utterances, root)
    )
    offsets = torch.tensor(np.cumsum([0, *map(len, stored)]))
    train = Part(
        {"audio": torch.tensor(np.concatenate(stored))},
        {"audio": offsets},
        targets=torch.eye(4),
        labels=torch.arange(4),
    )
    head = CltnetConfig(channels=4, dim=4).build(["audio"], dims={"audio": 16}, n_outputs=4)
    model = Tuned(head, {"audio": tuned.top().build()})
    model.fit(train, ["audio"], batch_size=3)
    np.testing.assert_allclose(model.tops["audio"].mean, expected.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(model.tops["audio"].std, expected.std(axis=0), atol=1e-4)


def test_what_cannot_be_trained_is_refused_with_the_remedy(models: dict[str, str], rows):
    root = rows[1]
    with pytest.raises(ConfigError, match="finetune_layers .* with one layer in features"):
        TransformersConfig(layers=(1, 2), finetune_layers=1)
    with pytest.raises(
        FeatureError, match=r"finetune_layers is 9, but .* has \d layers up to layer"
    ):
        config_of("hubert", models["hubert"], finetune_layers=9).build("audio")
    audio = AudioTransformersConfig(model=models["hubert"], finetune_layers=1)
    with pytest.raises(ConfigError, match="features.normalise .* train or none where layers"):
        FeaturesConfig(audio="audio_transformers", audio_transformers=audio, normalise="speaker")
    long = config_of("ast", models["ast"], finetune_layers=1)
    soundfile.write(root / "long.wav", np.full(40000, 0.1), 16000)
    with pytest.raises(FeatureError, match="longer than .* hears at once"):
        encode_rows(long.build("audio"), [Utterance("long", audio="long.wav")], root)
