"""How a corpus names its files: recipes, ten lines of YAML each; those that come with raysys stand in configs/corpora.

The pattern's named groups are `emotion` and `speaker`, and by choice `session`, `sentence` (what is said, by `texts`)
and any other, which becomes metadata.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from raysys.errors import CorpusError, nearest
from raysys.presets import presets_folder

FOLDER = presets_folder() / "corpora"
"""Folder of the recipes that come with raysys."""


@dataclass(frozen=True)
class VoteTable:
    """A table that comes with a corpus, of how many annotators heard which emotion."""

    table: str
    """Glob under the root."""
    file: str
    """Column with the recording's name, without folder and suffix."""
    emotions: Mapping[str, str]
    """Column -> emotion; the cells are counts."""
    rows: Mapping[str, str] = field(default_factory=dict)
    """Column -> regular expression of the cells whose rows count; a column without a name is `unnamed 1`."""


@dataclass(frozen=True)
class Recipe:
    """How a corpus' files are named."""

    name: str
    """Name of the corpus."""
    files: str | Sequence[str]
    """Globs under the root, such as **/*.wav."""
    pattern: str
    """Regular expression over a file's path without its suffix; it must match the end of it."""
    emotions: Mapping[str, str]
    """Code -> emotion; what is not in it is not used."""
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Group -> code -> value; with `of`: {of: group}, the value is made from another group."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Code of `sentence` -> what is said; {} in a text stands for the code."""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Group -> codes that are used."""
    session_of: int = 0
    """Speakers of a session, in the order of their names, where the files do not say it; 0: none."""
    votes: VoteTable | None = None
    """Annotators' votes, where their table is there; the label stays that of the file's name."""
    source: str = ""
    """Paper, and where the corpus is from."""
    licence: str = ""
    utterances: int | None = None
    rate_hz: int | None = None
    hours: float | None = None

    @property
    def names(self) -> re.Pattern[str]:
        """What the end of a path without its suffix looks like."""
        return re.compile(rf"(?:.*/)?{self.pattern}$")


def recipe_like(name: str) -> Recipe | None:
    """The recipe of a corpus that somebody else writes in another way, such as jlcorpus or crema-d."""

    def plain(written: str) -> str:
        return re.sub(r"[\W_]", "", written).lower()

    known = {plain(file.stem): file.stem for file in FOLDER.glob("*.yaml")}
    return load_recipe(known[plain(name)]) if plain(name) in known else None


def _in_words(error: Exception) -> str:
    """What is wrong with a recipe, in one line."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors()[0]
    place = ".".join(str(one) for one in first["loc"] if one != "[key]")
    if isinstance(first["input"], bool):
        return f"{place}: YAML reads NO, YES, ON and OFF as truth values: write it in quotes"
    return f"{place or 'it'}: {first['msg'][0].lower()}{first['msg'][1:]}"


def load_recipe(name: str) -> Recipe:
    """A recipe by its name in configs/corpora, or from a file.

    Raises:
        CorpusError: there is none, or it is none.
    """
    known = {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}
    if not name:
        raise CorpusError(
            f"set --corpus.recipe.file to a recipe: {', '.join(known)}, or your own .yaml"
        )
    file = known.get(name, Path(name).expanduser())
    if not file.is_file():
        hint = nearest(name, known) if "/" not in name and "." not in name else "give a .yaml file"
        raise CorpusError(f"corpus.recipe.file is {name}, and there is no such recipe: {hint}")
    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        names = set(Recipe.__dataclass_fields__)
        if not isinstance(content, dict) or not set(content) <= names:
            odd = sorted(set(content) - names) if isinstance(content, dict) else ["no mapping"]
            raise CorpusError(f"{file}: unknown {odd[0]}: a recipe has {', '.join(sorted(names))}")
        recipe = TypeAdapter(Recipe).validate_python(content)
        groups = set(re.compile(recipe.pattern).groupindex)
    except (TypeError, ValueError, re.error, yaml.YAMLError) as error:
        reason = _in_words(error)
        raise CorpusError(f"{file} is no recipe: {reason}") from error
    used = {*recipe.only, *(str(one.get("of", name)) for name, one in recipe.values.items())}
    if unknown := sorted(used - groups):
        raise CorpusError(
            f"{file}: the pattern has no group '{unknown[0]}' (only, values): {nearest(unknown[0], groups)}"
        )
    if missing := {"emotion", "speaker"} - groups:
        raise CorpusError(f"{file}: the pattern has no group (?P<{min(missing)}>...)")
    return recipe
