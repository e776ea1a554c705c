"""What a trained fold leaves, loaded: for every model and task, to the last bit, and refused where it does not fit."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import raysys
from raysys.config import Config
from raysys.encoders.ragged import Ragged
from raysys.errors import FeatureError, StorageError
from raysys.settings import replaced
from raysys.storage import Folder
from raysys.tasks.regression import Regression, ValueTargets
from raysys.training.fold import run_fold
from raysys.training.parts import FoldData
from tests.unit.test_training import FOLD, N, arrays, dialogue_arrays, go_on, multiemo, task


@pytest.fixture
def trained(small: Config, tmp_path: Path) -> tuple[Path, FoldData]:
    data = replace(arrays(), encoders={"audio": {"encoder": "made"}, "text": {"encoder": "made"}})
    run_fold(task(small, tmp_path), data, go_on)
    return tmp_path, data


def test_it_repeats_the_stored_predictions_to_the_last_bit(trained: tuple[Path, FoldData]):
    folder, data = trained
    predictor = raysys.load(folder)
    found = predictor.predict(data.features, rows=FOLD.test, encoders=data.encoders)
    assert found.outputs.tobytes() == np.load(folder / "test_probabilities.npy").tobytes()
    assert found.embeddings.tobytes() == np.load(folder / "test_embeddings.npy").tobytes()
    assert predictor.outputs == ("calm", "joy", "rage")
    everybody = predictor.predict(data.features)
    assert len(everybody.outputs) == N
    np.testing.assert_allclose(everybody.outputs[FOLD.test], found.outputs, atol=1e-6)


def computing() -> dict[str, object]:
    """How torch computes in this process."""
    cuda = torch.backends.cuda
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.get_deterministic_debug_mode(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "flash": cuda.flash_sdp_enabled(),
        "efficient": cuda.mem_efficient_sdp_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "tf32": torch.backends.cudnn.allow_tf32,
        "flush": bool(torch.full((1,), 1e-310, dtype=torch.float64).mul(1.0) == 0),
        "environment": dict(os.environ),
    }


@pytest.mark.parametrize("flush", [True, False])
def test_predicting_leaves_the_process_as_it_was(
    trained: tuple[Path, FoldData], flush: bool, monkeypatch: pytest.MonkeyPatch
):
    folder, data = trained
    predictor = raysys.load(folder)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    torch.set_deterministic_debug_mode("warn")
    torch.backends.cuda.enable_flash_sdp(True)
    torch.backends.cuda.enable_mem_efficient_sdp(not flush)
    torch.set_flush_denormal(flush)
    torch.set_num_threads(2)
    before = computing()
    assert before["flush"] is flush
    try:
        predictor.predict(data.features, rows=FOLD.test)
        assert computing() == before
    finally:
        torch.set_flush_denormal(False)
        torch.set_deterministic_debug_mode("default")
        torch.backends.cuda.enable_mem_efficient_sdp(True)


def test_a_model_of_dialogues_is_given_the_places_of_its_turns(small: Config, tmp_path: Path):
    data = dialogue_arrays()
    run_fold(task(multiemo(small, max_epochs=2), tmp_path), data, go_on)
    found = raysys.load(tmp_path).predict(data.features, rows=FOLD.test, places=data.places)
    assert found.outputs.tobytes() == np.load(tmp_path / "test_probabilities.npy").tobytes()


def test_a_regression_answers_in_the_units_of_its_train_part(small: Config, tmp_path: Path):
    random = np.random.default_rng(0)
    targets = ValueTargets(
        random.normal(40, 9, size=(N, 2)).astype(np.float32), np.arange(N, dtype=np.int64) % 5
    )
    kind = Regression(("valence", "arousal"))
    data = replace(arrays(), task=kind, targets=targets)
    config = replaced(small, {"task": "regression", "corpus.targets": ("valence", "arousal")})
    run_fold(task(config, tmp_path), data, go_on)
    found = raysys.load(tmp_path).predict(data.features, rows=FOLD.test)
    assert found.outputs.tobytes() == np.load(tmp_path / "test_values.npy").tobytes()
    assert abs(found.outputs.mean() - 40) < 10


def test_features_that_do_not_fit_are_refused_with_the_remedy(trained: tuple[Path, FoldData]):
    folder, data = trained
    predictor, audio = raysys.load(folder), data.features["audio"]
    with pytest.raises(FeatureError, match="reads audio and text: give text too"):
        predictor.predict({"audio": audio})
    wide = Ragged.of(np.repeat(audio.shards[0], 2, axis=1), audio.lengths)
    with pytest.raises(FeatureError, match="10 wide, but the model was trained on 5"):
        predictor.predict({**data.features, "audio": wide})
    with pytest.raises(FeatureError, match="text features were made by another encoder"):
        predictor.predict(data.features, encoders={"text": {"encoder": "other"}})


def test_a_folder_without_a_whole_bundle_is_named(trained: tuple[Path, FoldData]):
    folder, _ = trained
    with pytest.raises(StorageError, match="holds no bundle.json: give the folder of a run"):
        raysys.load(folder / "elsewhere")
    content = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**content, "version": 7}))
    with pytest.raises(StorageError, match="of version 7, not 4"):
        raysys.load(folder)
    (folder / "bundle.json").write_text(json.dumps({**content, "dims": {"audio": 4, "text": 4}}))
    with pytest.raises(StorageError, match="bundle.json is damaged: it is not what was written"):
        raysys.load(folder)
    (folder / "bundle.json").write_text(json.dumps(content))
    weights = Folder(str(folder)).read_bytes("weights.safetensors")
    (folder / "weights.safetensors").write_bytes(weights[:-50])
    with pytest.raises(
        StorageError, match="weights.safetensors is damaged: .* trains the fold again"
    ):
        raysys.load(folder)
