"""Write a finished run's report anew: report.html, one page that needs nothing else, and report.md.

python -m jobs.report demo
python -m jobs.report runs/demo --out demo.html
"""

import sys
from collections.abc import Sequence

from raysys.commandline import plain_parser, run_job


def main(argv: Sequence[str]) -> int:
    """Write the report, and say where it is."""
    parser = plain_parser("report", __doc__ or "")
    parser.add_argument("run", help="a run's name or folder")
    parser.add_argument(
        "--out", default="", help="also write this file: .html, .md, or .png (the matrix)"
    )
    given = parser.parse_args(argv)
    from raysys.running.reporting import report_command
    from raysys.storage import resolve_folder

    report_command(given.run, out=given.out, runs=resolve_folder(given.runs))
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
