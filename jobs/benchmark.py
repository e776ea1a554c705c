"""Measure one thing side by side: `python -m jobs.benchmark orchestration`. The last line is one JSON object."""

import json
import os
import sys
import tempfile
from collections.abc import Sequence

from raysys.commandline import run_job


def main(argv: Sequence[str]) -> int:
    """Run the benchmark of the given name."""
    names = [argument for argument in argv if not argument.startswith("-")]
    from rich.console import Console

    from raysys.benchmarks import BENCHMARKS
    from raysys.errors import ConfigError, lookup
    from raysys.storage import Folder

    usage = f"usage: python -m jobs.benchmark NAME; known: {', '.join(BENCHMARKS)}"
    if {"--help", "-h"} & set(argv):
        print(usage)
        return 0
    if len(names) != 1 or len(argv) != 1:
        raise ConfigError(usage)
    measure = lookup(BENCHMARKS, names[0], kind="benchmark")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Console(), Folder(folder))
    print(json.dumps({"benchmark": names[0], "cores": os.cpu_count(), **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
