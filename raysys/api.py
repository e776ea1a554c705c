"""The commands as functions, for notebooks and scripts: a preset or a config, settings, and the typed result.

    raysys.cross_validate("configs/demo.yaml", training__seeds=3)     -> TrialResult
    raysys.tune("configs/studies/demo_loss_weights.yaml")             -> StudyResult
    raysys.ablate("configs/ablations/demo.yaml")                      -> AblationResult
    raysys.compare("demo", "demo-2")                                  -> Comparison

They do what `python -m jobs.VERB` does, run folder, MLflow and report included, and raise `RaysysError` instead of
ending the process.
"""

import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from raysys.commandline import parse
from raysys.commands import ablate as ablation
from raysys.commands import cross_validate as cross_validation
from raysys.commands import tune as study
from raysys.commands.compare import Comparison, compare_runs
from raysys.config import Config
from raysys.config.names import known_names, typed
from raysys.errors import ConfigError, nearest
from raysys.report.results import AblationResult, StudyResult, TrialResult
from raysys.settings import replaced
from raysys.storage import resolve_folder

Source = Config | str | Path
"""A config, or the path or name of a preset."""


def cross_validate(
    source: Source, *, resume: bool = False, quiet: bool = False, **settings: Any
) -> TrialResult:
    """Cross-validate one configuration; see `raysys.cross_validate`."""
    config = _config(source, settings)
    return cross_validation.cross_validate(config, resume=resume, console=_console(quiet))


def tune(
    source: Source, *, resume: bool = False, quiet: bool = False, **settings: Any
) -> StudyResult:
    """Search settings; see `raysys.tune`."""
    return study.tune(_config(source, settings), resume=resume, console=_console(quiet))


def ablate(
    source: Source, *, resume: bool = False, quiet: bool = False, **settings: Any
) -> AblationResult:
    """Compare configurations; see `raysys.ablate`."""
    return ablation.ablate(_config(source, settings), resume=resume, console=_console(quiet))


def compare(*places: str | Path, runs: str | Path = "runs") -> Comparison:
    """Compare finished runs; see `raysys.compare`."""
    return compare_runs([str(place) for place in places], runs=resolve_folder(str(runs)))


def _config(source: Source, settings: Mapping[str, Any]) -> Config:
    """A source with other settings, whose names have `__` or `.` between their parts.

    Raises:
        ConfigError: an unreadable preset, an unknown name, or a value that cannot be.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    config = source if isinstance(source, Config) else parse([str(source)], program="raysys")[0]
    known = known_names(config)
    named = {name.replace("__", "."): value for name, value in settings.items()}
    for name in named:
        if name not in known:
            raise ConfigError(f"unknown setting '{name}': {nearest(name, known)}")
    values = {
        name: value if known[name] else typed(config, name, value, where="settings")
        for name, value in named.items()
    }
    found: Config = replaced(config, values)
    return found


def _console(quiet: bool) -> Console:
    return Console(file=StringIO()) if quiet else Console()
