"""MELD as it is released: the real tables, small copies with clips, and what is broken in them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysys.config import Config
from raysys.corpus import CorpusConfig
from raysys.corpus.audio import read_audio
from raysys.corpus.audit import audit_folds
from raysys.corpus.folds import FoldsConfig
from raysys.corpus.table import Corpus, Utterance
from raysys.errors import CorpusError
from raysys.models import ModelConfig
from tests.conftest import corpus_of, folds_of
from tests.films import write_sound

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
OFFICIAL = FoldsConfig(method="official", groups="dialogue")
EMOTIONS = ("joy", "neutral")


def read(root: Path, *modalities: str, **corpus: object) -> Corpus:
    config = Config(
        corpus=CorpusConfig(name="meld", root=str(root), **corpus),
        model=ModelConfig(modalities=modalities or ("text",)),
    )
    return corpus_of(config, root, dialogues=True)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release of two dialogues a split; the second of each lacks turn 1. Clips are in the release's folders."""
    random = np.random.default_rng(0)
    folders = {
        "train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test",
    }  # fmt: skip
    for split, folder in folders.items():
        (tmp_path / folder).mkdir()
        rows = [HEADER]
        for dialogue, turn in ((0, 0), (0, 1), (125, 0), (125, 3)):
            label = "joy" if turn % 2 else "neutral"
            times = '"00:00:01,000","00:00:02,000"'
            rows.append(
                f'1,"So, dialogue {dialogue}",Ross,{label},positive,{dialogue},{turn},1,2,{times}'
            )
            clip = tmp_path / folder / f"dia{dialogue}_utt{turn}.wav"
            soundfile.write(clip, 0.1 * random.standard_normal(4000), 16000)
        (tmp_path / f"{split}_sent_emo.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_the_real_tables_have_the_published_counts_and_the_official_split(meld_root: Path):
    corpus = read(meld_root)
    assert len(corpus) == 13_708
    assert Counter(row.split for row in corpus.utterances) == {
        "train": 9989, "val": 1109, "test": 2610,
    }  # fmt: skip
    assert Counter(row.label for row in corpus.utterances)["neutral"] == 4710 + 470 + 1256
    assert len({row.dialogue_id for row in corpus.utterances}) == 1038 + 114 + 280
    assert any("\u2019" in row.text for row in corpus.utterances)  # typographic quotes survive
    (fold,) = folds_of(corpus, OFFICIAL)
    assert [len(rows) for rows in fold.parts().values()] == [9989, 1109, 2610]


def test_turns_are_counted_where_the_release_lacks_some(release: Path):
    corpus = read(release, emotions=EMOTIONS)
    turns = {row.utterance_id: row.turn for row in corpus.utterances}
    assert turns["train_dia125_utt0"] == 0
    assert turns["train_dia125_utt3"] == 1
    row = corpus.utterances[0]
    assert (row.text, row.speaker, row.session) == ("So, dialogue 0", "Ross", "s01e02")
    assert row.audio == "train_splits/dia0_utt0.wav"


def test_clips_are_heard_and_known_broken_ones_left_out(release: Path):
    corpus = read(release, "audio", emotions=EMOTIONS)
    assert len(corpus) == 12  # the copy is sound here, so nothing is left out
    (release / "train_splits" / "dia125_utt3.wav").write_bytes(b"broken")
    corpus = read(release, "audio", emotions=EMOTIONS)
    assert len(corpus) == 11
    dialogues = [row for row in corpus.utterances if row.dialogue_id == "train_dia125"]
    assert [row.turn for row in dialogues] == [0]  # the dialogue stays, without its broken turn
    (left_out,) = corpus.quarantine
    assert left_out.utterance_id == "train_dia125_utt3"
    assert "known" in left_out.reason
    (release / "train_splits" / "dia0_utt0.wav").unlink()
    with pytest.raises(
        CorpusError, match="'train_splits/dia0_utt0.mp4' does not exist, but the model reads"
    ):
        read(release, "audio", emotions=EMOTIONS)


def test_silent_clips_which_every_copy_has_are_left_out_and_the_audit_says_so(release: Path):
    clip = release / "train_splits" / "dia0_utt0.wav"
    soundfile.write(clip, np.zeros(8000), 16000)
    corpus = read(release, "audio", emotions=EMOTIONS)
    assert len(corpus) == 11
    folds = folds_of(corpus, OFFICIAL)
    findings = audit_folds(corpus, folds, OFFICIAL, modalities=("audio",))
    (left_out,) = [one.message for one in findings if one.kind == "quarantine"]
    assert left_out == "1 bad utterances were left out, 1 of them silent (see quarantine.json)"


def test_films_are_heard(release: Path):
    clip = release / "train_splits" / "dia0_utt0.wav"
    film = clip.with_suffix(".mp4")
    clip.unlink()
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
    write_sound(film, np.stack([tone, tone]), 22050)
    corpus = read(release, "audio", emotions=EMOTIONS)
    row = corpus.utterances[0]
    assert row.audio == "train_splits/dia0_utt0.mp4"
    samples, rate = read_audio(row, film, "here")
    assert rate == 16000
    assert samples.ndim == 1
    assert abs(len(samples) - 16000) < 2048  # whole frames of the film's codec
    spectrum = np.abs(np.fft.rfft(samples[:16000]))
    assert spectrum.argmax() == 440
    film.write_bytes(b"no film")
    with pytest.raises(CorpusError, match="cannot decode audio .*dia0_utt0.mp4"):
        read(release, "audio", emotions=EMOTIONS)


def test_the_tables_alone_cannot_be_heard(release: Path):
    for clip in release.rglob("*.wav"):
        clip.unlink()
    assert len(read(release, emotions=EMOTIONS)) == 12
    with pytest.raises(
        CorpusError, match=r"has none of its recordings, first .*leave audio out: --model\.mod"
    ):
        read(release, "audio", "text", emotions=EMOTIONS)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("positive,0,1,", "positive,0,one,", "Utterance_ID is 'one', but must be a whole number"),
        (",positive,0,1,1,2", ",positive,0,1,1", "does not have 11 fields"),
        ("joy,positive,0", "joi,positive,0", "unknown emotion 'joi' \\(did you mean 'joy'"),
        ("Dialogue_ID,", "Dialogue,", "column 'Dialogue_ID' is missing"),
    ],
)
def test_a_broken_row_is_named_with_its_line(release: Path, old: str, new: str, message: str):
    table = release / "train_sent_emo.csv"
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, 1))
    with pytest.raises(CorpusError, match=message) as caught:
        read(release, emotions=EMOTIONS)
    assert "train_sent_emo.csv" in str(caught.value)


def test_a_missing_table_is_named(release: Path):
    (release / "dev_sent_emo.csv").unlink()
    with pytest.raises(CorpusError, match=r"no dev_sent_emo\.csv in"):
        read(release)


def test_the_official_split_needs_every_utterance_in_a_part(release: Path):
    corpus = read(release, emotions=EMOTIONS)
    (fold,) = folds_of(corpus, OFFICIAL)
    assert [len(rows) for rows in fold.parts().values()] == [4, 4, 4]
    rows = (*corpus.utterances, Utterance("x", "joy", session="s01e02"))
    changed = Corpus("c", corpus.root, corpus.emotions, rows, ("",) * len(rows))
    with pytest.raises(CorpusError, match="needs train, val or test"):
        folds_of(changed, FoldsConfig(method="official", groups="session"))


def test_clips_that_are_minutes_longer_than_the_table_says_are_a_finding(release: Path):
    clip = release / "train_splits" / "dia0_utt0.wav"
    soundfile.write(clip, 0.1 * np.sin(np.arange(16000 * 90)), 16000)
    found = {one.kind: one.message for one in read(release, "audio", emotions=EMOTIONS).findings}
    assert found["longer_than_table"] == (
        "1 recordings are more than 5 s longer than the corpus' table says: train_dia0_utt0"
    )
    assert "12 utterances instead of 13708" in found["not_as_published"]
