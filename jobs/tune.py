"""Search settings of a configuration with Optuna, and confirm the choice on fresh seeds.

python -m jobs.tune configs/studies/demo_loss_weights.yaml
python -m jobs.tune configs/studies/emodb_loss_weights.yaml --corpus.root DIR --search.num_trials 50
"""

import sys
from collections.abc import Sequence

from raysys.commandline import parse, run_job


def main(argv: Sequence[str]) -> int:
    """Run or resume a study and report its choice; 0 when it has a result."""
    config, options = parse(argv, program="python -m jobs.tune", about=__doc__, own="search")
    from rich.console import Console

    from raysys.commands.tune import tune

    tune(config, resume=options.resume, console=Console())
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
