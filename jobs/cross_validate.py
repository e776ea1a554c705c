"""Cross-validate one configuration: its folds in parallel, then scores, similarity matrix and report.

python -m jobs.cross_validate configs/demo.yaml
python -m jobs.cross_validate configs/emodb_whisper.yaml --corpus.root DIR --training.seeds 3
"""

import sys
from collections.abc import Sequence

from raysys.commandline import parse, run_job


def main(argv: Sequence[str]) -> int:
    """Cross-validate a config and report; 0 when all folds have a result."""
    config, options = parse(argv, program="python -m jobs.cross_validate", about=__doc__)
    from rich.console import Console

    from raysys.commands.cross_validate import cross_validate

    cross_validate(config, resume=options.resume, console=Console())
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
