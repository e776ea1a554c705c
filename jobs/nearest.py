"""Show what a text or a recording is in every label format, and what lies nearest to it.

python -m jobs.nearest emobank "I did not expect that at all"
python -m jobs.nearest runs/emobank "I did not expect that at all" --count 5
"""

import argparse
import sys
from collections.abc import Sequence

from raysys.commandline import run_job


def main(argv: Sequence[str]) -> int:
    """Print what a query is in every label format, and its nearest words, texts and utterances; 0 when found."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.nearest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", help="a run of jobs.embed_content: its name, or its folder")
    parser.add_argument("query", nargs="+", help="a text, an audio file, or both")
    parser.add_argument("--count", type=int, default=10, help="rows of a table")
    parser.add_argument("--runs", default="runs", help="folder or URI of the run folders")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    given = parser.parse_args(argv)
    from rich.console import Console

    from raysys.commands.nearest import nearest
    from raysys.report.tables import as_rich
    from raysys.storage import resolve_folder

    console, runs = Console(), resolve_folder(given.runs)
    for table in nearest(given.run, given.query, count=given.count, runs=runs):
        console.print(as_rich(table), markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
