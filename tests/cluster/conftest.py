"""What the tests of commands share: an undisturbed run, done once."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raysys.config import Config
from raysys.experiments.cross_validate import cross_validate
from raysys.report.results import TrialResult, plain


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
        return json.dumps({k: v for k, v in content.items() if k not in ("seconds", "mlflow")})

    @property
    def folder(self) -> Path:
        """Of the first run of this name."""
        return Path(self.config.storage.runs) / self.config.name


def run(config: Config, *, resume: bool = False) -> Ran:
    console = Console(file=StringIO(), width=100)
    result = cross_validate(config, resume=resume, console=console)
    return Ran(config, result, console.file.getvalue())


@pytest.fixture(scope="session")
def reference(pool: None, small_config: Callable[[Path], Config], tmp_path_factory: Any) -> Ran:
    """An undisturbed run of the small config, done once."""
    return run(small_config(tmp_path_factory.mktemp("reference")))
