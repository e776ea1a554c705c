"""Reader `manifest`: the user's own corpus as one table, CSV, JSON Lines or Parquet.

What its columns mean, `raysys.corpus.columns` says; `corpus.columns` says what the table calls a column.
"""

from pathlib import Path

from raysys.corpus.columns import read_manifest
from raysys.corpus.files import SourceConfig, corpus_root
from raysys.corpus.table import RawCorpus
from raysys.errors import CorpusError, nearest
from raysys.storage import Folder

_FILES = ("manifest.csv", "manifest.parquet", "manifest.tsv", "manifest.jsonl")


def read(config: SourceConfig, settings: object, cache: Folder) -> RawCorpus:
    """Read the manifest under `corpus.root`.

    Raises:
        CorpusError: no such file, a missing or misspelt column, values of the wrong type.
    """
    root = corpus_root(config)
    return read_manifest(
        _find(config, root),
        root=root,
        name=config.name,
        targets=config.targets,
        columns=config.columns,
    )


def _find(config: SourceConfig, root: Path) -> Path:
    names = [config.manifest] if config.manifest else list(_FILES)
    there = [name for name in names if (root / name).is_file()]
    if len(there) > 1:
        raise CorpusError(
            f"{root} holds {' and '.join(there)}: set --corpus.manifest to one of them"
        )
    if there:
        return root / there[0]
    remedy = nearest(config.manifest, [p.name for p in root.iterdir()]) if config.manifest else ""
    raise CorpusError(
        f"no {' or '.join(names)} in {root}: set --corpus.manifest FILE {remedy}".rstrip()
    )
