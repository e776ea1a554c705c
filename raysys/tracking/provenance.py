"""Where a run comes from: its settings by name, the code's commit, who ran it."""

import getpass
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import raysys
from raysys.config import Config
from raysys.settings import flat, to_dict


def flat_settings(config: Config) -> dict[str, Any]:
    """Dotted name -> value of every setting that a result depends on; a study's or ablation's only when it is one.

    MLflow sorts them by name: those that differ from the defaults come first; under `with_defaults/` are all.
    """
    content = to_dict(config)
    for group, used in (("search", config.search.space), ("ablation", config.ablation.variants)):
        if not used:
            del content[group]
    if config.ablation.variants:  # their names may hold what MLflow takes in no key
        content["ablation"]["variants"] = ", ".join(config.ablation.variants)
    every, usual = flat(content), flat(to_dict(Config()))
    different = {name: value for name, value in every.items() if value != usual.get(name)}
    return {**different, **{f"with_defaults/{name}": value for name, value in every.items()}}


@cache
def git_commit() -> str:
    """Of the checkout that raysys runs from; empty where there is none."""
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
    """Of who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"
