"""Read and check a corpus and extract its features: `python -m jobs.prepare configs/emodb.yaml --corpus.root DIR`."""

import sys
from collections.abc import Sequence

from raysys.commandline import parse, run_job


def main(argv: Sequence[str]) -> int:
    """Prepare the corpus and features of a config; 0 when they are ready."""
    config, _ = parse(argv, program="python -m jobs.prepare")
    from raysys.cluster.plan import prepare_corpus
    from raysys.features import prepare_features

    corpus, cache = prepare_corpus(config)
    store = prepare_features(corpus, config, cache=cache)
    print(f"corpus    {corpus.name}: {len(corpus)} utterances, {len(corpus.emotions)} emotions")
    for item in corpus.quarantine:
        print(f"left out  {item.utterance_id}: {item.reason}")
    for modality, ragged in store.modalities.items():
        print(f"{modality:9} {len(ragged.values)} x {ragged.dim} float16")
    print(f"cache     {cache.path()}")
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
