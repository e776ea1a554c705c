"""Reader `iemocap`: IEMOCAP as it is shipped (Busso et al. 2008, Language Resources and Evaluation 42).

    Session{1-5}/dialog/EmoEvaluation/*.txt      label, times, and each annotator's choice (C-lines) -> label, votes
    Session{1-5}/dialog/transcriptions/*.txt     what was said
    Session{1-5}/sentences/wav/DIALOGUE/*.wav    one file an utterance

Six emotions (anger, excitement, frustration, happiness, neutral, sadness) or the usual four with excitement counted as
happiness. An utterance belongs when the release's majority label is one of them; the rest, among them those without a
majority (xxx), are left out. Votes are those of the external evaluators (C-E lines), for other emotions too (surprise,
fear, disgust, other): an utterance on which they disagree stays, with its votes; the actors' own (C-F, C-M) do not
count. Votes may lack the label where the release says so; where they hold none of the emotions, the label alone is the
target. Folds by session leave one of the five pairs of speakers out.
"""

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from raysys.corpus.files import SourceConfig, corpus_root
from raysys.corpus.table import Facts, RawCorpus, Utterance
from raysys.errors import CorpusError, nearest
from raysys.storage import Folder

SIX = ("anger", "excitement", "frustration", "happiness", "neutral", "sadness")
FOUR = ("anger", "happiness", "neutral", "sadness")

_CODES = {
    "ang": "anger",
    "exc": "excitement",
    "fru": "frustration",
    "hap": "happiness",
    "neu": "neutral",
    "sad": "sadness",
}
"""Label in the evaluation's head line -> emotion; others (sur, fea, dis, oth, xxx) are not used."""
_WORDS = {
    "anger": "anger",
    "excited": "excitement",
    "frustration": "frustration",
    "happiness": "happiness",
    "neutral": "neutral",
    "neutral state": "neutral",
    "sadness": "sadness",
    **{name: name for name in ("surprise", "fear", "disgust", "other")},
}
"""An annotator's word, lower-case -> emotion."""
_GENDERS = {"F": "female", "M": "male"}
"""Letter before an utterance's number -> who speaks."""
_HEAD = re.compile(
    r"\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\t(?P<name>Ses\d\d[FM]_\w+_[FM]\w*\d+)\t(?P<code>\w+)\t"
)
_VOTE = re.compile(r"C-E\d+:\s*(?P<words>[^(]*)")
_SAID = re.compile(r"(?P<name>Ses\d\d[FM]_\w+) \[[\d.]+-[\d.]+\]: (?P<text>.*)")


@dataclass(frozen=True)
class IemocapConfig:
    """Which part of IEMOCAP."""

    classes: Literal["six", "four"] = "six"
    """six (anger, excitement, frustration, happiness, neutral, sadness) or four (excitement counts as happiness,
    frustration is left out)."""
    improvised: bool = False
    """Improvised dialogues only: the scripted ones repeat their lines in every session."""


def read(config: SourceConfig, settings: IemocapConfig, cache: Folder) -> RawCorpus:
    """Read all sessions under `corpus.root`.

    Raises:
        CorpusError: a session's folders are missing, or a file does not have the release's format.
    """
    root = corpus_root(config)
    emotions = FOUR if settings.classes == "four" else SIX
    rows: list[Utterance] = []
    origin: list[str] = []
    for session in range(1, 6):
        folder = root / f"Session{session}"
        evaluations = sorted((folder / "dialog" / "EmoEvaluation").glob("Ses*.txt"))
        if not evaluations:
            raise CorpusError(
                f"no dialog/EmoEvaluation/Ses*.txt in {folder}: set --corpus.root to the unpacked IEMOCAP release"
            )
        for evaluation in evaluations:
            if settings.improvised and "_impro" not in evaluation.stem:
                continue
            for row, where in _dialogue(evaluation, folder, str(session), emotions):
                rows.append(row)
                origin.append(where)
    facts = Facts("Busso et al. 2008: audio at 16 kHz", rate_hz=16000)
    return RawCorpus("iemocap", root, emotions, tuple(rows), tuple(origin), facts=facts)


def _dialogue(
    evaluation: Path, folder: Path, session: str, emotions: tuple[str, ...]
) -> list[tuple[Utterance, str]]:
    """The utterances of one dialogue that have one of the emotions, in the order in which they begin."""
    name = evaluation.stem
    said = _transcript(folder / "dialog" / "transcriptions" / f"{name}.txt")
    found: list[tuple[float, Utterance, str]] = []
    for number, block in _blocks(evaluation):
        where = f"{evaluation}:{number}"
        head = _HEAD.match(block[0])
        if head is None:
            raise CorpusError(
                f"{where}: must be '[START - END]<tab>UTTERANCE<tab>LABEL<tab>[V, A, D]': fix the line"
            )
        label = _merged(_CODES.get(head["code"], ""), emotions)
        if label not in emotions:
            continue
        if head["name"] not in said:
            raise CorpusError(f"{where}: utterance '{head['name']}' has no line in transcriptions")
        utterance = Utterance(
            utterance_id=head["name"],
            dialogue_id=name,
            speaker=f"Ses0{session}{head['name'].rsplit('_', 1)[1][0]}",
            session=session,
            audio=f"{folder.name}/sentences/wav/{name}/{head['name']}.wav",
            text=said[head["name"]],
            label=label,
            votes=_votes(block[1:], emotions, where) or None,
            metadata={"gender": _GENDERS[head["name"].rsplit("_", 1)[1][0]]},
        )
        found.append((float(head["start"]), utterance, where))
    ordered = sorted(found, key=lambda item: item[0])
    return [(replace(row, turn=turn), where) for turn, (_, row, where) in enumerate(ordered)]


def _blocks(evaluation: Path) -> list[tuple[int, list[str]]]:
    """Line number and lines of every utterance: a head line, then its annotators', up to an empty line."""
    blocks: list[tuple[int, list[str]]] = []
    inside = False
    for number, line in enumerate(_lines(evaluation), start=1):
        if line.startswith("["):
            blocks.append((number, [line]))
            inside = True
        elif not line.strip():
            inside = False
        elif inside:
            blocks[-1][1].append(line)
    return blocks


def _votes(lines: list[str], emotions: tuple[str, ...], where: str) -> dict[str, int]:
    """Emotion -> external evaluators; one who named two emotions counts for each."""
    counts: Counter[str] = Counter()
    for line in lines:
        vote = _VOTE.match(line)
        words = [word.strip().lower() for word in vote["words"].split(";")] if vote else []
        for word in filter(None, words):
            if word not in _WORDS:
                raise CorpusError(
                    f"{where}: an evaluator's choice is '{word}' ({nearest(word, _WORDS)}): fix the C-E line"
                )
        counts.update({_merged(_WORDS[word], emotions) for word in words if word})
    return dict(counts)


def _merged(emotion: str, emotions: tuple[str, ...]) -> str:
    """Excitement is happiness where there are four emotions."""
    return "happiness" if emotion == "excitement" and "excitement" not in emotions else emotion


def _transcript(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise CorpusError(f"{path} is missing: set --corpus.root to the unpacked IEMOCAP release")
    matches = (_SAID.match(line) for line in _lines(path))
    return {match["name"]: match["text"].strip() for match in matches if match}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return path.read_text(encoding="latin-1").splitlines()  # a few files of the release
