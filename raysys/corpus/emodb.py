"""Reader `emodb`: Berlin Database of Emotional Speech (Burkhardt et al., Interspeech 2005).

Reads `wav/` of the release: 535 utterances, 10 actors, 10 sentences, 7 emotions, all given by the file name:
`03a01Fa.wav` is speaker 03, sentence a01, emotion F (happiness), version a. The sentences were chosen to hold no
emotion. A session here is a pair of speakers in the order of their numbers (03 08 | 09 10 | 11 12 | 13 14 | 15 16), so
that leaving one session out gives the usual five folds of two speakers.
"""

import re
from dataclasses import replace

from raysys.corpus.files import SourceConfig, corpus_root
from raysys.corpus.table import Facts, RawCorpus, Utterance
from raysys.errors import CorpusError
from raysys.storage import Folder

EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "N": "neutral",
    "T": "sadness",
}
"""Letter in the file name (initial of the German word) -> emotion."""

SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
"""Sentence code -> what is said."""

FACTS = Facts(
    "Burkhardt et al. 2005: 535 utterances of 2.8 s on average, at 16 kHz",
    utterances=535,
    rate_hz=16000,
    hours=0.413,
)
_MEN = {"03", "10", "11", "12", "15"}
"""Speakers; the other five are women."""
_NAME = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z])")


def read(config: SourceConfig, settings: object, cache: Folder) -> RawCorpus:
    """Read every file of `wav/` under `corpus.root`.

    Raises:
        CorpusError: no such folder, or a file name that is not of the corpus.
    """
    root = corpus_root(config)
    folder = root / "wav"
    files = folder.iterdir() if folder.is_dir() else ()
    names = sorted(
        path.name
        for path in files
        if path.suffix.lower() == ".wav" and not path.name.startswith("._")  # of macOS
    )
    if not names:
        raise CorpusError(
            f"no wav/*.wav in {root}: set --corpus.root to the unpacked EmoDB release"
        )
    rows = [_utterance(name, str(folder)) for name in names]
    speakers = sorted({row.speaker for row in rows})
    session = {s: "+".join(speakers[k - k % 2 : k - k % 2 + 2]) for k, s in enumerate(speakers)}
    utterances = tuple(replace(row, session=session[row.speaker]) for row in rows)
    origin = tuple(str(root / row.audio) for row in utterances)
    emotions = tuple(sorted(EMOTIONS.values()))
    return RawCorpus("emodb", root, emotions, utterances, origin, facts=FACTS)


def _utterance(name: str, folder: str) -> Utterance:
    stem = name[: -len(".wav")]
    match = _NAME.fullmatch(stem)
    if not match or match["emotion"] not in EMOTIONS or match["sentence"] not in SENTENCES:
        rule = "speaker, sentence, emotion, version, as in 03a01Fa.wav"
        raise CorpusError(
            f"{folder}/{name}: an EmoDB file name is {rule}: set another --corpus.root, or another "
            "--corpus.name"
        )
    return Utterance(
        utterance_id=stem,
        dialogue_id=stem,
        audio=f"wav/{name}",
        speaker=match["speaker"],
        text=SENTENCES[match["sentence"]],
        label=EMOTIONS[match["emotion"]],
        metadata={"gender": "male" if match["speaker"] in _MEN else "female"},
    )
