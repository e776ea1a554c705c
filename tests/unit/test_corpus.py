"""Readers and checks: what a corpus must be, and the one line about what it is not."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from raysys.config import Config
from raysys.corpus import CorpusConfig
from raysys.corpus.demo import DemoConfig
from raysys.corpus.table import Corpus
from raysys.errors import CorpusError
from raysys.models import ModelConfig
from raysys.tasks.class_targets import target_distributions
from tests.conftest import corpus_of

HEADER = "utterance_id,label,text,audio,speaker,start,end,votes"


def read(config: CorpusConfig, cache: Path, modalities=("audio", "text")) -> Corpus:
    whole = Config(corpus=config, model=ModelConfig(modalities=modalities))
    return corpus_of(whole, cache)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A manifest corpus of four utterances with real audio."""
    (tmp_path / "wav").mkdir()
    tone = 0.1 * np.sin(np.arange(16000) / 20)
    for k in range(4):
        soundfile.write(tmp_path / "wav" / f"{k}.wav", tone, 16000)
    rows = [f"u{k},{'joy' if k % 2 else 'calm'},hello {k},wav/{k}.wav,s{k},,," for k in range(4)]
    (tmp_path / "manifest.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return tmp_path


def manifest(root: Path, **changes: object) -> CorpusConfig:
    return CorpusConfig(name="manifest", root=str(root), **changes)


def set_row(root: Path, k: int, row: str) -> None:
    lines = (root / "manifest.csv").read_text().splitlines()
    lines[k + 1] = row
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")


def test_a_manifest_is_read_with_sorted_emotions(root: Path, tmp_path: Path):
    set_row(root, 1, 'u1,joy,"well, hello",wav/1.wav,s1,0.25,0.75,"{""joy"": 2, ""calm"": 1}"')
    corpus = read(manifest(root), tmp_path)
    assert corpus.emotions == ("calm", "joy")
    assert corpus.labels.tolist() == [0, 1, 0, 1]
    assert corpus.utterances[1].text == "well, hello"
    assert (corpus.utterances[1].start, corpus.utterances[1].end) == (0.25, 0.75)
    by_votes = target_distributions(corpus.labels, corpus.votes, "votes")
    by_label = target_distributions(corpus.labels, corpus.votes, "label")
    np.testing.assert_allclose(by_votes[1], [1 / 3, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(by_votes[0], by_label[0])


def test_parquet_and_csv_hold_the_same_corpus(root: Path, tmp_path: Path):
    from_csv = read(manifest(root), tmp_path)
    rows = [
        {
            "utterance_id": u.utterance_id,
            "label": u.label,
            "text": u.text,
            "audio": u.audio,
            "speaker": u.speaker,
        }
        for u in from_csv.utterances
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / "other.parquet")
    from_parquet = read(manifest(root, manifest="other.parquet"), tmp_path)
    assert from_parquet.digest == from_csv.digest


def test_the_digest_changes_with_text_audio_and_labels(root: Path, tmp_path: Path):
    digests = {read(manifest(root), tmp_path).digest}
    set_row(root, 0, "u0,calm,goodbye,wav/0.wav,s0,,,")
    digests.add(read(manifest(root), tmp_path).digest)
    tone = 0.2 * np.sin(np.arange(16000))
    soundfile.write(root / "wav" / "0.wav", tone, 16000)
    digests.add(read(manifest(root), tmp_path).digest)
    set_row(root, 0, "u0,joy,goodbye,wav/0.wav,s0,,,")
    digests.add(read(manifest(root), tmp_path).digest)
    assert len(digests) == 4


@pytest.mark.parametrize(
    "row, message",
    [
        ("u1,joy,hello,wav/0.wav,s,,,", "manifest.csv:3: utterance_id 'u1' occurs twice"),
        (
            "u0,jjoy,hello,wav/0.wav,s,,,",
            "manifest.csv:2: unknown emotion 'jjoy' .did you mean 'joy'",
        ),
        ("u0,joy, ,wav/0.wav,s,,,", "manifest.csv:2: the text is empty"),
        ("u0,joy,hello,,s,,,", "manifest.csv:2: no audio path"),
        (
            "u0,joy,hello,wav/9.wav,s,,,",
            "manifest.csv:2: audio file 'wav/9.wav' does not exist: did you mean",
        ),
        ("u0,joy,hello,../../etc/passwd,s,,,", "manifest.csv:2: .*leaves the corpus root"),
        ("u0,joy,hello,wav/empty.wav,s,,,", "manifest.csv:2: .*has no samples"),
        ("u0,joy,hello,wav/broken.wav,s,,,", "manifest.csv:2: cannot decode audio"),
        ("u0,joy,hello,wav/nan.wav,s,,,", "manifest.csv:2: .*NaN"),
        ("u0,joy,hello,wav/0.wav,s,0.9,0.1,", "manifest.csv:2: .*is not a stretch"),
        ("u0,joy,hello,wav/0.wav,s,5,9,", "manifest.csv:2: .*is not a stretch"),
        ("u0,joy,hello,wav/0.wav,s,now,,", "manifest.csv:2: column 'start' holds 'now'"),
        ("u0,joy,hello,wav/0.wav,s,,,{}", "manifest.csv:2: column 'votes'"),
        ("u0,joy,hello", "manifest.csv:2: the row does not have 8 fields"),
        (",joy,hello,wav/0.wav,s,,,", "manifest.csv:2: utterance_id is empty"),
    ],
)
def test_a_bad_row_is_named_with_line_rule_and_remedy(
    root: Path, tmp_path: Path, row: str, message: str
):
    soundfile.write(root / "wav" / "empty.wav", np.zeros(0), 16000)
    (root / "wav" / "broken.wav").write_bytes(b"RIFF no")
    soundfile.write(root / "wav" / "nan.wav", np.full(100, np.nan), 16000, subtype="FLOAT")
    set_row(root, 0, row)
    with pytest.raises(CorpusError, match=message):
        read(manifest(root, emotions=("calm", "joy")), tmp_path)


def test_bad_rows_are_quarantined_when_the_config_allows_it(root: Path, tmp_path: Path):
    set_row(root, 0, "u0,calm,hello,wav/9.wav,s,,,")
    set_row(root, 3, "u3,jjoy,hello,wav/3.wav,s,,,")
    config = manifest(root, emotions=("calm", "joy"), skip_bad=True)
    corpus = read(config, tmp_path)
    assert [row.utterance_id for row in corpus.utterances] == ["u1", "u2"]
    assert [item.utterance_id for item in corpus.quarantine] == ["u0", "u3"]
    assert "does not exist" in corpus.quarantine[0].reason


@pytest.mark.parametrize(
    "change, message",
    [
        ({"emotions": ("calm", "joy", "rage")}, "'rage' has no utterance"),
        ({"emotions": ("calm", "calm")}, "two or more different"),
        ({"root": ""}, "set --corpus.root"),
        ({"root": "/nowhere"}, "is not a folder"),
        ({"manifest": "other.csv"}, "no other.csv in"),
    ],
)
def test_a_corpus_that_cannot_be_is_refused(root: Path, tmp_path: Path, change, message: str):
    with pytest.raises(CorpusError, match=message):
        read(replace(manifest(root), **change), tmp_path)


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "utterance_id,lable\nu,joy\n",
            "unknown column 'lable', and no column 'label': did you mean 'label'",
        ),
        ("utterance_id,text\nu,hello\n", "column 'label' is missing"),
        (HEADER + "\n", "holds no rows"),
        ("utterance_id,label\nu,\xff\n", "manifest.csv:2 is not UTF-8: byte 0xff"),
    ],
)
def test_a_bad_manifest_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "manifest.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(CorpusError, match=message):
        read(manifest(tmp_path), tmp_path)


def test_text_only_models_need_no_audio(root: Path, tmp_path: Path):
    set_row(root, 0, "u0,calm,hello,,s,,,")
    assert len(read(manifest(root), tmp_path, modalities=("text",))) == 4


def test_the_demo_is_the_same_corpus_for_the_same_seed(tmp_path: Path):
    config = CorpusConfig(demo=DemoConfig(utterances=120))
    first = read(config, tmp_path / "a")
    assert read(config, tmp_path / "b").digest == first.digest
    assert first.synthetic
    other = read(CorpusConfig(demo=DemoConfig(utterances=120, seed=8)), tmp_path / "a")
    assert other.digest != first.digest


def test_the_demo_is_built_like_a_small_iemocap(cache_root: Path):
    corpus = read(CorpusConfig(), cache_root)
    assert len(set(corpus.column("session"))) == 5
    assert len(set(corpus.column("speaker"))) == 10
    counts = np.bincount(corpus.labels)
    assert len(counts) == 6
    assert counts.max() > 3 * counts.min()
    votes = [row.votes for row in corpus.utterances]
    assert {sum(v.values()) for v in votes} == {3}
    ambiguous = np.mean([len(v) > 1 for v in votes])
    assert 0.15 < ambiguous < 0.5
    for row in corpus.utterances:
        assert row.label == max(sorted(row.votes), key=row.votes.get)
    by_dialogue: dict[str, list[int]] = {}
    for row in corpus.utterances:
        by_dialogue.setdefault(row.dialogue_id, []).append(row.turn)
    assert all(turns == list(range(len(turns))) for turns in by_dialogue.values())


def test_emodb_is_read_as_its_readme_counts_it(emodb_root: Path, tmp_path: Path):
    corpus = read(CorpusConfig(name="emodb", root=str(emodb_root)), tmp_path)
    counts = dict(zip(corpus.emotions, np.bincount(corpus.labels).tolist(), strict=True))
    assert counts == {
        "anger": 127, "boredom": 81, "disgust": 46, "fear": 69, "happiness": 71, "neutral": 79, "sadness": 62,
    }  # fmt: skip
    assert sorted(set(corpus.column("session"))) == ["03+08", "09+10", "11+12", "13+14", "15+16"]
    assert len(set(corpus.column("text"))) == 10


def test_votes_survive_the_manifest_as_json(cache_root: Path):
    corpus = read(CorpusConfig(), cache_root)
    line = (corpus.root / "manifest.csv").read_text().splitlines()[1]
    assert json.loads(line.split('"', 1)[1].rsplit('"', 1)[0].replace('""', '"'))


def test_audio_is_decoded_again_only_where_its_size_or_time_has_changed(root: Path, tmp_path: Path):
    cache, clip = tmp_path / "cache", root / "wav" / "0.wav"
    before = read(manifest(root), cache)
    state = clip.stat()
    soundfile.write(clip, 0.2 * np.cos(np.arange(16000) / 20), 16000)
    os.utime(clip, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert clip.stat().st_size == state.st_size
    assert read(manifest(root), cache).digest == before.digest  # nobody looked
    os.utime(clip)
    changed = read(manifest(root), cache)
    assert changed.audio_digests[0] != before.audio_digests[0]
    assert changed.audio_digests[1:] == before.audio_digests[1:]
    assert changed.audio_digests == read(manifest(root), tmp_path / "another").audio_digests
    (kept,) = (cache / "audio").iterdir()
    kept.write_text("{")  # damaged: everything is decoded again
    assert read(manifest(root), cache).audio_digests == changed.audio_digests


def test_another_stretch_of_the_same_file_has_another_digest(root: Path, tmp_path: Path):
    whole = read(manifest(root), tmp_path)
    set_row(root, 1, "u1,joy,hello,wav/1.wav,s1,0.25,0.75,")
    part = read(manifest(root), tmp_path)
    assert part.audio_digests[1] != whole.audio_digests[1]
    assert part.audio_digests[0] == whole.audio_digests[0]
