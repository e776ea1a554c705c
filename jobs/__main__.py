"""Do a verb, or list them: `raysys tune ...` and `python -m jobs tune ...` are `python -m jobs.tune ...`."""

import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from raysys.commandline import run_job
from raysys.errors import ConfigError, nearest


def main(argv: Sequence[str]) -> int:
    """Do the verb that comes first; without one, print every verb with what it does.

    Raises:
        ConfigError: there is no such verb.
    """
    verbs = sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py"))
    if argv and not argv[0].startswith("-"):
        verb = argv[0].replace("-", "_")
        if verb not in verbs:
            raise ConfigError(f"there is no verb '{argv[0]}': {nearest(verb, verbs)}")
        status: int = importlib.import_module(f"jobs.{verb}").main(argv[1:])
        return status
    print("usage: raysys VERB ... (or python -m jobs.VERB ...); each has --help\n")
    for verb in verbs:
        file = Path(__file__).with_name(f"{verb}.py")
        about = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        print(f"  {verb:<15} {about.splitlines()[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
