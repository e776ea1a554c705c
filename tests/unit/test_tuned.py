"""Training with layers of an encoder: only train teaches them, and stopped, killed or loaded they are the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import raysys
from raysys.config import Config
from raysys.corpus.table import Utterance
from raysys.encoders.audio_transformers import AudioTransformersConfig
from raysys.encoders.encoder import EncoderConfig
from raysys.encoders.extraction import encode_rows
from raysys.encoders.ragged import Ragged
from raysys.encoders.transformers import TransformersConfig
from raysys.training.fold import run_fold
from raysys.training.parts import FoldData
from tests.conftest import with_training
from tests.pretrained import make_audio_model, make_text_model
from tests.unit.test_training import FOLD, N, arrays, go_on, task

WORDS = ("well then", "how come ?", "not so !")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> FoldData:
    """The sixty utterances with a text whose words tell the class, below one trained layer of two."""
    folder = make_text_model("bert", tmp_path_factory.mktemp("bert"))
    encoder = TransformersConfig(model=str(folder), layers=(2,), finetune_layers=1)
    rows = [Utterance(str(k), text=f"{WORDS[k % 3]} {'so it is ' * (k % 4)}") for k in range(N)]
    return above(encoder, encode_rows(encoder.build("text"), rows, Path()), "text")


def above(encoder: EncoderConfig, stored: list[np.ndarray], modality: str) -> FoldData:
    lengths = np.array([len(frames) for frames in stored])
    ragged = Ragged.of(np.concatenate(stored).astype(np.float16), lengths)
    data = arrays()
    top = encoder.top()
    return replace(data, features={**data.features, modality: ragged}, tops={modality: top})


def tuned(small: Config, **changes: object) -> Config:
    return with_training(small, **{"max_epochs": 4, "encoder_learning_rate": 0.001, **changes})


def assert_halves_make_the_whole(config: Config, data: FoldData, root: Path) -> None:
    """A fold that is stopped after two epochs and resumed leaves the bytes of one that goes on."""
    run_fold(task(config, root / "whole"), data, go_on)
    stopped = run_fold(task(config, root / "halves"), data, lambda record: record.epoch < 2)
    assert stopped.stopped
    run_fold(task(config, root / "halves"), data, go_on)
    for name in ("weights.safetensors", "test_embeddings.npy", "test_probabilities.npy"):
        assert (root / "halves" / name).read_bytes() == (root / "whole" / name).read_bytes()


def test_stopping_and_resuming_equals_going_on(small: Config, tmp_path: Path, text: FoldData):
    assert_halves_make_the_whole(tuned(small), text, tmp_path)


def test_a_bundle_holds_the_trained_layers(small: Config, tmp_path: Path, text: FoldData):
    run_fold(task(tuned(small), tmp_path), text, go_on)
    predictor = raysys.load(tmp_path)
    found = predictor.predict(text.features, rows=FOLD.test)
    assert found.outputs.tobytes() == np.load(tmp_path / "test_probabilities.npy").tobytes()
    trained = predictor.bundle.model.tops["text"].state_dict()
    moved = [
        float((trained[name] - torch.tensor(value)).abs().max())
        for name, value in text.tops["text"].weights.items()
        if "attention" in name and name.endswith("weight")
    ]
    assert len(moved) > 3
    assert all(0 < one < 0.1 for one in moved)


def test_training_cannot_see_the_test_part(small: Config, tmp_path: Path, text: FoldData):
    ragged = text.features["text"]
    values = ragged.shards[0].copy()
    values[ragged.starts[FOLD.test[0]] :, :-1] = 7.0
    poisoned = replace(text, features={**text.features, "text": Ragged.of(values, ragged.lengths)})
    run_fold(task(tuned(small), tmp_path / "a"), text, go_on)
    run_fold(task(tuned(small), tmp_path / "b"), poisoned, go_on)
    weights = [(tmp_path / n / "weights.safetensors").read_bytes() for n in "ab"]
    assert weights[0] == weights[1]


def test_layers_learn_at_a_rate_of_their_own(small: Config, tmp_path: Path, text: FoldData):
    def moved(rate: float, name: str) -> float:
        config = tuned(small, encoder_learning_rate=rate, max_epochs=1)
        run_fold(task(config, tmp_path / name), text, go_on)
        trained = raysys.load(tmp_path / name).bundle.model.tops["text"].state_dict()
        known = text.tops["text"].weights
        return max(float((trained[k] - torch.tensor(v)).abs().max()) for k, v in known.items())

    assert moved(1e-5, "slow") < 1e-4 < moved(1e-2, "fast")


def test_mixed_precision_and_recomputed_states_train_too(
    small: Config, tmp_path: Path, text: FoldData
):
    plain = run_fold(task(tuned(small), tmp_path / "plain"), text, go_on)
    config = tuned(small, gradient_checkpointing=True)
    again = run_fold(task(config, tmp_path / "again"), text, go_on)
    config = tuned(small, encoder_precision="bfloat16")
    mixed = run_fold(task(config, tmp_path / "mixed"), text, go_on)
    losses = [[record.train_loss for record in one.history] for one in (plain, again, mixed)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    np.testing.assert_allclose(losses[0], losses[2], rtol=0.1)
    assert losses[0] != losses[2]


def test_frames_of_trained_audio_layers_are_normalised_and_masked(small: Config, tmp_path: Path):
    folder = make_audio_model("whisper", tmp_path / "model")
    encoder = AudioTransformersConfig(model=str(folder), layers=(2,), finetune_layers=1)
    random = np.random.default_rng(0)
    stored = []
    for k in range(N):
        states = random.standard_normal((5 + k % 4, 32)) + (k % 3)
        stored.append(np.concatenate([states, np.ones((len(states), 1))], axis=1))
    data = above(encoder, stored, "audio")
    config = tuned(small, mask_time=0.3, mask_dims=0.3)
    result = run_fold(task(config, tmp_path / "run"), data, go_on)
    assert len(result.history) == 4
    bundle = raysys.load(tmp_path / "run").bundle
    assert "audio" not in bundle.normalisers
    assert bundle.model.tops["audio"].std.min() != 1
