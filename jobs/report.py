"""Write a finished run's report anew: report.html, one page that needs nothing else, and report.md.

python -m jobs.report demo
python -m jobs.report runs/demo --out demo.html
"""

import argparse
import sys
from collections.abc import Sequence

from raysys.commandline import run_job


def main(argv: Sequence[str]) -> int:
    """Write the report, and say where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", help="a run's name or folder")
    parser.add_argument("--out", default="", help="also to this file: .html or .md")
    parser.add_argument("--runs", default="runs", help="folder or URI of the run folders")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    given = parser.parse_args(argv)
    from raysys.running.reporting import report_command
    from raysys.storage import resolve_folder

    report_command(given.run, out=given.out, runs=resolve_folder(given.runs))
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
