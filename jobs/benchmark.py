"""Measure one thing side by side: `python -m jobs.benchmark orchestration`. The last line is one JSON object.

What is measured on a corpus takes a preset and settings: `... jobs.benchmark extraction configs/meld_text.yaml`.
"""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial

from raysys.commandline import parse, run_job


def main(argv: Sequence[str]) -> int:
    """Run the benchmark of the given name."""
    from rich.console import Console

    from raysys.benchmarks.registry import BENCHMARKS, ON_A_CORPUS
    from raysys.errors import ConfigError, lookup
    from raysys.storage import Folder

    usage = (
        f"usage: python -m jobs.benchmark NAME [PRESET] [--dotted.name value]...; known: {', '.join(BENCHMARKS)}; "
        f"a preset and settings are for {', '.join(ON_A_CORPUS)} alone"
    )
    name, *settings = argv or [""]
    if {"--help", "-h"} & set(argv):
        print(usage)
        return 0
    if not name or name.startswith("-") or (settings and name not in ON_A_CORPUS):
        raise ConfigError(usage)
    measure = lookup(BENCHMARKS, name, kind="benchmark")
    if name in ON_A_CORPUS:
        config, _ = parse(settings, program=f"python -m jobs.benchmark {name}")
        measure = partial(measure, config)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Console(), Folder(folder))
    print(json.dumps({"benchmark": name, "cores": os.cpu_count(), **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
