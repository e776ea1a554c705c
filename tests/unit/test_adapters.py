"""LoRA adapters: nothing at first, trained alone, kept alone, and whole again on the weights that they stand on."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import raysys
from raysys.config import Config
from raysys.corpus.table import Utterance
from raysys.encoders.adapters import LoraConfig, check_lora
from raysys.encoders.encoder import EncoderConfig
from raysys.encoders.extraction import encode_rows
from raysys.encoders.top_layers import TopLayers
from raysys.encoders.transformers import TransformersConfig
from raysys.errors import ConfigError, FeatureError, StorageError
from raysys.training.fold import run_fold
from raysys.training.parts import FoldData
from tests.pretrained import AUDIO_TYPES, TEXT_TYPES, make_audio_model, make_text_model
from tests.unit.test_top_layers import config_of
from tests.unit.test_training import FOLD, N, go_on, task
from tests.unit.test_tuned import WORDS, above, assert_halves_make_the_whole, tuned

TYPES = (*AUDIO_TYPES, *TEXT_TYPES)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    made = {kind: make_audio_model(kind, tmp_path_factory.mktemp(kind)) for kind in AUDIO_TYPES}
    made |= {kind: make_text_model(kind, tmp_path_factory.mktemp(kind)) for kind in TEXT_TYPES}
    return {kind: str(folder) for kind, folder in made.items()}


def adapted(kind: str, folder: str, **changes: object) -> EncoderConfig:
    lora = LoraConfig(**{"rank": 2, "alpha": 8, "targets": "feed_forward", **changes})
    return config_of(kind, folder, layers=(2,), finetune_layers=2, lora=lora)


def states_for(top: TopLayers) -> tuple[torch.Tensor, torch.Tensor]:
    """Two utterances of six and three frames, all their own."""
    torch.manual_seed(0)
    values = torch.randn(2, 6, len(top.mean) + 1)
    values[..., -1] = 1
    return values, torch.arange(6) < torch.tensor([[6], [3]])


@pytest.mark.parametrize("targets", ["attention", "feed_forward", "all"])
@pytest.mark.parametrize("kind", TYPES)
def test_adapters_do_nothing_at_first_and_all_of_them_get_a_gradient(
    kind: str, targets: str, models: dict[str, str]
):
    config = adapted(kind, models[kind], targets=targets)
    if kind == "wavlm" and targets != "feed_forward":
        with pytest.raises(FeatureError, match=r"attention of a wavlm model passes adapters by"):
            config.top()
        return
    recipe = config.top()
    top, plain = recipe.build().eval(), replace(recipe, lora=LoraConfig()).build().eval()
    given = states_for(top)
    torch.testing.assert_close(top(*given)[0], plain(*given)[0])
    top(*given)[0].square().sum().backward()
    named = dict(top.named_parameters())
    adapters = {name for name, weights in named.items() if weights.requires_grad}
    assert adapters == {name for name in named if "lora_" in name}
    per_layer = {"attention": 2, "feed_forward": 2, "all": 4}[targets]
    assert len(adapters) == 2 * 2 * per_layer
    assert all(named[name].grad.any() for name in adapters if "lora_B" in name)
    assert not any(
        weights.grad is not None for name, weights in named.items() if "lora_" not in name
    )


def test_an_adapter_adds_a_product_of_low_rank(models: dict[str, str]):
    recipe = adapted("bert", models["bert"]).top()
    top, plain = recipe.build().eval(), replace(recipe, lora=LoraConfig()).build().eval()
    weights = dict(plain.named_parameters())
    with torch.no_grad():
        for name, layer in top.named_modules():
            if hasattr(layer, "lora_A"):
                a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
                assert a.shape[0] == b.shape[1] == 2
                b.normal_()
                weights[f"{name}.weight"] += 8 / 2 * b @ a
    torch.testing.assert_close(top(*states_for(top))[0], plain(*states_for(top))[0])


def test_the_state_is_adapters_alone_and_fits_another_copy(models: dict[str, str], tmp_path: Path):
    recipe = adapted("whisper", models["whisper"], targets="all").top()
    one, other = recipe.build(), recipe.build()
    state = one.state_dict()
    assert {name for name in state if "lora_" not in name} == {"mean", "std"}
    other.load_state_dict(state)
    for name, value in other.state_dict().items():
        torch.testing.assert_close(value, state[name])
    with pytest.raises(RuntimeError, match="lora_A"):
        other.load_state_dict(
            {name: value for name, value in state.items() if "lora_A" not in name}
        )


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text_model("bert", tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def text(text_model: Path) -> FoldData:
    """The sixty utterances with a text whose words tell the class, below two layers with adapters."""
    encoder = encoder_of(text_model)
    rows = [Utterance(str(k), text=f"{WORDS[k % 3]} {'so it is ' * (k % 4)}") for k in range(N)]
    return above(encoder, encode_rows(encoder.build("text"), rows, Path()), "text")


def encoder_of(folder: Path) -> TransformersConfig:
    lora = LoraConfig(rank=2, dropout=0.1)
    return TransformersConfig(model=str(folder), layers=(2,), finetune_layers=2, lora=lora)


def config_with(small: Config, folder: Path) -> Config:
    features = replace(small.features, text="transformers", transformers=encoder_of(folder))
    return replace(tuned(small, encoder_learning_rate=0.01), features=features)


def test_stopping_and_resuming_equals_going_on(
    small: Config, tmp_path: Path, text: FoldData, text_model: Path
):
    assert_halves_make_the_whole(config_with(small, text_model), text, tmp_path)


def test_a_bundle_holds_adapters_and_predicts_on_the_weights_they_were_trained_on(
    small: Config, tmp_path: Path, text: FoldData, text_model: Path
):
    folder = shutil.copytree(text_model, tmp_path / "model")
    run_fold(task(config_with(small, folder), tmp_path / "run"), text, go_on)
    predictor = raysys.load(tmp_path / "run")
    found = predictor.predict(text.features, rows=FOLD.test)
    expected = np.load(tmp_path / "run" / "test_probabilities.npy")
    assert found.outputs.tobytes() == expected.tobytes()
    kept = predictor.bundle.model.tops["text"].state_dict()
    moved = [float(value.abs().max()) for name, value in kept.items() if "lora_B" in name]
    assert len(moved) == 4
    assert min(moved) > 0.001

    there = shutil.move(folder, tmp_path / "elsewhere")
    with pytest.raises(FeatureError, match="cannot load features.transformers.model .*=FOLDER"):
        raysys.load(tmp_path / "run")
    again = raysys.load(tmp_path / "run", encoders={"text": str(there)})
    assert again.predict(text.features, rows=FOLD.test).outputs.tobytes() == expected.tobytes()

    make_text_model("bert", folder, positions=256)
    with pytest.raises(StorageError, match="trained on other weights than features.transformers"):
        raysys.load(tmp_path / "run")


def test_what_makes_no_sense_is_refused_with_the_remedy(models: dict[str, str]):
    with pytest.raises(ConfigError, match="no layer is trained: set --features.transformers.fine"):
        TransformersConfig(lora=LoraConfig(rank=8))
    for wrong in ({"rank": -1}, {"rank": 8, "alpha": 0}, {"rank": 8, "dropout": 1.0}):
        with pytest.raises(ConfigError, match=rf"features\.bert\.lora\.{list(wrong)[-1]} is"):
            check_lora("bert", LoraConfig(**wrong), 1)
