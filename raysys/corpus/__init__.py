"""Corpora: readers, the checked table, folds and the leak audit."""

from collections.abc import Callable, Mapping

from raysys.config import Config, CorpusConfig
from raysys.corpus import demo, emodb, iemocap, manifest, meld
from raysys.corpus.check import check_corpus, check_dialogues
from raysys.corpus.table import Corpus, RawCorpus
from raysys.errors import lookup
from raysys.storage import Folder

READERS: Mapping[str, Callable[[CorpusConfig, Folder], RawCorpus]] = {
    "demo": demo.read,
    "emodb": emodb.read,
    "iemocap": iemocap.read,
    "manifest": manifest.read,
    "meld": meld.read,
}
"""Corpus name -> reader. A new corpus is one module and one line here."""


def read_corpus(config: Config, *, cache: Folder, dialogues: bool = False) -> Corpus:
    """Read and check the corpus of a config.

    Args:
        config: `corpus` names and describes it, `model.modalities` says what must be there.
        cache: where a reader may keep what it generates, and digests of audio are kept.
        dialogues: the model reads whole dialogues, so turns and speakers must be known.

    Raises:
        ConfigError: no such reader.
        CorpusError: anything wrong with the data.
    """
    reader = lookup(READERS, config.corpus.name, kind="corpus")
    raw = reader(config.corpus, cache)
    if dialogues:
        check_dialogues(raw)
    from_corpus = [m for m in config.model.modalities if not config.features.comes_from_file(m)]
    return check_corpus(raw, config.corpus, modalities=tuple(from_corpus), cache=cache)
