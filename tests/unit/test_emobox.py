"""EmoBox: its metadata and folds, of a made-up corpus and of the real ones at hand."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysys.corpus import CorpusConfig, read_corpus, read_raw
from raysys.corpus.audit import audit_folds
from raysys.corpus.emobox import EmoboxConfig
from raysys.corpus.folds import FoldsConfig
from raysys.corpus.table import Corpus
from raysys.errors import ConfigError, CorpusError
from raysys.storage import Folder
from raysys.tasks.classification import Classification
from tests.conftest import SHARED, folds_of

EMOTIONS = {"ang": "Angry", "exc": "Happy", "hap": "Happy"}
"""Of the made-up corpus: two codes are one emotion."""
OFFICIAL = FoldsConfig(method="official")


@pytest.fixture
def config(tmp_path: Path) -> CorpusConfig:
    """Twelve recordings of four speakers in three folds, whose speakers are in train and test alike."""
    keys = [
        f"toy-{speaker}_{emo}_{take}"
        for take in range(2)
        for speaker in ("A1", "B2", "C3")
        for emo in EMOTIONS
    ]
    downloads, folder = tmp_path / "downloads", tmp_path / "data/toy"
    (downloads / "toy/wav").mkdir(parents=True)
    random = np.random.default_rng(0)
    for key in keys:
        noise = random.normal(size=1600).astype(np.float32) / 10
        soundfile.write(downloads / wav(key), noise, 16000)
    folder.mkdir(parents=True)
    (folder / "label_map.json").write_text(json.dumps(EMOTIONS))
    for fold in range(3):
        test = [key for k, key in enumerate(keys) if (k + k // 3) % 3 == fold]
        write(folder, fold + 1, "test", test)
        write(folder, fold + 1, "train", [key for key in keys if key not in test])
    pattern = "toy-(?P<speaker>[A-Z]\\d)_"
    emobox = EmoboxConfig(metadata=str(tmp_path / "data"), dataset="toy", pattern=pattern)
    return CorpusConfig(name="emobox", root=str(downloads), emobox=emobox)


def wav(key: str) -> str:
    return f"toy/wav/{key.removeprefix('toy-')}.wav"


def write(folder: Path, fold: int, part: str, keys: list[str]) -> None:
    lines = [
        {"key": key, "dataset": "toy", "wav": f"downloads/{wav(key)}", "emo": key.split("_")[1]}
        | {"sample_rate": 16000, "length": 0.1}
        for key in keys
    ]
    (folder / f"fold_{fold}").mkdir(exist_ok=True)
    path = folder / f"fold_{fold}/toy_{part}_fold_{fold}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def read(config: CorpusConfig, tmp_path: Path) -> Corpus:
    cache = Folder(str(tmp_path / "cache"))
    return read_corpus(config, Classification, modalities=("audio",), cache=cache)


def test_folds_are_those_published_and_what_they_share_is_said(
    config: CorpusConfig, tmp_path: Path
):
    corpus = read(config, tmp_path)
    assert corpus.emotions == ("anger", "happiness")
    folds = folds_of(corpus, replace(OFFICIAL, groups="dialogue"))
    folder = tmp_path / "data/toy"
    for fold in folds:
        path = folder / f"fold_{fold.index + 1}/toy_test_fold_{fold.index + 1}.jsonl"
        wanted = {json.loads(line)["key"] for line in path.read_text().splitlines()}
        assert {corpus.utterances[k].utterance_id for k in fold.test} == wanted
        assert sum(len(rows) for rows in fold.parts().values()) == len(corpus)
    findings = audit_folds(corpus, folds, OFFICIAL, modalities=("audio",))
    told = {one.kind: one.message for one in findings}
    assert told["shared_speaker"].startswith("18 of 18 test utterances share their speaker")
    assert "3 published folds (EmoBox" in told["published_folds"]


def test_speakers_by_the_pattern_can_be_held_out(config: CorpusConfig, tmp_path: Path):
    corpus = read(config, tmp_path)
    assert set(corpus.column("speaker")) == {"A1", "B2", "C3"}
    config = replace(config, emobox=replace(config.emobox, folds=(2,)))
    [fold] = folds_of(read(config, tmp_path), OFFICIAL)
    speakers = np.array(corpus.column("speaker"))
    assert not set(speakers[fold.train]) & set(speakers[fold.val])
    honest = FoldsConfig(method="leave_one_group_out", groups="speaker")
    for fold in folds_of(corpus, honest):
        assert not set(speakers[fold.test]) & set(speakers[np.r_[fold.train, fold.val]])


def test_the_digest_knows_the_folds(config: CorpusConfig, tmp_path: Path):
    whole = read(config, tmp_path).digest
    assert read(config, tmp_path).digest == whole
    fewer = replace(config, emobox=replace(config.emobox, folds=(1, 2)))
    assert read(fewer, tmp_path).digest != whole


@pytest.mark.parametrize("above", ["", "downloads", "downloads/toy", "downloads/toy/wav"])
def test_recordings_are_found_from_every_folder_above_them(
    config: CorpusConfig, tmp_path: Path, above: str
):
    corpus = read(replace(config, root=str(tmp_path / above)), tmp_path)
    assert all((corpus.root / row.audio).is_file() for row in corpus.utterances)
    assert ("found_by_name" in {one.kind for one in corpus.findings}) == above.endswith("toy/wav")


Damage = Callable[[Path], object]
FOLD = "data/toy/fold_1/toy_train_fold_1.jsonl"


def append(line: str) -> Damage:
    def damage(home: Path) -> None:
        with (home / FOLD).open("a") as file:
            file.write(line)

    return damage


BROKEN: Mapping[str, tuple[Damage, str]] = {
    "no recording": (
        lambda home: (home / "downloads" / wav("toy-A1_exc_0")).unlink(),
        "'downloads/toy/wav/A1_exc_0.wav' does not exist",
    ),
    "two of a name": (
        lambda home: (
            [
                (home / "downloads" / folder).mkdir()
                or (home / "downloads" / folder / "A1_exc_0.wav").write_bytes(
                    (home / "downloads" / wav("toy-A1_exc_0")).read_bytes()
                )
                for folder in ("one", "two")
            ]
            and (home / "downloads" / wav("toy-A1_exc_0")).unlink()
        ),
        "one/A1_exc_0.wav and two/A1_exc_0.wav are both named A1_exc_0",
    ),
    "no JSON": (append("{key: 1}\n"), "toy_train_fold_1.jsonl:13 is no JSON object"),
    "no emotion": (append('{"key": "x", "wav": "x.wav"}\n'), "13 has no 'emo'"),
    "unknown emotion": (
        append('{"key": "x", "wav": "x.wav", "emo": "hapy"}\n'),
        "the emotion 'hapy' is not in label_map.json: did you mean 'hap'?",
    ),
    "in two parts": (
        append('{"key": "toy-A1_ang_0", "wav": "downloads/toy/wav/A1_ang_0.wav", "emo": "ang"}\n'),
        "'toy-A1_ang_0' stands at",
    ),
    "another emotion": (
        append('{"key": "toy-B2_ang_0", "wav": "downloads/toy/wav/B2_ang_0.wav", "emo": "hap"}\n'),
        "get both files from one version of EmoBox",
    ),
    "no train": (lambda home: (home / FOLD).unlink(), "get EmoBox' whole folder data"),
    "another root": (
        lambda home: [path.unlink() for path in (home / "downloads/toy/wav").iterdir()],
        "has none of its recordings, first 'downloads/toy/wav/",
    ),
    "no label map": (lambda home: (home / "data/toy/label_map.json").unlink(), "cannot read"),
    "no folds": (
        lambda home: [path.rename(home / path.name) for path in (home / "data/toy").glob("fold_*")],
        "holds no fold_1",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_the_metadata_is_said_in_one_line(
    config: CorpusConfig, tmp_path: Path, name: str
):
    damage, message = BROKEN[name]
    damage(tmp_path)
    with pytest.raises(CorpusError) as caught:
        read(config, tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_corpus_or_fold_is_answered_with_those_that_are_there(
    config: CorpusConfig, tmp_path: Path
):
    with pytest.raises(CorpusError, match="holds no corpus 'toi'.* did you mean 'toy'"):
        read(replace(config, emobox=replace(config.emobox, dataset="toi")), tmp_path)
    with pytest.raises(CorpusError, match="has no fold_7"):
        read(replace(config, emobox=replace(config.emobox, folds=(7,))), tmp_path)
    with pytest.raises(ConfigError, match=r"corpus\.emobox\.pattern"):
        EmoboxConfig(pattern="(?P<voice>x)")


REAL = {
    # corpus -> utterances, emotions, speakers, and of the test part those by speakers of train
    "urdu": (400, 4, 29, 98),
    "emodb": (535, 7, 10, 107),
    "ravdess": (1440, 8, 24, 0),
    "iemocap": (5531, 4, 10, 0),
}


@pytest.mark.parametrize("name", REAL)
def test_real_metadata_says_who_speaks(name: str, tmp_path: Path):
    metadata = SHARED / "data/emobox"
    if not metadata.is_dir():
        pytest.skip("the metadata of EmoBox is not here")
    emobox = EmoboxConfig(metadata=str(metadata), dataset=name)
    config = CorpusConfig(name="emobox", root=str(tmp_path), emobox=emobox)
    raw = read_raw(config, config, Folder(str(tmp_path)))
    utterances, emotions, speakers, shared = REAL[name]
    assert (len(raw.utterances), len(raw.emotions)) == (utterances, emotions)
    assert raw.official is not None
    division = raw.official.folds[0]
    of = {row.utterance_id: row.speaker for row in raw.utterances}
    assert len(set(of.values()) - {""}) == speakers
    learnt = {of[key] for key, part in division.items() if part != "test"}
    tested = [of[key] for key, part in division.items() if part == "test"]
    assert sum(speaker in learnt for speaker in tested) == shared
    assert not raw.facts or raw.facts.utterances == utterances
    assert len(raw.absent) == utterances


def test_urdu_is_read_with_its_recordings(tmp_path: Path):
    if not (SHARED / "data/urdu").is_dir():
        pytest.skip("the corpus URDU is not here")
    emobox = EmoboxConfig(metadata=str(SHARED / "data/emobox"), dataset="urdu")
    corpus = read(
        CorpusConfig(name="emobox", root=str(SHARED / "data/urdu"), emobox=emobox), tmp_path
    )
    [fold] = folds_of(corpus, OFFICIAL)
    assert [len(fold.test), len(fold.train) + len(fold.val)] == [100, 300]
    findings = audit_folds(corpus, (fold,), OFFICIAL, modalities=("audio",))
    [told] = [one.message for one in findings if one.kind == "shared_speaker"]
    assert told.startswith("98 of 100 test utterances share their speaker")
