"""The papers' tables from their presets, on the demo corpus."""

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from rich.console import Console

from raysys.commandline import parse
from raysys.commands.ablate import ablate
from raysys.commands.cross_validate import cross_validate
from raysys.config import Config

ROOT = Path(__file__).resolve().parents[2]
TABLES = sorted(
    path
    for path in (ROOT / "configs" / "tables").glob("*.yaml")
    if "variants:" in path.read_text() and "corpora:" in path.read_text()
)

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("pool")]


BEHAVIOUR = ("multiemo_table1", "pdds_fig6")
"""One of each paper; the others are proofs."""
PROOF = pytest.mark.proof("models", "losses", "tasks", "running", "commands", "report")


def small(path: Path, config: Config, runs: Path) -> Config:
    """A table on a small demo corpus, one epoch, on the session's pool."""
    flags = ["--corpus.name", "demo", "--corpus.demo.utterances", "150"]
    flags += ["--training.max_epochs", "1", "--similarity.resamples", "50"]
    flags += ["--folds.tested", "[5]"]
    table, _ = parse([str(path), *flags], program="test")
    storage = replace(config.storage, runs=str(runs))
    return replace(table, cluster=config.cluster, storage=storage)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in BEHAVIOUR else [PROOF])
        for path in TABLES
    ],
)
def test_a_table_runs_on_the_demo_corpus(
    path: Path, small_config: Callable[[Path], Config], tmp_path: Path
):
    config = small(path, small_config(tmp_path), tmp_path / "runs")
    console = Console(file=StringIO(), width=160)
    result = ablate(config, resume=False, console=console)
    printed = console.file.getvalue()
    assert [one.name for one in result.variants] == [cell.name for cell in config.ablation.cells]
    assert not any(one.published for one in result.variants)
    for name in (*config.ablation.variants, *config.ablation.columns):
        assert name in printed
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    files = {one.path for one in client.list_artifacts(result.mlflow.run_id)}
    assert ("curve.png" in files) == bool(config.ablation.curve)
    assert ("confusion" in files) == bool(config.ablation.columns)


def test_what_an_attention_model_looked_at_is_drawn(
    small_config: Callable[[Path], Config], tmp_path: Path
):
    path = ROOT / "configs" / "ablations" / "demo_attention.yaml"
    config = small(path, small_config(tmp_path), tmp_path / "runs")
    config = replace(
        config,
        ablation=Config().ablation,
        training=replace(config.training, seeds=1, max_epochs=3),
        tracking=replace(config.tracking, attention=1),
    )
    result = cross_validate(config, resume=False, console=Console(file=StringIO()))
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")

    def files(folder: str) -> list[Any]:
        return client.list_artifacts(result.mlflow.run_id, folder)

    emotions = [one.path for one in files("attention") if one.is_dir]
    assert emotions
    pictures = [one.path for folder in emotions for one in files(folder)]
    assert all(path.endswith(".png") for path in pictures)
    assert any("/wrong_" in path for path in pictures)
