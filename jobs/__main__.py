"""List the verbs: `python -m jobs`."""

import ast
import sys
from collections.abc import Sequence
from pathlib import Path

from raysys.commandline import run_job
from raysys.errors import ConfigError, nearest


def main(argv: Sequence[str]) -> int:
    """Print every verb with what it does.

    Raises:
        ConfigError: a verb is given as an argument.
    """
    verbs = sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py"))
    if argv and not argv[0].startswith("-"):
        said = f"python -m jobs.{argv[0]}"
        raise ConfigError(
            f"write {said}"
            if argv[0] in verbs
            else f"there is no {said}: {nearest(argv[0], verbs)}"
        )
    print("usage: python -m jobs.VERB ...; each has --help\n")
    for verb in verbs:
        file = Path(__file__).with_name(f"{verb}.py")
        about = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        print(f"  {verb:<15} {about.splitlines()[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
