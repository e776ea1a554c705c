"""The corpus as a table: one row an utterance, and the ordered list of emotions.

    reader -> RawCorpus -> check -> Corpus -> encoders, folds, targets

Readers return rows as they find them; `raysys.corpus.check` turns them into a `Corpus` that the rest can rely on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

from raysys.corpus.finding import Finding
from raysys.corpus.formats import Format
from raysys.settings import digest


@dataclass(frozen=True)
class Utterance:
    """One row of a corpus."""

    utterance_id: str
    """Unique in the corpus."""
    label: str = ""
    """Emotion; the majority where there are votes."""
    text: str = ""
    audio: str = ""
    """Path under the corpus root; empty where there is none."""
    video: str = ""
    """Path under the corpus root of a film, or of precomputed features (.npy); empty where there is none."""
    image: str = ""
    """Path under the corpus root of a picture; empty where there is none."""
    speaker: str = ""
    session: str = ""
    dialogue_id: str = ""
    turn: int = 0
    """Position in the dialogue, from 0."""
    start: float | None = None
    """Seconds into the audio file where the utterance begins; None is the file's start."""
    end: float | None = None
    """Seconds into the audio file where it ends; None is the file's end."""
    votes: Mapping[str, int | float] | None = None
    """Emotion -> number of annotators, or their share."""
    values: Mapping[str, float] | None = None
    """Target of a regression -> its value; FORMAT.VARIABLE -> a rating as 0..1."""
    split: str = ""
    """Official part (train, val or test), where the corpus has one."""
    metadata: Mapping[str, str] | None = None
    """Columns of a manifest that raysys gives no meaning; no part of the corpus' digest."""


@dataclass(frozen=True)
class Facts:
    """What is published about a corpus, to compare a copy with."""

    source: str
    utterances: int | None = None
    rate_hz: int | None = None
    """Sampling rate of its audio files."""
    hours: float | None = None
    """Total duration of its audio."""


@dataclass(frozen=True)
class Official:
    """Folds of a corpus that somebody has published; nothing says that they hold speakers apart."""

    source: str
    folds: tuple[Mapping[str, str], ...]
    """For each fold: utterance -> train, val or test. Without val, the val part is taken from train."""
    scores: str = ""
    """What is published of them."""


@dataclass(frozen=True)
class RawCorpus:
    """What a reader found, before any check."""

    name: str
    root: Path
    emotions: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    origin: tuple[str, ...]
    """Where each utterance stands (file, line or row), for error messages."""
    synthetic: bool = False
    findings: tuple[Finding, ...] = ()
    """What readers of a result must know of how it was read."""
    facts: Facts | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    """Utterances without audio or film -> the file in which it was looked for."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Utterances -> how long their audio is by the corpus' own tables."""
    known_bad: Mapping[str, str] = field(default_factory=dict)
    """Utterances that are unusable in every copy of the corpus -> why; left out where they fail a check."""
    has_silent: bool = False
    """Whether every copy of the corpus has silent recordings: they are left out, and a finding says so."""
    targets: tuple[str, ...] = ()
    """Names of the numbers that the reader itself knows."""
    is_divided: bool = False
    """Whether its official parts are what it is made of, so that no other division makes sense."""
    official: Official | None = None
    """Published folds, where there are more than utterances' `split` can say."""
    formats: tuple[Format, ...] = ()
    """Formats of its ratings."""
    equivalent: tuple[tuple[str, ...], ...] = ()
    """Names of their variables that mean the same."""


@dataclass(frozen=True)
class Quarantined:
    """An utterance that was left out, and why."""

    utterance_id: str
    reason: str


@dataclass(frozen=True)
class Corpus:
    """A checked corpus. Arrays below are in the order of `utterances`, classes in the order of `emotions`."""

    name: str
    root: Path
    emotions: tuple[str, ...]
    """Classes, in order; none where numbers are predicted."""
    utterances: tuple[Utterance, ...]
    audio_digests: tuple[str, ...]
    """Digest of each utterance's samples; empty text where there is no audio."""
    quarantine: tuple[Quarantined, ...] = ()
    synthetic: bool = False
    video_digests: tuple[str, ...] = ()
    """Digest of each utterance's film, or file of video features; empty without a model that reads such."""
    image_digests: tuple[str, ...] = ()
    """Digest of each utterance's picture; empty without a model that reads pictures."""
    targets: tuple[str, ...] = ()
    """Names of the numbers that are predicted, in order; none where classes are."""
    formats: tuple[Format, ...] = ()
    """Formats of its ratings; empty where it has none."""
    equivalent: tuple[tuple[str, ...], ...] = ()
    """Names of their variables that mean the same."""
    is_divided: bool = False
    """See `RawCorpus`."""
    official: Official | None = None
    """See `RawCorpus`."""
    findings: tuple[Finding, ...] = ()
    """What readers of a result must know of how it was read."""

    def __len__(self) -> int:
        return len(self.utterances)

    @cached_property
    def labels(self) -> Int64[np.ndarray, " utterance"]:
        """Class index of every utterance."""
        index = {emotion: k for k, emotion in enumerate(self.emotions)}
        return np.array([index[row.label] for row in self.utterances], dtype=np.int64)

    @cached_property
    def votes(self) -> Float64[np.ndarray, "utterance class"]:
        """Annotators, or their share, for each of the corpus' emotions; a row of zeros where there are none."""
        rows = [[(row.votes or {}).get(e, 0) for e in self.emotions] for row in self.utterances]
        return np.array(rows, dtype=np.float64)

    @cached_property
    def votes_elsewhere(self) -> Float64[np.ndarray, " utterance"]:
        """Annotators, or their share, who named an emotion that is none of the corpus'."""
        known = set(self.emotions)
        found = [
            sum(count for name, count in (row.votes or {}).items() if name not in known)
            for row in self.utterances
        ]
        return np.array(found, dtype=np.float64)

    @cached_property
    def ratings(self) -> Float32[np.ndarray, "utterance target"]:
        """Every utterance's numbers, in the order of `targets`; NaN where there is none."""
        rows = [
            [(row.values or {}).get(n, np.nan) for n in self.targets] for row in self.utterances
        ]
        return np.array(rows, dtype=np.float32).reshape(len(self), len(self.targets))

    @cached_property
    def places(self) -> Int64[np.ndarray, "utterance 3"]:
        """Dialogue, turn and speaker of every utterance, as numbers."""
        dialogues = np.unique(self.column("dialogue_id"), return_inverse=True)[1]
        speakers = np.unique(self.column("speaker"), return_inverse=True)[1]
        turns = [row.turn for row in self.utterances]
        return np.stack([dialogues, turns, speakers], axis=1).astype(np.int64)

    def column(self, name: Literal["speaker", "session", "dialogue_id", "text"]) -> list[str]:
        """One text column as a list."""
        return [str(getattr(row, name)) for row in self.utterances]

    def take(self, rows: Sequence[int]) -> "Corpus":
        """Some of the utterances; the others are not named in the quarantine."""
        return replace(
            self,
            utterances=tuple(self.utterances[k] for k in rows),
            audio_digests=tuple(self.audio_digests[k] for k in rows),
            video_digests=tuple(self.video_digests[k] for k in rows if self.video_digests),
            image_digests=tuple(self.image_digests[k] for k in rows if self.image_digests),
        )

    def without(self, unusable: Mapping[int, str]) -> "Corpus":
        """The corpus without some utterances, which are quarantined.

        Args:
            unusable: position -> why.
        """
        kept = [k for k in range(len(self)) if k not in unusable]
        left = [Quarantined(self.utterances[k].utterance_id, unusable[k]) for k in unusable]
        return replace(
            self,
            utterances=tuple(self.utterances[k] for k in kept),
            audio_digests=tuple(self.audio_digests[k] for k in kept),
            video_digests=tuple(self.video_digests[k] for k in kept if self.video_digests),
            image_digests=tuple(self.image_digests[k] for k in kept if self.image_digests),
            quarantine=(*self.quarantine, *left),
        )

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """16 hex digits for every utterance that depend on what it is, not on its label or the corpus' name."""
        return tuple(
            digest(row.utterance_id, row.text, Path(row.audio).name, row.start, row.end)[:16]
            for row in self.utterances
        )

    @cached_property
    def digest(self) -> str:
        """Digest of emotions or targets, every column of every row, and the audio's content."""
        rows = [
            [_deciding(row), audio]
            for row, audio in zip(self.utterances, self.audio_digests, strict=True)
        ]
        own = [asdict(one) for one in self.formats]
        more: list[object] = [own, self.equivalent] if own else []
        if self.official:
            more.append([dict(fold) for fold in self.official.folds])
        if self.image_digests:
            more.append(["images", *self.image_digests])
        return digest(self.name, self.emotions, self.targets, rows, self.video_digests, *more)


def text_key(text: str) -> str:
    """16 hex digits of what is said, whatever its case and blanks; empty where nothing is."""
    plain = " ".join(text.lower().split())
    return digest(plain)[:16] if plain else ""


def _deciding(row: Utterance) -> dict[str, object]:
    """Columns of a row that can change a number."""
    columns = {**vars(row), "votes": dict(row.votes or {}), "values": dict(row.values or {})}
    del columns["metadata"]
    if not row.image:  # as it was before there were pictures
        del columns["image"]
    return columns
