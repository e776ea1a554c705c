"""Compare finished runs on the same folds: settings, scores with intervals, emotions, groups.

python -m jobs.compare demo demo-2
python -m jobs.compare demo demo-2 --page comparison.html
"""

import sys
from collections.abc import Sequence

from raysys.commandline import plain_parser, run_job


def main(argv: Sequence[str]) -> int:
    """Print what differs between runs, the others against the first."""
    parser = plain_parser("compare", __doc__ or "")
    parser.add_argument("run", nargs="+", help="names or folders of runs, or models in MLflow")
    parser.add_argument("--page", default="", help="also write it as a page, FILE.html")
    given = parser.parse_intermixed_args(argv)
    from raysys.commands.compare import compare_command
    from raysys.storage import resolve_folder

    compare_command(given.run, page=given.page, runs=resolve_folder(given.runs))
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
