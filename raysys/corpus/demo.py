"""Reader `demo`: a synthetic corpus, generated from a seed in seconds. It proves plumbing, never a scientific claim.

Built like a small IEMOCAP: 5 sessions of 2 speakers, dialogues, 6 imbalanced emotions, 3 annotators who disagree. The
voice carries arousal (pitch, range, rate, loudness, timbre) and the words carry valence, each with noise: a model
needs both. An utterance has a major emotion and often a minor one; prosody, words and votes follow the same mixture.

    seed -> speakers -> dialogues -> (mixture, words, votes) -> waveform -> manifest.csv + wav/

What it writes is a manifest corpus, so the folder doubles as an example of that format.
"""

import csv
import io
import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from raysys.corpus.columns import COLUMNS, read_manifest
from raysys.corpus.demo_voice import Prosody, Voice, speak
from raysys.corpus.files import SourceConfig
from raysys.corpus.table import RawCorpus, Utterance
from raysys.errors import ConfigError
from raysys.settings import digest, require
from raysys.storage import Folder

SHARES = {
    "anger": 0.15,
    "excitement": 0.13,
    "frustration": 0.26,
    "happiness": 0.07,
    "neutral": 0.24,
    "sadness": 0.15,
}
"""Emotion -> share of the utterances, roughly as in IEMOCAP."""

_PROSODY = {
    # pitch and range in semitones, rate as a factor, loudness in dB, brightness 0..1
    "anger": Prosody(pitch=4.5, span=5.5, rate=1.15, loudness=6.0, brightness=0.85),
    "excitement": Prosody(pitch=5.0, span=6.0, rate=1.18, loudness=5.0, brightness=0.80),
    "frustration": Prosody(pitch=1.0, span=3.0, rate=1.0, loudness=1.5, brightness=0.55),
    "happiness": Prosody(pitch=1.5, span=3.5, rate=1.03, loudness=1.0, brightness=0.55),
    "neutral": Prosody(pitch=-1.0, span=1.5, rate=0.95, loudness=-2.0, brightness=0.35),
    "sadness": Prosody(pitch=-2.0, span=1.0, rate=0.85, loudness=-4.0, brightness=0.25),
}

_WORDS = {
    "hostile": "unfair stupid wrong hate damn blame lied ridiculous useless liar broke ruined",
    "glad": "great wonderful love yes beautiful perfect smile lucky won amazing sweet hooray",
    "plain": "table monday paper phone number street form office letter door list morning",
    "sad": "alone miss lost gone cry tired empty died never sorry grave tears",
    "common": "i you we it the a this that was is have with about and so then really just know my",
}
_VOCABULARY = {
    "anger": "hostile",
    "frustration": "hostile",
    "excitement": "glad",
    "happiness": "glad",
    "neutral": "plain",
    "sadness": "sad",
}
_MINOR = {
    # the emotions that each is mixed with, most likely first
    "anger": ("frustration", "sadness"),
    "excitement": ("happiness", "anger"),
    "frustration": ("anger", "neutral"),
    "happiness": ("excitement", "neutral"),
    "neutral": ("sadness", "frustration"),
    "sadness": ("neutral", "frustration"),
}
_UNINFORMATIVE_TEXT = 0.22
_AMBIGUOUS = 0.4
_ANNOTATORS = 3
_SESSIONS = 5
_GENDERS = {"F": "female", "M": "male"}


@dataclass(frozen=True)
class DemoConfig:
    """The generated corpus: its size and seed."""

    utterances: int = 600
    """Number of utterances to generate, over 5 sessions of 2 speakers."""
    seed: int = 7
    """Seed of the generator; another seed is another corpus with other speakers."""

    def __post_init__(self) -> None:
        require(self.seed >= 0, "corpus.demo.seed", self.seed, "0 or more")
        count = self.utterances
        require(120 <= count <= 100_000, "corpus.demo.utterances", count, "120 to 100000")


@dataclass(frozen=True)
class _Mixture:
    major: str
    minor: str
    share: float


def read(config: SourceConfig, settings: DemoConfig, cache: Folder) -> RawCorpus:
    """Generate the corpus into the cache, or read it from there.

    Raises:
        ConfigError: a root is given.
    """
    if config.root:
        raise ConfigError(
            f"the demo corpus is generated and reads no corpus.root ({config.root}): leave it out, or set --corpus.name"
        )
    local = cache if cache.local_path else Folder(f"{tempfile.gettempdir()}/raysys-{os.getuid()}")
    folder = local / "corpora" / f"demo-{digest(vars(settings), _version())[:12]}"
    if not folder.exists("manifest.csv"):
        _generate(settings, folder)
    root = Path(folder.path())
    raw = read_manifest(root / "manifest.csv", root=root, name="demo")
    return replace(raw, synthetic=True)


def _version() -> str:
    files = (Path(__file__), Path(__file__).with_name("demo_voice.py"))
    return digest([file.read_text(encoding="utf-8") for file in files])


def _generate(config: DemoConfig, folder: Folder) -> None:
    random = np.random.default_rng(config.seed)
    voices = {
        f"S{session}{sex}": Voice.draw(random, woman=sex == "F")
        for session in range(1, _SESSIONS + 1)
        for sex in "FM"
    }
    rows: list[Utterance] = []
    for number in range(config.utterances):
        session = number * _SESSIONS // config.utterances + 1
        rows.append(_next_utterance(rows, f"S{session}", random))
    for row, mixture in zip(rows, map(_mixture_of, rows), strict=True):
        samples = speak(voices[row.speaker], _blend(mixture), len(row.text.split()), random)
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, 16000, format="WAV", subtype="PCM_16")
        (folder / "wav").write_bytes(f"{row.utterance_id}.wav", buffer.getvalue())
    finished = [replace(row, votes=_votes(_mixture_of(row), random)) for row in rows]
    _write_manifest([replace(row, label=_majority(row)) for row in finished], folder)


def _next_utterance(rows: list[Utterance], session: str, random: np.random.Generator) -> Utterance:
    """The next turn: the same dialogue goes on (8-14 turns), emotions tend to stay."""
    last = rows[-1] if rows else None
    goes_on = last is not None and last.session == session and last.turn + 1 < _turns(last)
    if last is not None and goes_on:
        dialogue, turn = last.dialogue_id, last.turn + 1
    else:
        count = len({row.dialogue_id for row in rows if row.session == session})
        dialogue, turn = f"{session}_d{count + 1:02d}", 0
    major = str(random.choice(list(SHARES), p=list(SHARES.values())))
    if last is not None and goes_on and random.random() < 0.35:
        major = _mixture_of(last).major
    minor, share = major, 1.0
    if random.random() < _AMBIGUOUS:
        minor = _MINOR[major][int(random.random() < 0.35)]
        share = float(np.round(random.uniform(0.55, 0.8), 2))
    return Utterance(
        utterance_id=f"{dialogue}_u{turn:02d}",
        dialogue_id=dialogue,
        turn=turn,
        session=session,
        speaker=session + "FM"[turn % 2],
        audio=f"wav/{dialogue}_u{turn:02d}.wav",
        text=_sentence(_Mixture(major, minor, share), random),
        label=f"{major}|{minor}|{share}",  # the mixture, until annotators have voted
    )


def _turns(row: Utterance) -> int:
    return 8 + sum(map(ord, row.dialogue_id)) % 7


def _mixture_of(row: Utterance) -> _Mixture:
    major, minor, share = row.label.split("|")
    return _Mixture(major, minor, float(share))


def _sentence(mixture: _Mixture, random: np.random.Generator) -> str:
    uninformative = random.random() < _UNINFORMATIVE_TEXT
    words = []
    for _ in range(int(random.integers(4, 10))):
        emotion = mixture.major if random.random() < mixture.share else mixture.minor
        kind = "common" if uninformative or random.random() < 0.62 else _VOCABULARY[emotion]
        words.append(str(random.choice(_WORDS[kind].split())))
    return " ".join(words)


def _blend(mixture: _Mixture) -> Prosody:
    return _PROSODY[mixture.major].mixed_with(_PROSODY[mixture.minor], mixture.share)


def _votes(mixture: _Mixture, random: np.random.Generator) -> dict[str, int]:
    majors = int(random.binomial(_ANNOTATORS, mixture.share))
    votes = {mixture.major: majors}
    if majors < _ANNOTATORS:
        votes[mixture.minor] = _ANNOTATORS - majors
    return {emotion: count for emotion, count in votes.items() if count}


def _majority(row: Utterance) -> str:
    votes = row.votes or {}
    return max(sorted(votes), key=lambda emotion: votes[emotion])


def _write_manifest(rows: list[Utterance], folder: Folder) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, "gender"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = {name: getattr(row, name) for name in COLUMNS}
        votes, gender = json.dumps(dict(row.votes or {})), _GENDERS[row.speaker[-1]]
        writer.writerow({**values, "votes": votes, "gender": gender})
    folder.write_bytes("manifest.csv", text.getvalue().encode())
