"""Reader `recipe`: a folder of recordings whose names say who speaks and how, as ten lines of YAML describe it.

    recipe: {name, files, pattern, emotions, ...} + corpus.root -> every file that `files` finds -> rows

The pattern's named groups are `emotion` and `speaker`, and by choice `session`, `sentence` (what is said, by `texts`)
and any other, which becomes metadata. Recipes that come with raysys stand in configs/corpora.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

import raysys
from raysys.corpus.files import SourceConfig, corpus_root
from raysys.corpus.table import Facts, RawCorpus, Utterance
from raysys.errors import CorpusError, nearest
from raysys.storage import Folder

FOLDER = Path(str(raysys.__file__)).resolve().parents[1] / "configs" / "corpora"
"""Of the recipes that come with raysys."""
_NAMED = 3
"""Files that a message names."""
_OWN = ("emotion", "speaker", "session", "sentence")


@dataclass(frozen=True)
class RecipeConfig:
    """Which recipe."""

    file: str = ""
    """Its name in configs/corpora, such as ravdess, or the path of your own (.yaml)."""


@dataclass(frozen=True)
class Recipe:
    """How a corpus' files are named."""

    name: str
    """Of the corpus."""
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
    source: str = ""
    """Paper, and where the corpus is from."""
    licence: str = ""
    utterances: int | None = None
    rate_hz: int | None = None
    hours: float | None = None


def read(config: SourceConfig, settings: RecipeConfig | None, cache: Folder) -> RawCorpus:
    """Read every file that the recipe finds.

    Raises:
        CorpusError: no such recipe, a recipe that is none, no file, or files whose names it does not describe.
    """
    recipe = load_recipe(settings.file if settings else "")
    root = corpus_root(config)
    globs = [recipe.files] if isinstance(recipe.files, str) else recipe.files
    there = {path.relative_to(root) for glob in globs for path in root.glob(glob)}
    files = sorted(path for path in there if not path.name.startswith("._"))
    if not files:
        raise CorpusError(
            f"{root} holds no {' or '.join(globs)}: set --corpus.root to the unpacked {recipe.name} ({recipe.source})"
        )
    pattern = re.compile(rf"(?:.*/)?{recipe.pattern}$")
    found = {path: pattern.match(path.with_suffix("").as_posix()) for path in files}
    if missed := [str(path) for path, match in found.items() if match is None]:
        more = f" and {len(missed) - _NAMED} more" if len(missed) > _NAMED else ""
        raise CorpusError(
            f"{len(missed)} of {len(files)} files are not named as {recipe.name}'s are ({', '.join(missed[:_NAMED])}"
            f"{more}): correct the recipe's pattern, or move them"
        )
    rows = []
    for path, match in found.items():
        groups = {key: value or "" for key, value in (match.groupdict() if match else {}).items()}
        if all(groups.get(key) in codes for key, codes in recipe.only.items()):
            rows.append(_utterance(path, groups, recipe))
    rows = [row for row in rows if row.label]
    if not rows:
        raise CorpusError(f"no file of {root} has one of the emotions {', '.join(recipe.emotions)}")
    if recipe.session_of:
        rows = _in_sessions(rows, recipe.session_of)
    facts = Facts(recipe.source, recipe.utterances, recipe.rate_hz, recipe.hours)
    emotions = tuple(sorted(set(recipe.emotions.values()) & {row.label for row in rows}))
    origin = tuple(str(root / row.audio) for row in rows)
    return RawCorpus(recipe.name, root, emotions, tuple(rows), origin, facts=facts)


def _utterance(path: Path, groups: Mapping[str, str], recipe: Recipe) -> Utterance:
    values = dict(groups)
    for name, codes in recipe.values.items():
        of = groups.get(codes.get("of", name), "")
        values[name] = str(codes.get(of, of))
    sentence = groups.get("sentence", "")
    text = recipe.texts.get(sentence, recipe.texts.get("*", "")).replace("{}", sentence)
    label = recipe.emotions.get(
        groups["emotion"], recipe.emotions.get(groups["emotion"].lower(), "")
    )
    stem = path.with_suffix("").as_posix()
    return Utterance(
        utterance_id=stem,
        dialogue_id=stem,
        audio=path.as_posix(),
        speaker=values["speaker"],
        session=values.get("session", ""),
        text=text,
        label=label,
        metadata={name: value for name, value in values.items() if name not in _OWN and value}
        or None,
    )


def _in_sessions(rows: list[Utterance], size: int) -> list[Utterance]:
    speakers = sorted({row.speaker for row in rows})
    session = {
        s: "+".join(speakers[k - k % size : k - k % size + size]) for k, s in enumerate(speakers)
    }
    return [replace(row, session=session[row.speaker]) for row in rows]


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
        reason = " ".join(str(error).split()).split(" For further information")[0]
        raise CorpusError(f"{file} is no recipe: {reason}") from error
    if missing := {"emotion", "speaker"} - groups:
        raise CorpusError(f"{file}: the pattern has no group (?P<{min(missing)}>...)")
    return recipe
