"""Read and check a corpus and extract its features.

python -m jobs.prepare configs/demo.yaml
python -m jobs.prepare configs/emodb_whisper.yaml --corpus.root DIR
"""

import shlex
import sys
from collections.abc import Sequence

from raysys.commandline import parse, run_job


def main(argv: Sequence[str]) -> int:
    """Prepare the corpus and features of a config; 0 when they are ready."""
    config, _ = parse(argv, program="python -m jobs.prepare", about=__doc__)
    from raysys.running.features import prepare_store
    from raysys.running.plan import prepare_corpus

    corpus, cache = prepare_corpus(config)
    corpus, store, findings = prepare_store(corpus, config, cache)
    outputs = config.task_type.of(corpus).outputs
    print(f"corpus    {corpus.name}: {len(corpus)} utterances; predicted: {', '.join(outputs)}")
    for item in corpus.quarantine:
        print(f"left out  {item.utterance_id}: {item.reason}")
    for modality, ragged in store.modalities.items():
        print(f"{modality:9} {ragged.total_time} x {ragged.dim} {ragged.dtype}")
    for finding in (*corpus.findings, *findings):
        print(f"{finding.level:9} {finding.message}")
    print(f"cache     {cache.path()}")
    print(f"next      python -m jobs.cross_validate {shlex.join(argv)}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
