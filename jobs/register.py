"""Register a run's model in MLflow under a name; the best one so far is `models:/NAME@champion`.

python -m jobs.register demo --name emotions
python -m jobs.register runs/demo --name emotions --force
"""

import sys
from collections.abc import Sequence

from raysys.commandline import plain_parser, run_job


def main(argv: Sequence[str]) -> int:
    """Make a version of a registered model; `champion` only where it is not worse than the holder on the same folds."""
    parser = plain_parser("register", __doc__ or "")
    parser.add_argument("run", help="a run's name or folder, or runs:/ID")
    parser.add_argument("--name", required=True, help="name of the registered model")
    parser.add_argument(
        "--force", action="store_true", help="make it champion whatever the present one scores"
    )
    given = parser.parse_args(argv)
    from raysys.commands.register import register_command
    from raysys.storage import resolve_folder

    register_command(given.run, given.name, force=given.force, runs=resolve_folder(given.runs))
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
