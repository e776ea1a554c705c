"""Reader `recipe`: a folder of recordings whose names say who speaks and how, as ten lines of YAML describe it.

    recipe: {name, files, pattern, emotions, ...} + corpus.root -> every file that `files` finds -> rows

What a recipe is, `raysys.corpus.naming` says.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from raysys.corpus.files import SourceConfig, corpus_root
from raysys.corpus.finding import Finding
from raysys.corpus.naming import Recipe, VoteTable, load_recipe
from raysys.corpus.table import Facts, RawCorpus, Utterance
from raysys.corpus.tables import as_turn, csv_rows, require_columns
from raysys.errors import CorpusError
from raysys.storage import Folder

_NAMED = 3
"""Files that a message names."""
_SOUNDS = (".wav", ".mp3", ".flac", ".mp4", ".flv")
_OWN = ("emotion", "speaker", "session", "sentence")


@dataclass(frozen=True)
class RecipeConfig:
    """Which recipe."""

    file: str = ""
    """Its name in configs/corpora, such as ravdess, or the path of your own (.yaml)."""


def read(config: SourceConfig, settings: RecipeConfig | None, cache: Folder) -> RawCorpus:
    """Read every file that the recipe finds.

    Raises:
        CorpusError: no such recipe, a recipe that is none, no file, or files whose names it does not describe.
    """
    recipe = load_recipe(settings.file if settings else "")
    root = corpus_root(config)
    globs = [recipe.files] if isinstance(recipe.files, str) else recipe.files
    wanted = [one for glob in globs for one in (glob, _in_capitals(glob))]
    there = {path.relative_to(root) for glob in wanted for path in root.glob(glob)}
    files = sorted(path for path in there if not path.name.startswith("._"))
    if not files:
        raise CorpusError(
            f"{root} holds no {' or '.join(globs)}: set --corpus.root to the unpacked {recipe.name} ({recipe.source})"
        )
    found = {path: recipe.names.match(path.with_suffix("").as_posix()) for path in files}
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
    unused = len(files) - sum(bool(row.label) for row in rows)
    rows = [row for row in rows if row.label]
    if not rows:
        raise CorpusError(f"no file of {root} has one of the emotions {', '.join(recipe.emotions)}")
    if recipe.session_of:
        rows = _in_sessions(rows, recipe.session_of)
    findings: list[Finding] = []
    if unused:
        message = f"{unused} of {len(files)} files are not used: the recipe leaves out their emotion or kind"
        findings.append(Finding("note", "left_out", message))
    if recipe.votes:
        rows, told = _with_votes(rows, recipe.votes, root)
        findings.append(told)
    facts = Facts(recipe.source, recipe.utterances, recipe.rate_hz, recipe.hours)
    emotions = tuple(sorted(set(recipe.emotions.values()) & {row.label for row in rows}))
    origin = tuple(str(root / row.audio) for row in rows)
    return RawCorpus(
        recipe.name, root, emotions, tuple(rows), origin, findings=tuple(findings), facts=facts
    )


def _in_capitals(glob: str) -> str:
    """The glob of files with the same suffix in capitals."""
    stem, dot, suffix = glob.rpartition(".")
    return f"{stem}{dot}{suffix.upper()}" if suffix.isalnum() else glob


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


def _with_votes(
    rows: list[Utterance], votes: VoteTable, root: Path
) -> tuple[list[Utterance], Finding]:
    """Rows with what annotators heard, and what is to be said of it.

    Raises:
        CorpusError: the table lacks a column, holds no counts, or a recording twice.
    """
    found = sorted(root.glob(votes.table))
    if not found:
        message = f"no annotators' votes: there is no {votes.table} under {root}"
        return rows, Finding("note", "no_vote_table", message)
    if len(found) > 1:
        raise CorpusError(f"{found[0]} and {found[1]} both hold votes: keep one of them")
    needed = (votes.file, *votes.emotions, *votes.rows)
    known: dict[str, dict[str, int | float]] = {}
    for where, cells in csv_rows(found[0], partial(require_columns, required=needed)):
        if not all(re.fullmatch(rule, cells[name]) for name, rule in votes.rows.items()):
            continue
        name = cells[votes.file]
        name = name.rpartition(".")[0] if name.lower().endswith(_SOUNDS) else name
        if name in known:
            raise CorpusError(f"{where}: '{name}' comes twice: keep one row of it")
        counts = {}
        for column, emotion in votes.emotions.items():
            try:
                counts[emotion] = as_turn(cells[column])
            except ValueError as error:
                raise CorpusError(
                    f"{where}: column '{column}' holds '{cells[column]}': {error}"
                ) from error
        known[name] = {emotion: n for emotion, n in counts.items() if n}
    voted = [replace(row, votes=known.get(Path(row.audio).stem) or None) for row in rows]
    count = sum(row.votes is not None for row in voted)
    message = f"{count} of {len(rows)} recordings have annotators' votes ({found[0].name})"
    return voted, Finding("note", "vote_table", message)


def _in_sessions(rows: list[Utterance], size: int) -> list[Utterance]:
    speakers = sorted({row.speaker for row in rows})
    session = {
        s: "+".join(speakers[k - k % size : k - k % size + size]) for k, s in enumerate(speakers)
    }
    return [replace(row, session=session[row.speaker]) for row in rows]
