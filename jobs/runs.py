"""List the runs; show one, remove one, or hand one on.

python -m jobs.runs list
python -m jobs.runs export demo handed_on
"""

import sys
from collections.abc import Sequence

from raysys.commandline import plain_parser, run_job


def main(argv: Sequence[str]) -> int:
    """List, show, remove (rm) or export runs."""
    parser = plain_parser("runs", __doc__ or "")
    parser.add_argument("verb", nargs="?", default="list", choices=("list", "show", "rm", "export"))
    parser.add_argument("run", nargs="?", default="", help="a run's name or folder")
    parser.add_argument("out", nargs="?", default="", help="export: a new folder")
    parser.add_argument("--yes", action="store_true", help="rm: do not ask")
    given = parser.parse_args(argv)
    if (given.verb != "list" and not given.run) or (given.verb == "export" and not given.out):
        parser.error(
            f"{given.verb} needs a run" + (" and a folder" if given.verb == "export" else "")
        )
    from rich.console import Console

    from raysys.commands.runs import hand_on, print_runs, remove_run, show_run
    from raysys.storage import resolve_folder

    runs, console = resolve_folder(given.runs), Console()
    if given.verb == "list":
        print_runs(runs, console)
    elif given.verb == "show":
        show_run(given.run, runs, console)
    elif given.verb == "rm":
        remove_run(given.run, runs, sure=given.yes)
    else:
        hand_on(given.run, given.out, runs)
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
