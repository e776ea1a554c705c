"""List the corpora that raysys knows by name, and what each needs.

python -m jobs.corpora emodb
python -m jobs.corpora ravdess
"""

import argparse
import sys
from collections.abc import Sequence

from raysys.commandline import run_job


def main(argv: Sequence[str]) -> int:
    """Print readers and recipes, or one recipe whole."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.corpora",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", nargs="?", default="", help="one of the recipes")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    given = parser.parse_args(argv)
    from raysys.commands.corpora import corpora_command

    corpora_command(given.recipe)
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
