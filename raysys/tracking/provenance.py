"""Where a run comes from: its settings by name, the code's commit, who ran it."""

import getpass
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import raysys
from raysys.config import Config
from raysys.encoders.encoder import digest_of_code
from raysys.settings import flat, to_dict, value_of
from raysys.trials.trial import Trial


def flat_settings(config: Config) -> dict[str, Any]:
    """Dotted name -> value of every setting that a result depends on; a study's or ablation's only when it is one.

    What a study searches is left out: its trials have it, and the study itself has no one value of it.
    """
    return {k: v for k, v in flat(_content(config)).items() if k not in config.search.space}


def told_settings(config: Config) -> str:
    """Those that differ from the defaults, in one line."""
    usual = flat(to_dict(Config()))
    found = flat(_content(config)).items()
    return ", ".join(f"{name} {value}" for name, value in found if value != usual.get(name))


def _content(config: Config) -> dict[str, Any]:
    content = to_dict(config)
    for group, used in (("search", config.search.space), ("ablation", config.ablation.variants)):
        if not used:
            del content[group]
    if config.ablation.variants:  # their names may hold what MLflow takes in no key
        content["ablation"]["variants"] = ", ".join(config.ablation.variants)
    return content


def varied_settings(config: Config, trial: Trial) -> dict[str, Any]:
    """What a trial has of the settings in which the trials of a command differ, also where they are the base's.

    Args:
        config: of the command.
        trial: one of them.
    """
    names = {
        *config.search.space,
        *(name for cell in config.ablation.cells for name in cell.settings),
    }
    return {**{name: value_of(trial.config, name) for name in sorted(names)}, **trial.values}


@cache
def code_digest() -> str:
    """Digest of raysys' own code, which identifies what ran where there is no checkout."""
    package = Path(str(raysys.__file__)).parent
    return digest_of_code(package.rglob("*.py"), below=package)[:16]


@cache
def git_commit() -> str:
    """Commit of the checkout that raysys runs from, or RAYSYS_COMMIT in a submitted job; empty without both."""
    if told := os.environ.get("RAYSYS_COMMIT", ""):
        return told
    file = Path(str(raysys.__file__))
    try:
        for command in (["ls-files", "--error-unmatch", file.name], ["rev-parse", "HEAD"]):
            done = subprocess.run(
                ["git", "-C", str(file.parent), *command],
                capture_output=True,
                text=True,
                check=True,
            )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def user_name() -> str:
    """Name of the user who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"
