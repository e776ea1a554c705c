"""IEMOCAP in the layout in which it is shipped, built small on the spot."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysys.config import Config
from raysys.corpus import CorpusConfig
from raysys.corpus.folds import FoldsConfig
from raysys.corpus.iemocap import IemocapConfig
from raysys.corpus.table import Corpus
from raysys.errors import CorpusError
from raysys.models import ModelConfig
from tests.conftest import corpus_of, folds_of

# utterance, code, annotators' words, beginning
TURNS = [
    ("F000", "neu", ["Neutral", "Neutral", "Neutral"], 1.0),
    ("M000", "fru", ["Frustration", "Anger", "Frustration"], 9.0),
    ("F001", "exc", ["Excited", "Happiness; Excited", "Excited"], 5.0),
    ("M001", "xxx", ["Anger", "Sadness", "Neutral"], 12.0),
    ("F002", "hap", ["Happiness", "Happiness", "Other"], 14.0),
    ("M002", "ang", ["Anger", "Anger", "Disgust"], 16.0),
    ("F003", "sad", ["Sadness", "Sadness", "Neutral"], 18.0),
    ("M003", "sur", ["Surprise", "Surprise", "Surprise"], 20.0),
    ("MXX0", "hap", ["Anger", "Sadness", "Neutral state"], 22.0),  # a label that nobody gave
    ("FXX1", "neu", ["Other", "Other", "Disgust"], 24.0),
]


def evaluation(dialogue: str) -> str:
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for name, code, words, start in TURNS:
        lines.append(
            f"[{start:.4f} - {start + 1.5:.4f}]\t{dialogue}_{name}\t{code}\t[2.5000, 2.5000, 2.5000]"
        )
        lines += [f"C-E{k + 2}:\t{said};\t(bored; a bit)" for k, said in enumerate(words)]
        lines += ["C-F1:\tSadness;\t()", "A-E3:\tval 3; act 2; dom  2;\t()", ""]
    return "\n".join(lines)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for session in range(1, 6):
        folder = tmp_path / f"Session{session}"
        for kind in ("impro01", "script01_1"):
            dialogue = f"Ses0{session}F_{kind}"
            (folder / "dialog" / "EmoEvaluation").mkdir(parents=True, exist_ok=True)
            (folder / "dialog" / "EmoEvaluation" / f"{dialogue}.txt").write_text(
                evaluation(dialogue)
            )
            (folder / "dialog" / "transcriptions").mkdir(parents=True, exist_ok=True)
            said = [
                f"{dialogue}_{name} [{start:08.4f}-{start + 1.5:08.4f}]: I said {name}."
                for name, _, _, start in TURNS
            ]
            (folder / "dialog" / "transcriptions" / f"{dialogue}.txt").write_text(
                "\n".join([*said, "M: (breathing) caf\u00e9"]), encoding="latin-1"
            )
            wav = folder / "sentences" / "wav" / dialogue
            wav.mkdir(parents=True)
            for name, *_ in TURNS:
                samples = 0.1 * random.standard_normal(4000)
                soundfile.write(wav / f"{dialogue}_{name}.wav", samples, 16000)
    return tmp_path


def read(root: Path, *, modalities: tuple = ("audio", "text"), **part: object) -> Corpus:
    config = Config(
        corpus=CorpusConfig(name="iemocap", root=str(root), iemocap=IemocapConfig(**part)),
        model=ModelConfig(modalities=modalities),
    )
    return corpus_of(config, root)


def test_labels_votes_words_speakers_and_turns_come_from_their_files(release: Path):
    corpus = read(release)
    assert corpus.emotions == (
        "anger", "excitement", "frustration", "happiness", "neutral", "sadness",
    )  # fmt: skip
    assert len(corpus) == 5 * 2 * 8  # without xxx and surprise
    rows = {row.utterance_id: row for row in corpus.utterances}
    row = rows["Ses03F_impro01_M000"]
    assert (row.label, row.votes) == ("frustration", {"frustration": 2, "anger": 1})
    assert (row.speaker, row.session, row.text) == ("Ses03M", "3", "I said M000.")
    assert row.audio == "Session3/sentences/wav/Ses03F_impro01/Ses03F_impro01_M000.wav"
    assert rows["Ses03F_impro01_F001"].votes == {"excitement": 3, "happiness": 1}
    assert rows["Ses03F_impro01_MXX0"].votes == {"anger": 1, "sadness": 1, "neutral": 1}
    assert rows["Ses03F_impro01_FXX1"].votes == {
        "other": 2,
        "disgust": 1,
    }  # the label is the target
    assert rows["Ses03F_impro01_M002"].votes == {"anger": 2, "disgust": 1}
    elsewhere = dict(zip(rows, corpus.votes_elsewhere.tolist(), strict=True))
    assert [elsewhere[f"Ses03F_impro01_{name}"] for name in ("M000", "M002", "FXX1")] == [0, 1, 3]
    first = [r for r in corpus.utterances if r.dialogue_id == "Ses01F_impro01"]
    order = ["F000", "F001", "M000", "F002", "M002", "F003", "MXX0", "FXX1"]
    assert [r.utterance_id[-4:] for r in first] == order
    assert [r.turn for r in first] == list(range(8))  # in the order in which they begin


def test_four_classes_count_excitement_as_happiness_and_drop_frustration(release: Path):
    corpus = read(release, classes="four")
    assert corpus.emotions == ("anger", "happiness", "neutral", "sadness")
    rows = {row.utterance_id: row for row in corpus.utterances}
    assert rows["Ses01F_impro01_F001"].votes == {"happiness": 3}
    assert "Ses01F_impro01_M000" not in rows


def test_improvised_dialogues_only(release: Path):
    corpus = read(release, improvised=True)
    assert {row.dialogue_id for row in corpus.utterances} == {
        f"Ses0{session}F_impro01" for session in range(1, 6)
    }


def test_one_session_is_left_out_at_a_time(release: Path):
    corpus = read(release)
    config = FoldsConfig(method="leave_one_group_out", groups="session")
    folds = folds_of(corpus, config)
    sessions = np.array(corpus.column("session"))
    assert [set(sessions[fold.test]) for fold in folds] == [{s} for s in "12345"]


@pytest.mark.parametrize(
    "file, old, new, message",
    [
        ("EmoEvaluation", "\tneu\t", " neu ", "must be '\\[START - END\\]"),
        (
            "EmoEvaluation",
            "C-E2:\tNeutral;",
            "C-E2:\tNeutrl;",
            "'neutrl' \\(did you mean 'neutral'",
        ),
        ("transcriptions", "_F000 [", "_F999 [", "'Ses01F_impro01_F000' has no line"),
    ],
)
def test_a_broken_line_is_named(release: Path, file: str, old: str, new: str, message: str):
    path = release / "Session1" / "dialog" / file / "Ses01F_impro01.txt"
    content = path.read_text(encoding="latin-1")
    assert old in content
    path.write_text(content.replace(old, new), encoding="latin-1")
    with pytest.raises(CorpusError, match=message) as caught:
        read(release)
    assert "Ses01F_impro01" in str(caught.value)


def test_a_missing_session_or_clip_is_named(release: Path):
    (release / "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F000.wav").unlink()
    with pytest.raises(CorpusError, match=r"Ses02F_impro01_F000\.wav' does not exist"):
        read(release)
    for path in (release / "Session4" / "dialog" / "EmoEvaluation").iterdir():
        path.unlink()
    with pytest.raises(CorpusError, match="Session4: set --corpus.root"):
        read(release)
