"""Where models look: weights of their attention, which utterances are chosen, and the picture."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from raysys.batches.batch import make_part
from raysys.config import Config
from raysys.contracts import DIMS, built
from raysys.encoders.ragged import Ragged
from raysys.models import ModelConfig, model_names
from raysys.predictions import Predictions
from raysys.report.pictures import draw
from raysys.running.attention import choose
from raysys.tasks.classification import Classification
from raysys.tasks.exhibits import Attention
from raysys.training.attention import attention_maps
from raysys.training.bundle import Bundle
from tests.contracts.test_models import SMALL, settings_of

BOTH = ("text", "audio")
ATTENDING = [name for name in model_names() if model_names()[name]().attends(BOTH)]


def part(lengths: dict[str, list[int]]) -> Any:
    random = np.random.default_rng(0)
    features = {
        m: Ragged.of(
            random.standard_normal((sum(many), DIMS[m])).astype(np.float16), np.array(many)
        )
        for m, many in lengths.items()
    }
    count = len(next(iter(lengths.values())))
    return make_part(
        features,
        np.arange(count),
        labels=np.zeros(count, dtype=np.int64),
        targets=np.zeros((count, 4), dtype=np.float32),
        normalisers={},
        device="cpu",
    )


def bundle_of(name: str, model: torch.nn.Module) -> Bundle:
    config = Config(model=ModelConfig(name=name, modalities=BOTH))
    task = Classification(("calm", "fear", "joy", "rage"))
    return Bundle(config, task, {m: DIMS[m] for m in BOTH}, {}, model, {}, {})


@pytest.mark.parametrize("name", ATTENDING)
def test_maps_are_shares_of_every_place_in_the_order_of_the_part(name: str):
    model = built(settings_of(name, SMALL[name][0]), BOTH)
    bundle = bundle_of(name, model)
    lengths = {"text": [3, 5, 1], "audio": [9, 4, 7]}
    maps = attention_maps(bundle, part(lengths))
    assert len(maps) == 3
    for k, one in enumerate(maps):
        for (query, queried), weights in one.items():
            assert weights.shape == (lengths[query][k], lengths[queried][k])
            np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert not [m for m in model.modules() if m._forward_hooks]


def test_a_map_is_what_the_layers_weights_give():
    model = built(settings_of("bimodal_attention", SMALL["bimodal_attention"][0]), BOTH)
    bundle = bundle_of("bimodal_attention", model)
    data = part({"text": [4], "audio": [6]})
    (found,) = attention_maps(bundle, data)
    batch = next(iter(data.batches(1))).modalities
    states = {m: model.norms[m](model.project[m](batch[m].values)) for m in BOTH}
    layer = model.cross["text"].blocks["audio"].attention
    with torch.inference_mode():
        _, expected = layer(states["text"], states["audio"], states["audio"])
    np.testing.assert_allclose(found["text", "audio"], expected[0].numpy(), atol=1e-6)


def test_the_most_certain_right_and_wrong_utterances_of_each_emotion_are_chosen():
    outputs = np.array(
        [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55], [0.3, 0.7], [0.1, 0.9]], dtype=np.float32
    )
    truth = np.array([0, 0, 0, 0, 1, 1])
    plan: Any = SimpleNamespace(
        task=SimpleNamespace(outputs=("calm", "joy")),
        folds=[
            SimpleNamespace(test=np.array([5, 4, 3])),
            SimpleNamespace(test=np.array([2, 1, 0])),
        ],
        corpus=SimpleNamespace(
            utterances=[SimpleNamespace(utterance_id=f"u{k}") for k in range(6)]
        ),
    )
    opened = {
        (0, k): Predictions(np.zeros((3, 2)), outputs[fold.test], truth[fold.test])
        for k, fold in enumerate(plan.folds)
    }
    found = choose(plan, opened, 1)
    assert [(one.emotion, one.is_right, one.utterance, one.fold) for one in found] == [
        ("calm", True, "u0", 1),
        ("calm", False, "u2", 1),
        ("joy", True, "u5", 0),
    ]


def test_the_picture_has_a_panel_a_direction(tmp_path: Path):
    shares = np.full((2, 5), 0.2)
    one = Attention(
        "a.png", "u1", ["so", "sad"], "audio", 1.5, {"text looks at audio": shares, "back": shares}
    )
    figure = draw(one)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:2] == ["text looks at audio", "back"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["so", "sad"]
    assert "seconds of audio" in figure.axes[0].get_xlabel()
