"""Reader `emobox`: corpora by the metadata and folds of EmoBox (Ma et al., Interspeech 2024, arXiv:2406.07162).

    DIR/DATASET/label_map.json, DATASET.jsonl, fold_K/DATASET_{train,valid,test}_fold_K.jsonl + downloads -> rows, folds

A line has key, wav, emo, and length, sample_rate, start_time, end_time where they are known. Its speaker is read from
the key or path: by `corpus.emobox.pattern`, by the table below, or by the recipe of that corpus in configs/corpora.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from raysys.corpus.files import SourceConfig, corpus_root
from raysys.corpus.finding import Finding
from raysys.corpus.names import clean_name
from raysys.corpus.naming import recipe_like
from raysys.corpus.table import Facts, Official, RawCorpus, Utterance
from raysys.corpus.tables import Problems, as_seconds
from raysys.errors import CorpusError, nearest
from raysys.presets import presets_folder
from raysys.settings import require
from raysys.storage import Folder

SOURCE = "EmoBox, Ma et al. 2024, arXiv:2406.07162"
FACTS = presets_folder() / "leaderboard" / "emobox.yaml"
"""What EmoBox publishes of its corpora: utterances, speakers, and the scores that are known here."""
_PARTS = {"train": "train", "valid": "val", "test": "test"}
"""Their name of a part -> ours."""
_KEYS = {
    "iemocap": r"(?P<session>Ses\d\d)[FM]_\w+_(?P<speaker>[FM])\d+$",
    "meld": r"(?P<dialogue>dia\d+)_utt\d+(?P<session>-\w+)$",
}
"""Corpora without a recipe -> pattern of their keys."""
_GROUPS = ("speaker", "session", "dialogue")
_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".mp4", ".avi")


@dataclass(frozen=True)
class EmoboxConfig:
    """Which corpus of EmoBox."""

    metadata: str = ""
    """EmoBox' folder `data`, which holds a folder a corpus, or a copy of it."""
    dataset: str = ""
    """Its name there, such as urdu, emodb or ravdess."""
    folds: tuple[int, ...] = ()
    """Which of the published folds to use, counted from 1; empty: all that are there."""
    pattern: str = ""
    """Regular expression with groups speaker, session or dialogue, searched in a line's key, then in its path; empty:
    the one that raysys knows for the corpus, if any."""

    def __post_init__(self) -> None:
        apart = len(set(self.folds)) == len(self.folds) and all(k >= 1 for k in self.folds)
        require(apart, "corpus.emobox.folds", self.folds, "different numbers, 1 or more")
        try:
            known = set(re.compile(self.pattern).groupindex) <= set(_GROUPS)
        except re.error:
            known = False
        rule = (
            f"a regular expression with groups of {', '.join(_GROUPS)}, as in (?P<speaker>\\d\\d)"
        )
        named = not self.pattern or "(?P<" in self.pattern
        require(known and named, "corpus.emobox.pattern", self.pattern, rule)


@dataclass(frozen=True)
class _Line:
    """A recording as a file of metadata has it."""

    where: str
    key: str
    wav: str
    label: str
    cells: Mapping[str, Any]


@dataclass
class _Recordings:
    """Lines by key, over all files: a recording is the same wherever it stands."""

    lines: dict[str, _Line] = field(default_factory=dict)

    def add(self, line: _Line) -> None:
        """One more line.

        Raises:
            CorpusError: another file says something else of the recording.
        """
        known = self.lines.setdefault(line.key, line)
        if known.cells is not line.cells:
            self.lines[line.key] = replace(known, cells={**line.cells, **known.cells})
        if (known.wav, known.label) != (line.wav, line.label):
            raise CorpusError(
                f"{line.where}: '{line.key}' is {line.wav} ({line.label}), but {known.wav} ({known.label}) at "
                f"{known.where}: get both files from one version of EmoBox"
            )


def read(config: SourceConfig, settings: EmoboxConfig | None, cache: Folder) -> RawCorpus:
    """Read a corpus' metadata, find its recordings, and take its folds as they are published.

    Raises:
        CorpusError: no such folder, corpus or fold; a line that is none, or that a fold holds twice; an emotion that is
            not in the label map.
    """
    settings = settings or EmoboxConfig()
    folder = _folder(settings)
    name = folder.name
    root = corpus_root(config)
    labels = _label_map(folder)
    problems, known = Problems(), _Recordings()
    divisions = tuple(
        _division(fold, name, labels, known, problems) for fold in _folds(folder, settings)
    )
    whole = folder / f"{name}.jsonl"
    for line in _lines(whole, labels, problems) if whole.is_file() else ():
        known.add(line)
    problems.refuse()
    _refuse_tested_twice(divisions, _folds(folder, settings))
    facts = _facts(name)
    files = _Downloads(root)
    pattern = _pattern(settings, name)
    rows, absent = [], dict[str, str]()
    for line in known.lines.values():
        audio = files.find(line)
        if not audio:
            absent[line.key] = line.wav
        rows.append(_utterance(line, audio, pattern))
    rates = {_rate(line.cells.get("sample_rate")) for line in known.lines.values()}
    divided = {key for division in divisions for key in division}
    outside = [key for key in known.lines if key not in divided]
    return RawCorpus(
        name,
        root,
        tuple(sorted(set(labels.values()) & {row.label for row in rows})),
        tuple(rows),
        tuple(line.where for line in known.lines.values()),
        findings=(*files.findings(), *_outside(outside)),
        facts=Facts(SOURCE, facts.get("utterances"), rates.pop() if len(rates) == 1 else None),
        absent=absent,
        seconds=_seconds(known),
        official=Official(SOURCE, divisions, facts.get("published", "")),
    )


def _folder(settings: EmoboxConfig) -> Path:
    """A corpus' folder in the metadata, which may also be given itself."""
    if not settings.metadata:
        raise CorpusError("corpus 'emobox' needs EmoBox' folder data: set --corpus.emobox.metadata")
    top = Path(settings.metadata).expanduser()
    if not top.is_dir():
        raise CorpusError(f"corpus.emobox.metadata {top} is not a folder: set it to EmoBox' data")
    tops = [top, top / "data"]
    if (top / "label_map.json").is_file() and settings.dataset in ("", top.resolve().name):
        return top.resolve()
    there = sorted(p.parent.name for one in tops for p in one.glob("*/label_map.json"))
    if not settings.dataset:
        raise CorpusError(f"set --corpus.emobox.dataset to one of {', '.join(there) or 'none'}")
    for one in tops:
        if (one / settings.dataset).is_dir():
            return one / settings.dataset
    raise CorpusError(
        f"{top} holds no corpus '{settings.dataset}' (corpus.emobox.dataset): {nearest(settings.dataset, there)}"
    )


def _label_map(folder: Path) -> dict[str, str]:
    """Their code -> emotion, in small letters; several codes may be one emotion."""
    path = folder / "label_map.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"cannot read {path}: {error}: get it from EmoBox again") from error
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise CorpusError(f"{path} is no map of codes to emotions: get it from EmoBox again")
    names = _emotion_names()
    return {
        code: names.get(clean_name(name).lower(), clean_name(name).lower())
        for code, name in found.items()
    }


def _folds(folder: Path, settings: EmoboxConfig) -> list[Path]:
    """The published folds, in order."""
    there = {
        int(path.name.removeprefix("fold_")): path
        for path in folder.glob("fold_*")
        if path.name.removeprefix("fold_").isdecimal()
    }
    for number in settings.folds:
        if number not in there:
            raise CorpusError(
                f"{folder} has no fold_{number} (corpus.emobox.folds): there are {sorted(there)}"
            )
    chosen = settings.folds or sorted(there)
    if not chosen:
        raise CorpusError(f"{folder} holds no fold_1, fold_2, ...: get EmoBox' whole folder data")
    return [there[number] for number in chosen]


def _division(
    fold: Path, name: str, labels: Mapping[str, str], known: _Recordings, problems: Problems
) -> dict[str, str]:
    """Key -> part of one fold."""
    found: dict[str, str] = {}
    places: dict[str, str] = {}
    for theirs, part in _PARTS.items():
        path = fold / f"{name}_{theirs}_{fold.name}.jsonl"
        if not path.is_file():
            if part == "val":
                continue
            raise CorpusError(f"no {path}: get EmoBox' whole folder data")
        for line in _lines(path, labels, problems):
            if line.key in found:
                problems.add(f"{line.where}: '{line.key}' stands at {places[line.key]} too")
            found[line.key], places[line.key] = part, line.where
            known.add(line)
    return found


def _lines(path: Path, labels: Mapping[str, str], problems: Problems) -> Iterator[_Line]:
    """Recordings of a file, a JSON object a line; what is wrong with lines is collected."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"cannot read {path}: {error}: get it from EmoBox again") from error
    for number, written in enumerate(text.splitlines(), start=1):
        if not written.strip():
            continue
        where = f"{path}:{number}"
        try:
            cells = json.loads(written)
            key, wav, emo = (str(cells[name]) for name in ("key", "wav", "emo"))
        except (ValueError, TypeError, KeyError) as error:
            what = f"has no {error}" if isinstance(error, KeyError) else "is no JSON object"
            problems.add(f"{where} {what}: a line has key, wav and emo")
            continue
        if emo not in labels:
            emo = next((one for one in labels if one.lower() == emo.lower()), emo)  # as their EmoDB
        if emo not in labels:
            problems.add(
                f"{where}: the emotion '{emo}' is not in label_map.json: {nearest(emo, labels)}"
            )
            continue
        yield _Line(where, key, wav.replace("\\", "/"), labels[emo], cells)


def _rate(written: Any) -> int | None:
    """Hz, where a line says so in a number."""
    try:
        return int(float(written)) or None
    except (TypeError, ValueError):
        return None


def _outside(keys: list[str]) -> list[Finding]:
    """A finding where recordings are in no published fold."""
    if not keys:
        return []
    message = f"{len(keys)} recordings are in no published fold, first {keys[0]}"
    return [Finding("note", "in_no_fold", message)]


def _refuse_tested_twice(divisions: tuple[dict[str, str], ...], folds: list[Path]) -> None:
    tested: dict[str, int] = {}
    for division, fold in zip(divisions, folds, strict=True):
        number = int(fold.name.removeprefix("fold_"))
        for key in (key for key, part in division.items() if part == "test"):
            if key in tested:
                raise CorpusError(
                    f"'{key}' is tested in fold {tested[key]} and in fold {number}: choose one of them by "
                    f"--corpus.emobox.folds [{number}]"
                )
            tested[key] = number


def _pattern(settings: EmoboxConfig, name: str) -> re.Pattern[str] | None:
    if settings.pattern:
        return re.compile(settings.pattern)
    if name in _KEYS:
        return re.compile(_KEYS[name])
    recipe = recipe_like(name)
    return recipe.names if recipe else None


def _utterance(line: _Line, audio: str, pattern: re.Pattern[str] | None) -> Utterance:
    path = PurePosixPath(line.wav).with_suffix("").as_posix()
    match = (pattern.search(line.key) or pattern.search(path)) if pattern else None
    groups = {k: v for k, v in (match.groupdict() if match else {}).items() if v}
    session, speaker = groups.get("session", ""), groups.get("speaker", "")
    try:
        start, end = (
            None if line.cells.get(name) is None else as_seconds(line.cells[name])
            for name in ("start_time", "end_time")
        )
    except ValueError as error:
        raise CorpusError(f"{line.where}: start_time or end_time: {error}") from error
    return Utterance(
        utterance_id=line.key,
        dialogue_id=session + groups["dialogue"] if "dialogue" in groups else line.key,
        label=line.label,
        audio=audio,
        speaker=session + speaker if speaker else "",
        session=session,
        start=start,
        end=end,
    )


def _seconds(known: _Recordings) -> dict[str, float]:
    """Recordings -> how long they are by the metadata."""
    lengths = {key: line.cells.get("length") for key, line in known.lines.items()}
    return {key: float(s) for key, s in lengths.items() if isinstance(s, int | float) and s > 0}


class _Downloads:
    """Recordings under the root: by their path, or, where that is not there, by their file's name.

    Args:
        root: EmoBox' folder downloads, the folder above it, or the corpus' own.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._by_stem: dict[str, list[str]] = {}
        self._named: list[str] = []

    def find(self, line: _Line) -> str:
        """Path under the root; empty where there is none.

        Raises:
            CorpusError: several files have the name, and none its path.
        """
        wav = PurePosixPath(line.wav)
        for skipped in range(min(3, len(wav.parts))):
            inside = PurePosixPath(*wav.parts[skipped:]).as_posix()
            if (self._root / inside).is_file():
                return inside
        return self._by_name(wav, line.where)

    def findings(self) -> list[Finding]:
        """A finding where some recordings were found by name."""
        if not self._named:
            return []
        message = (
            f"{len(self._named)} recordings were found by their file's name, not by EmoBox' path, first "
            f"{self._named[0]}"
        )
        return [Finding("note", "found_by_name", message)]

    def _by_name(self, wav: PurePosixPath, where: str) -> str:
        if not self._by_stem:
            for path in sorted(self._root.rglob("*")):
                if path.suffix.lower() in _SUFFIXES and not path.name.startswith("._"):
                    inside = path.relative_to(self._root).as_posix()
                    self._by_stem.setdefault(path.stem, []).append(inside)
        there = self._by_stem.get(wav.stem, [])
        if len(there) > 1:
            raise CorpusError(
                f"{where}: {' and '.join(there[:3])} are both named {wav.stem}, and none is at {wav}: put the "
                "recordings where EmoBox has them"
            )
        self._named += there
        return there[0] if there else ""


def _facts(name: str) -> dict[str, Any]:
    """What is known of a corpus of EmoBox."""
    content = yaml.safe_load(FACTS.read_text(encoding="utf-8"))
    return dict(content["corpora"].get(name, {}))


def _emotion_names() -> dict[str, str]:
    """Their name of an emotion -> ours."""
    return dict(yaml.safe_load(FACTS.read_text(encoding="utf-8"))["emotions"])
