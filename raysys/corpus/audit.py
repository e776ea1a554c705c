"""Leak audit: what the parts of the folds share, looked for before any training.

A shared group is an error. Shared speakers, identical audio and identical transcripts are warnings with counts: some
corpora have them by design (EmoDB's ten sentences, IEMOCAP's scripts), and readers of a result should know.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from raysys.config import Config
from raysys.corpus.folds import Fold, groups_of
from raysys.corpus.table import Corpus
from raysys.errors import LeakError

Level = Literal["warning", "note"]

_TRAINED_ON = {
    "superb-er": "iemocap",
    "iemocap": "iemocap",
    "meld": "meld",
    "ravdess": "ravdess",
    "emodb": "emodb",
    "emo-db": "emodb",
}
"""Part of an encoder's name -> corpus that it was trained on."""


@dataclass(frozen=True)
class Finding:
    """One line of the audit."""

    level: Level
    kind: str
    message: str


def audit_folds(corpus: Corpus, folds: tuple[Fold, ...], config: Config) -> tuple[Finding, ...]:
    """Look for leaks and list what a reader of the result must know.

    Raises:
        LeakError: a group, or an utterance, is in two parts of a fold.
    """
    _refuse_shared("group", groups_of(corpus, config.folds), folds, config.folds.groups)
    _refuse_shared("row", np.arange(len(corpus)), folds, "utterance")
    findings = [
        *_shared("speaker", np.array(corpus.column("speaker")), folds, corpus),
        *_shared("audio", np.array(corpus.audio_digests), folds, corpus),
    ]
    if corpus.video_digests:
        findings += _shared("video", np.array(corpus.video_digests), folds, corpus)
    if "text" in config.model.modalities:
        texts = np.array([" ".join(text.lower().split()) for text in corpus.column("text")])
        findings += _shared("transcript", texts, folds, corpus)
    findings += _encoder_notes(corpus, config)
    if corpus.synthetic:
        findings.append(
            Finding("note", "synthetic", "the corpus is synthetic: no claim about people")
        )
    if corpus.quarantine:
        message = f"{len(corpus.quarantine)} bad utterances were left out (see quarantine.json)"
        findings.append(Finding("warning", "quarantine", message))
    return tuple(findings)


def _refuse_shared(kind: str, values: np.ndarray, folds: tuple[Fold, ...], name: str) -> None:
    for fold in folds:
        parts = list(fold.parts().items())
        for k, (first, rows) in enumerate(parts):
            for second, others in parts[k + 1 :]:
                both = set(values[rows].tolist()) & set(values[others].tolist())
                if both:
                    raise LeakError(
                        f"fold {fold.index}: {name} {sorted(both)[0]!r} is in {first} and in {second}: every {kind} "
                        "must be in one part"
                    )


def _shared(
    kind: str, values: np.ndarray, folds: tuple[Fold, ...], corpus: Corpus
) -> list[Finding]:
    """Test utterances whose value also occurs in their fold's train or val part."""
    count, worst = 0, ""
    for fold in folds:
        known = set(values[np.concatenate([fold.train, fold.val])].tolist()) - {""}
        hits = [k for k in fold.test if values[k] in known]
        count += len(hits)
        worst = worst or (corpus.utterances[hits[0]].utterance_id if hits else "")
    if not count:
        return []
    total = sum(len(fold.test) for fold in folds)
    message = (
        f"{count} of {total} test utterances share their {kind} with train or val, first {worst}"
    )
    return [Finding("warning", f"shared_{kind}", message)]


def _encoder_notes(corpus: Corpus, config: Config) -> list[Finding]:
    findings = []
    framed = [modality for modality in config.model.modalities if modality != "text"]
    if config.features.normalise == "speaker" and framed:
        message = (
            f"{' and '.join(framed)} is normalised per speaker on the speaker's own unlabelled frames, test speakers "
            "included: the score is for speakers of whom such frames are at hand"
        )
        findings.append(Finding("note", "speaker_normalisation", message))
    made = [m for m in config.model.modalities if getattr(config.features, m) == "precomputed"]
    if made:
        message = (
            f"{' and '.join(made)} features were computed elsewhere: whether their encoder has seen the test part, or "
            "files are shared between parts, cannot be checked here"
        )
        findings.append(Finding("note", "precomputed_features", message))
    if "text" in config.model.modalities and config.features.text == "transformers":
        model = config.features.transformers.model.lower()
        known = sorted({c for part, c in _TRAINED_ON.items() if part in model and c == corpus.name})
        for name in known:
            message = f"encoder {model} was trained on {name}: its features have seen the test part"
            findings.append(Finding("warning", "encoder_trained_on_corpus", message))
    return findings
