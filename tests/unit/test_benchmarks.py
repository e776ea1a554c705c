"""Benchmarks measure what they say: sizes and arithmetic; speeds are for people, not for tests."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from raysys import gpu
from raysys.benchmarks.gpu import PUBLISHED, Case, Sizes, make_part, measure_on
from raysys.benchmarks.gpu import measure as gpu_benchmark
from raysys.benchmarks.gpu_encoders import EncoderSizes
from raysys.benchmarks.multiemo import DIMS, MODEL, measure_step
from raysys.benchmarks.registry import BENCHMARKS
from raysys.commandline import parse
from raysys.config import Config
from raysys.errors import ConfigError, lookup
from raysys.models.multiemo import Multiemo, MultiemoConfig
from raysys.settings import replaced
from raysys.storage import Folder
from tests.unit.test_config import ROOT


def test_multiemo_has_the_published_sizes_here_and_in_the_preset_for_iemocap():
    weights = Multiemo(MODEL, list(DIMS), dims=DIMS, n_outputs=6).parameters()
    assert round(sum(one.numel() for one in weights) / 1e6, 1) == 29.7
    preset = parse([str(ROOT / "configs/iemocap.yaml")], program="test")[0]
    assert preset.model.multiemo == MODEL


def test_a_steps_arithmetic_is_that_of_its_matrix_products():
    """A model of linear layers and attention alone, whose products are counted by hand."""
    dim, wide, n, turns = 8, 16, 12, 4
    sizes = MultiemoConfig(
        dim=dim, hidden=dim, layers=1, heads=2, feedforward=wide, context=(), dropout=0.0
    )
    dims = {"audio": 6, "text": 5}
    few = measure_step(sizes, dims, [turns] * 3)
    assert few["utterances"] == n
    pooled = sum(n * d * dim + n * dim for d in dims.values())
    layer = n * dim * dim * 4 + 2 * n * turns * dim + 2 * n * dim * wide
    head = n * 2 * dim * dim + n * dim * dim + n * dim * 6
    swfc, soft_hgr = n * n * dim, 3 * n * dim * dim  # forward: all pairs; two covariances, trace
    forward = pooled + 2 * layer + head
    # Backward: two products for each of the forward, but none for gradients of features.
    least = 2 * (3 * forward - sum(n * d * dim for d in dims.values()))
    most = least + 2 * 3 * (swfc + soft_hgr)
    assert least < few["gflop"] * 1e9 <= most
    share = few["gflop"] / few["seconds_per_step"] / few["matrix_gflop_per_second"]
    assert few["share_of_matrix_speed"] == pytest.approx(share)


def test_extraction_compares_what_it_has_a_loop_for(tmp_path: Path):
    config = parse([str(ROOT / "configs/demo.yaml")], program="test")[0]
    with pytest.raises(ConfigError, match="one modality, encoded by a text model or a Whisper"):
        importlib.import_module(BENCHMARKS["extraction"]).measure(
            config, Console(), Folder(str(tmp_path))
        )


SMALL = Sizes(
    {
        "cltnet": Case(
            {"model.name": "cltnet", "model.cltnet.channels": 6, "model.cltnet.text_dim": 5},
            {"audio": (12, 4), "text": (6, 5)},
            4,
        ),
        "multiemo": Case(
            {
                "model.name": "multiemo",
                "model.multiemo.dim": 8,
                "model.multiemo.state": 8,
                "model.multiemo.hidden": 8,
                "model.multiemo.layers": 1,
                "model.multiemo.context": ("audio", "text"),
            },
            {"text": (1, 5), "audio": (1, 4)},
            3,
            turns=(3, 5),
        ),
    },
    steps=2,
    rnn=(2, 3, 4, 8),
    matrix=64,
    encoders=EncoderSizes(
        text={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
        whisper={
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_layers": 1,
        },
        texts=6,
        recordings=2,
        seconds=(1, 2),
    ),
)


@pytest.mark.proof("benchmarks")
def test_what_is_measured_on_a_gpu_works_on_a_cpu_but_for_graphs(tmp_path: Path):
    found = measure_on("cpu", SMALL, Console(), Folder(str(tmp_path)))
    for name in SMALL.cases:
        figures = found[name]
        assert figures["step"]["gflop"] > 0
        assert figures["folds"]["processes"] > 0
        assert figures["folds"]["threads"] > 0
        assert "CUDA" in figures["on_one_batch"]["graph"]
    assert found["multiemo"]["folds"]["together"] > 0
    assert "few launches" in found["cltnet"]["folds"]["together"]
    assert found["stacked"] > 0
    for modality in ("text", "audio"):
        assert found["extraction"][modality]["to_loop"] > 0


def test_without_a_gpu_the_reason_is_what_is_found(tmp_path: Path):
    if not gpu.why_not():
        pytest.skip("there is a GPU")
    assert gpu_benchmark(Console(), Folder(str(tmp_path))) == {"skipped": gpu.why_not()}


@pytest.mark.parametrize("name", PUBLISHED.cases)
def test_a_model_on_a_gpu_is_measured_at_its_published_sizes(name: str):
    case = PUBLISHED.cases[name]
    config = replaced(Config(), case.settings)
    assert config.model.name == name
    own = getattr(config.model, name)
    assert replace(own, **{k: v for k, v in vars(type(own)()).items() if k != "context"}) == own
    part = make_part(case, 1, "cpu")
    assert part.dims == {modality: dim for modality, (_, dim) in case.frames.items()}
    assert (len(part.dialogues()) if case.turns else len(part)) == case.batch_size


def test_an_unknown_benchmark_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'multiemo'"):
        lookup(BENCHMARKS, "multimo", kind="benchmark")
