"""Benchmarks measure what they say: sizes and arithmetic; speeds are for people, not for tests."""

import importlib
from pathlib import Path

import pytest
from rich.console import Console

from raysys.benchmarks.multiemo import DIMS, MODEL, measure_step
from raysys.benchmarks.registry import BENCHMARKS
from raysys.commandline import parse
from raysys.errors import ConfigError, lookup
from raysys.models.multiemo import Multiemo, MultiemoConfig
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


def test_an_unknown_benchmark_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'multiemo'"):
        lookup(BENCHMARKS, "multimo", kind="benchmark")
