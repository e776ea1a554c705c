"""Measure one thing side by side; the last line is one JSON object.

python -m jobs.benchmark orchestration
python -m jobs.benchmark extraction configs/meld_text.yaml --corpus.root DIR
"""

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial

from raysys.benchmarks.registry import BENCHMARKS, ON_A_CORPUS
from raysys.commandline import parse, run_job
from raysys.errors import ConfigError, lookup


def main(argv: Sequence[str]) -> int:
    """Run the benchmark of the given name."""
    names, on_a_corpus = ", ".join(BENCHMARKS), ", ".join(ON_A_CORPUS)
    usage = (
        f"usage: python -m jobs.benchmark NAME [PRESET] [--dotted.name value]...; known: {names}; "
        f"a preset and settings are for {on_a_corpus} alone"
    )
    name, *settings = argv or [""]
    if {"--help", "-h"} & set(argv):
        print(f"{usage}\n\n{__doc__}")
        return 0
    if not name or name.startswith("-") or (settings and name not in ON_A_CORPUS):
        raise ConfigError(usage)
    measure = importlib.import_module(lookup(BENCHMARKS, name, kind="benchmark")).measure
    from rich.console import Console

    from raysys.storage import Folder

    if name in ON_A_CORPUS:
        config, _ = parse(settings, program=f"python -m jobs.benchmark {name}")
        measure = partial(measure, config)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Console(), Folder(folder))
    print(json.dumps({"benchmark": name, "cores": os.cpu_count(), **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
