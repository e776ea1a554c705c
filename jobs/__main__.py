"""List the verbs: `python -m jobs`."""

import ast
import sys
from collections.abc import Sequence
from pathlib import Path

from raysys.commandline import run_job


def main(argv: Sequence[str]) -> int:
    """Print every verb with what it does."""
    print("usage: python -m jobs.VERB ...; each has --help\n")
    for file in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        about = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        print(f"  {file.stem:<15} {about.splitlines()[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
