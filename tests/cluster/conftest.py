"""What the tests of commands share: an undisturbed run, done once."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from rich.console import Console

from raysys.commands.cross_validate import cross_validate
from raysys.config import Config
from raysys.report.results import TrialResult, plain
from tests.cluster.command import SETTINGS, numbers, undisturbed
from tests.conftest import StandingPool


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    config: Config
    result: TrialResult
    printed: str

    @property
    def numbers(self) -> str:
        """Everything of the result but seconds and ids."""
        content = plain(self.result)
        return json.dumps(
            {k: v for k, v in content.items() if k not in ("seconds", "mlflow", "cost")}
        )

    @property
    def folder(self) -> Path:
        """Of the first run of this name."""
        return Path(self.config.storage.runs) / self.config.name


def run(config: Config, *, resume: bool = False) -> Ran:
    console = Console(file=StringIO(), width=100)
    result = cross_validate(config, resume=resume, console=console)
    return Ran(config, result, console.file.getvalue())


def fold_curve(client: MlflowClient, run_id: str, fold: int, metric: str) -> dict[int, float]:
    """Epoch -> value, from the run of a fold below a run."""
    experiment = client.get_run(run_id).info.experiment_id
    query = f"tags.`mlflow.parentRunId` = '{run_id}' and tags.`raysys.fold` = '{fold}'"
    (found,) = client.search_runs([experiment], query)
    points = client.get_metric_history(found.info.run_id, metric)
    assert len({point.step for point in points}) == len(points)
    return {point.step: point.value for point in points}


@pytest.fixture(scope="session")
def reference(
    standing: StandingPool, small_config: Callable[[Path], Config], tmp_path_factory: Any
) -> Ran:
    """An undisturbed run of the small config, done once."""
    standing.open()
    return run(small_config(tmp_path_factory.mktemp("reference")))


@pytest.fixture(scope="session")
def expected(standing: StandingPool, cache_root: Path, tmp_path_factory: Any) -> dict[str, Any]:
    """The numbers of the run of `SETTINGS` that nobody disturbs, done once."""
    home = tmp_path_factory.mktemp("undisturbed")
    preset = home / "small.yaml"
    preset.write_text(SETTINGS)
    standing.open()
    run(undisturbed(preset, home, cache_root))
    return numbers(home)
