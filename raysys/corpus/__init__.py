"""Corpora: readers, the checked table, folds and the leak audit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysys.corpus import (
    across,
    audformat,
    demo,
    emobox,
    emodb,
    huggingface,
    iemocap,
    manifest,
    meld,
    ratings,
    recipe,
)
from raysys.corpus.across import AcrossConfig
from raysys.corpus.audformat import AudformatConfig
from raysys.corpus.check import Rules, check_corpus, check_dialogues
from raysys.corpus.columns import read_manifest
from raysys.corpus.demo import DemoConfig
from raysys.corpus.emobox import EmoboxConfig
from raysys.corpus.files import SourceConfig
from raysys.corpus.huggingface import HuggingfaceConfig
from raysys.corpus.iemocap import IemocapConfig
from raysys.corpus.naming import FOLDER, Recipe, load_recipe
from raysys.corpus.ratings import RatingsConfig
from raysys.corpus.recipe import RecipeConfig
from raysys.corpus.table import Corpus, RawCorpus, Utterance
from raysys.errors import CorpusError, lookup
from raysys.plugins import PlugIns, blamed
from raysys.storage import Folder

READERS: Mapping[str, Callable[[SourceConfig, Any, Folder], RawCorpus]] = {
    "across": across.read,
    "audformat": audformat.read,
    "demo": demo.read,
    "emobox": emobox.read,
    "emodb": emodb.read,
    "huggingface": huggingface.read,
    "iemocap": iemocap.read,
    "manifest": manifest.read,
    "meld": meld.read,
    "ratings": ratings.read,
    "recipe": recipe.read,
}
"""Corpus name -> reader. A new corpus is one module and one line here; settings of its own are a field below."""


NEEDS: Mapping[str, str] = {
    "across": "--corpus.across.train READER --corpus.across.train_root DIR, and the same of test",
    "audformat": "--corpus.root DB --corpus.audformat.table [TABLE]",
    "demo": "nothing: it is generated",
    "emobox": "--corpus.emobox.metadata DIR --corpus.emobox.dataset NAME --corpus.root DOWNLOADS",
    "emodb": "--corpus.root DIR",
    "huggingface": "--corpus.root DIR, or --corpus.huggingface.hub ORGANISATION/NAME",
    "iemocap": "--corpus.root DIR",
    "manifest": "--corpus.root DIR, which holds manifest.csv",
    "meld": "--corpus.root DIR",
    "ratings": "--corpus.root DIR and tables: see configs/labels",
    "recipe": "--corpus.recipe.file NAME --corpus.root DIR",
}
"""Reader -> the settings that it needs, besides its name."""


@dataclass(frozen=True)
class CorpusConfig(SourceConfig):
    """Which corpus to read, and from where."""

    audformat: AudformatConfig = field(default_factory=AudformatConfig)
    """A database in audEERING's format."""
    demo: DemoConfig = field(default_factory=DemoConfig)
    """The generated corpus."""
    emobox: EmoboxConfig = field(default_factory=EmoboxConfig)
    """Metadata and folds of EmoBox."""
    huggingface: HuggingfaceConfig = field(default_factory=HuggingfaceConfig)
    """A dataset on Hugging Face's hub, or in its layouts."""
    iemocap: IemocapConfig = field(default_factory=IemocapConfig)
    """Part of IEMOCAP."""
    ratings: RatingsConfig = field(default_factory=RatingsConfig)
    """Tables of ratings."""
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    """A folder whose file names say everything, read by ten lines of YAML."""
    across: AcrossConfig = field(default_factory=AcrossConfig)
    """One corpus to learn from, another to be tested on."""


def recipes() -> dict[str, Recipe]:
    """Name -> recipe, of those that come with raysys."""
    return {file.stem: load_recipe(file.stem) for file in sorted(FOLDER.glob("*.yaml"))}


def recipe_text(name: str) -> str:
    """A recipe as it is written.

    Args:
        name: of one that comes with raysys.

    Raises:
        CorpusError: there is none.
    """
    found = load_recipe(name)
    return (FOLDER / f"{found.name}.yaml").read_text(encoding="utf-8")


def read_raw(source: SourceConfig, config: SourceConfig, cache: Folder) -> RawCorpus:
    """What a reader finds, before any check.

    Args:
        source: what the reader is asked for.
        config: with the readers' own settings.
        cache: where a reader may keep what it generates.

    Raises:
        ConfigError: no such reader.
        CorpusError: anything that the reader cannot read.
    """
    reader = lookup(PlugIns(READERS, "raysys.corpora"), source.name, kind="corpus")
    if source.name in READERS:
        return reader(source, getattr(config, source.name, None), cache)
    with blamed(source.name, CorpusError):
        found = reader(source, config.options, cache)
    if not isinstance(found, RawCorpus):
        raise CorpusError(
            f"plug-in '{source.name}' returned a {type(found).__name__}, but must return a "
            "raysys.corpus.table.RawCorpus"
        )
    if len(found.origin) != len(found.utterances):
        raise CorpusError(
            f"plug-in '{source.name}' gave {len(found.origin)} origins for {len(found.utterances)} utterances: one each"
        )
    return found


def read_rows(path: Path, columns: Mapping[str, str] | None = None) -> tuple[Utterance, ...]:
    """Rows of a table that need neither names nor labels, as of new utterances.

    Args:
        path: of the table; audio paths in it are relative to its folder.
        columns: our name -> the table's.

    Raises:
        CorpusError: it cannot be read.
    """
    return read_manifest(
        path, root=path.parent, name=path.stem, columns=columns, needed=()
    ).utterances


def read_corpus(
    config: CorpusConfig,
    rules: type[Rules],
    *,
    modalities: tuple[str, ...],
    cache: Folder,
    dialogues: bool = False,
) -> Corpus:
    """Read and check a corpus.

    Args:
        config: names and describes it.
        rules: of the task.
        modalities: streams that must be there and sound.
        cache: where a reader may keep what it generates, and digests of audio are kept.
        dialogues: the model reads whole dialogues, so turns and speakers must be known.

    Raises:
        ConfigError: no such reader.
        CorpusError: anything wrong with the data.
    """
    raw = read_raw(config, config, cache)
    if dialogues:
        check_dialogues(raw)
    return check_corpus(raw, config, rules, modalities=modalities, cache=cache)
