"""Show what a text, a recording or a picture is in every label format, and what lies nearest to it.

python -m jobs.nearest emobank "I did not expect that at all"
python -m jobs.nearest runs/emobank "I did not expect that at all" --count 5
"""

import sys
from collections.abc import Sequence

from raysys.commandline import plain_parser, run_job


def main(argv: Sequence[str]) -> int:
    """Print what a query is in every label format, and its nearest words, texts and utterances; 0 when found."""
    parser = plain_parser("nearest", __doc__ or "")
    parser.add_argument("run", help="a run of jobs.embed_content: its name, or its folder")
    parser.add_argument(
        "query", nargs="+", help="a text, an audio file, a picture, or several of them"
    )
    parser.add_argument("--count", type=int, default=10, help="rows of a table")
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
