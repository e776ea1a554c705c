"""Train content encoders of text or speech into an emotion space that jobs.map_labels has learnt.

python -m jobs.embed_content configs/labels/emobank.yaml --corpus.root DIR
python -m jobs.embed_content configs/labels/words_content.yaml --corpus.root DIR
"""

import sys
from collections.abc import Sequence

from raysys.commandline import parse, run_job


def main(argv: Sequence[str]) -> int:
    """Cross-validate a content encoder, or compare those of an ablation; 0 when all have a result."""
    config, options = parse(
        argv, program="python -m jobs.embed_content", about=__doc__, task="emotion_embedding"
    )
    from rich.console import Console

    from raysys.commands.ablate import ablate
    from raysys.commands.cross_validate import cross_validate

    run = ablate if config.ablation.variants else cross_validate
    run(config, resume=options.resume, console=Console())
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
