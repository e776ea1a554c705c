"""Search settings of a configuration: `python -m jobs.tune configs/studies/demo_loss_weights.yaml`."""

import sys
from collections.abc import Sequence

from raysys.commandline import parse, run_job


def main(argv: Sequence[str]) -> int:
    """Run or resume a study and report its choice; 0 when it has a result."""
    config, options = parse(argv, program="python -m jobs.tune")
    from rich.console import Console

    from raysys.experiments.tune import tune

    tune(config, resume=options.resume, console=Console())
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
