"""What a model costs is measured, remembered and told."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from transformers import AutoModel

from raysys.commands.cross_validate import cross_validate
from raysys.config import Config
from raysys.encoders.cost import encoder_cost
from raysys.report.cost import cost_line, count, milliseconds
from raysys.settings import replaced
from raysys.storage import Folder
from raysys.training.bundle import load_bundle
from tests.conftest import corpus_of, minilm
from tests.here import do_folds_here, tiny
from tests.pretrained import whisper_tiny


def test_a_run_says_what_its_model_costs(small: Config, monkeypatch: pytest.MonkeyPatch):
    do_folds_here(monkeypatch)
    config = tiny(small)
    result = cross_validate(config, resume=None, console=Console(quiet=True))
    cost, folder = result.cost, Folder(config.storage.runs) / "small"
    assert cost is not None
    model = load_bundle(folder / "fold_0").model
    assert cost.parameters == sum(one.numel() for one in model.parameters())
    assert cost.encoder_parameters == 0
    assert 0 < cost.seconds < 1
    assert 0 < cost.encoder_seconds < 1
    assert 0 < cost.real_time < cost.real_time_with_encoders
    assert 0.1 < cost.peak_gb < 100
    assert math.isnan(cost.gpu_seconds)
    assert f"{count(cost.parameters)} parameters" in cost_line(cost)
    again = cross_validate(config, resume=None, console=Console(quiet=True))
    assert repr(again.cost) == repr(cost)  # nothing was trained, or measured, again


def test_an_encoder_is_measured_once_and_its_own_parameters_count(small: Config, tmp_path: Path):
    text = {"features.text": "transformers", "features.transformers.model": minilm()}
    config = replaced(small, text)
    corpus, cache = corpus_of(config, tmp_path), Folder(str(tmp_path))
    found = encoder_cost(corpus, "text", config.features.build("text"), cache)
    expected = AutoModel.from_pretrained(minilm())
    assert found.parameters == sum(one.numel() for one in expected.parameters())
    assert found.seconds > 0
    unused = config.features.build("text")
    assert encoder_cost(corpus, "text", unused, cache) == found
    assert unused.parameters == 0  # its weights were not loaded
    (known,) = tmp_path.glob("features/*/cost.json")
    known.write_text("{}")
    assert encoder_cost(corpus, "text", config.features.build("text"), cache).seconds > 0


def test_of_whisper_the_encoder_alone_counts(small: Config, tmp_path: Path):
    audio = {
        "features.audio": "audio_transformers",
        "features.audio_transformers.model": whisper_tiny(),
    }
    config = replaced(replace(small), audio)
    corpus = corpus_of(config, tmp_path)
    found = encoder_cost(corpus, "audio", config.features.build("audio"), Folder(str(tmp_path)))
    whole = AutoModel.from_pretrained(whisper_tiny())
    own = sum(one.numel() for one in whole.encoder.parameters())
    assert found.parameters == own < sum(one.numel() for one in whole.parameters())
    assert found.audio_seconds > 0.5


def test_numbers_are_said_as_people_say_them():
    assert [count(n) for n in (12, 43_206, 22_713_216)] == ["12", "43.2 k", "22.7 M"]
    assert milliseconds(0.00123) == "1.23 ms"
    assert milliseconds(math.nan) == "-"
