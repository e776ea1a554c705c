"""Learn an emotion space from ratings in several label formats.

python -m jobs.map_labels configs/labels/words.yaml --corpus.root DIR
python -m jobs.map_labels configs/labels/words.yaml --corpus.root DIR --training.seeds 3
"""

import sys
from collections.abc import Sequence

from raysys.commandline import parse, run_job


def main(argv: Sequence[str]) -> int:
    """Cross-validate the mapping between label formats and report; 0 when all folds have a result."""
    config, options = parse(
        argv, program="python -m jobs.map_labels", about=__doc__, task="label_mapping"
    )
    from rich.console import Console

    from raysys.commands.cross_validate import cross_validate

    cross_validate(config, resume=options.resume, console=Console())
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
