"""Compare configurations on the same folds.

python -m jobs.ablate configs/ablations/demo.yaml
python -m jobs.ablate configs/tables/pdds_table1.yaml --corpus.name demo
"""

import sys
from collections.abc import Sequence

from raysys.commandline import parse, run_job


def main(argv: Sequence[str]) -> int:
    """Run every variant of an ablation and compare them; 0 when all have a result."""
    config, options = parse(argv, program="python -m jobs.ablate", about=__doc__, own="ablation")
    from rich.console import Console

    from raysys.commands.ablate import ablate

    ablate(config, resume=options.resume, console=Console())
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
