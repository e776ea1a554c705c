"""Train content encoders into an emotion space: `python -m jobs.embed_content configs/labels/emobank.yaml`."""

import sys
from collections.abc import Sequence

from raysys.commandline import parse, run_job


def main(argv: Sequence[str]) -> int:
    """Cross-validate a content encoder, or compare those of an ablation; 0 when all have a result."""
    config, options = parse(argv, program="python -m jobs.embed_content", task="emotion_embedding")
    from rich.console import Console

    from raysys.experiments.ablate import ablate
    from raysys.experiments.cross_validate import cross_validate

    run = ablate if config.ablation.variants else cross_validate
    run(config, resume=options.resume, console=Console())
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
