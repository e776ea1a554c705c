"""Train a run's configuration once more, on all utterances: the model to be used.

python -m jobs.refit demo
python -m jobs.refit runs/demo --training.max_epochs 20
"""

import sys
from collections.abc import Sequence

from raysys.commandline import parse, run_job
from raysys.errors import ConfigError


def main(argv: Sequence[str]) -> int:
    """Refit a run; its epochs are the median of those that the folds kept, unless they are given."""
    usage = "python -m jobs.refit RUN [--training.max_epochs N] [--name NAME] [--cluster.*, --storage.*, --tracking.*]"
    if {"--help", "-h"} & set(argv):
        print(f"usage: {usage}\n\n{__doc__}")
        return 0
    if not argv or argv[0].startswith("-"):
        raise ConfigError(f"give the run: {usage}")
    from raysys.commands.refit import refit
    from raysys.predicting.members import run_of
    from raysys.storage import resolve_folder

    run, *rest = argv
    places = [one.split("=", 1)[0] for one in rest if one.startswith("--")]
    known = ("--name", "--cluster.", "--storage.", "--tracking.", "--training.max_epochs")
    for one in places:
        if not one.startswith((*known, "--resume", "--retry", "--debug")):
            raise ConfigError(f"{one} is the run's own, and stays: {usage}")
    config, options = parse(rest, program="python -m jobs.refit")
    folder = run_of(run, resolve_folder(config.storage.runs))
    own, _ = parse([folder.path("config.json"), *rest], program="python -m jobs.refit")
    from dataclasses import replace

    from rich.console import Console

    named = replace(own, name=config.name if "--name" in places else f"{folder.name}-refit")
    epochs = config.training.max_epochs if "--training.max_epochs" in places else None
    refit(folder, named, epochs=epochs, resume=options.resume, console=Console())
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
