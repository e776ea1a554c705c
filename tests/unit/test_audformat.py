"""Databases that audformat itself has written, and one that audb fetches."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import audb
import audformat
import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from raysys.corpus import CorpusConfig, read_corpus
from raysys.corpus.audformat import AudformatConfig
from raysys.corpus.folds import FoldsConfig
from raysys.corpus.table import Corpus
from raysys.errors import CorpusError
from raysys.storage import Folder
from raysys.tasks.classification import Classification
from tests.conftest import folds_of

EMOTIONS = ("anger", "joy", "sadness")
SPEAKERS = ("s1", "s2", "s3")


def database(folder: Path) -> audformat.Database:
    """Nine files of three speakers, each with two stretches; labels of the last are missing."""
    files = [f"audio/{speaker}_{k}.wav" for speaker in SPEAKERS for k in range(3)]
    random = np.random.default_rng(0)
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, random.normal(size=32000) / 20, 16000)
    base = audformat.Database("toy", usage="research", license="CC-BY-4.0")
    base.schemes["emotion"] = audformat.Scheme(labels=list(EMOTIONS))
    base.schemes["arousal"] = audformat.Scheme("float", minimum=0, maximum=1)
    base.schemes["gender"] = audformat.Scheme(labels=["female", "male"])
    base.schemes["age"] = audformat.Scheme("int")
    index = pd.Index(list(SPEAKERS), name="speaker", dtype="string")
    base["speaker"] = audformat.MiscTable(index)
    for column, values in {"gender": ["female", "male", "female"], "age": [20, None, 50]}.items():
        base["speaker"][column] = audformat.Column(scheme_id=column)
        base["speaker"][column].set(values)
    base.schemes["speaker"] = audformat.Scheme("str", labels="speaker")
    base["files"] = audformat.Table(audformat.filewise_index(files))
    base["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    base["files"]["speaker"].set([speaker for speaker in SPEAKERS for _ in range(3)])
    for part, own in (("train", files[:6]), ("test", files[6:])):
        base.splits[part] = audformat.Split(part)
        stretches = audformat.segmented_index(
            [name for name in own for _ in range(2)],
            starts=["0s", "1s"] * len(own),
            ends=["1s", pd.NaT] * len(own),
        )
        table = base[f"emotion.{part}"] = audformat.Table(stretches, split_id=part)
        table["emotion"] = audformat.Column(scheme_id="emotion")
        labels: list[Any] = [EMOTIONS[k % 3] for k in range(len(stretches))]
        table["emotion"].set([*labels[:-1], None if part == "test" else labels[-1]])
        table["arousal"] = audformat.Column(scheme_id="arousal")
        table["arousal"].set(np.linspace(0, 1, len(stretches)))
    return base


TABLES = ("emotion.train", "emotion.test")


def read(root: Path | str, cache: Path, **settings: Any) -> Corpus:
    own = AudformatConfig(**{"table": TABLES, **settings})
    config = CorpusConfig(name="audformat", root=str(root), audformat=own)
    folder = Folder(str(cache))
    return read_corpus(config, Classification, modalities=("audio",), cache=folder)


def check(corpus: Corpus) -> None:
    assert (corpus.name, corpus.emotions) == ("toy", EMOTIONS)
    assert len(corpus) == 17
    told = {one.kind: one.message for one in corpus.findings}
    assert told["unlabelled"].startswith("1 rows of emotion.train, emotion.test have no label")
    assert told["licence"] == "licence of toy: CC-BY-4.0"
    first, second = corpus.utterances[:2]
    assert (first.start, first.end, first.speaker, first.split) == (None, 1.0, "s1", "train")
    assert (second.start, second.end) == (1.0, None)
    assert first.metadata is not None
    assert first.metadata["gender"] == "female"
    assert first.metadata["age"] in ("20", "20.0")
    assert len(set(corpus.audio_digests)) == 17
    [fold] = folds_of(corpus, FoldsConfig(method="official"))
    assert [len(rows) for rows in fold.parts().values()] == [6, 6, 5]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_database_of_audformat_is_a_corpus(form: str, tmp_path: Path):
    database(tmp_path / "db").save(str(tmp_path / "db"), storage_format=form)
    check(read(tmp_path / "db", tmp_path / "cache"))


def test_pickles_beside_the_tables_are_never_opened(tmp_path: Path):
    root = tmp_path / "db"
    database(root).save(str(root))
    for path in root.glob("*.parquet"):
        path.with_suffix(".pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    check(read(root, tmp_path / "cache"))
    (root / "db.files.parquet").unlink()
    with pytest.raises(CorpusError, match="there is only a pickle"):
        read(root, tmp_path / "cache")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:audb")  # audb speaks to pandas as of old
@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_audb_fetches_a_database_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, host = tmp_path / "db", tmp_path / "host"
    database(root).save(str(root))
    (host / "repo").mkdir(parents=True)
    repository = audb.Repository("repo", str(host), "file-system")
    monkeypatch.setattr(audb.config, "REPOSITORIES", [repository])
    monkeypatch.setenv("AUDB_CACHE_ROOT", str(tmp_path / "audb"))
    audb.publish(str(root), "1.0.0", repository, verbose=False)
    check(read("", tmp_path / "cache", audb="toy"))
    with pytest.raises(CorpusError, match="audb cannot load 'toi'"):
        read("", tmp_path / "cache", audb="toi")


def header(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        content = yaml.safe_load((root / "db.yaml").read_text())
        change(content)
        (root / "db.yaml").write_text(yaml.safe_dump(content))

    return damage


BAD: Mapping[str, tuple[Callable[[Path], object], Mapping[str, Any], str]] = {
    "a slip": (lambda root: None, {"table": ("emotoin.train",)}, "no table 'emotoin.train'"),
    "several tables": (lambda root: None, {"table": ()}, "set --corpus.audformat.table"),
    "no header": (lambda root: (root / "db.yaml").unlink(), {}, "holds no db.yaml"),
    "half a header": (
        lambda root: (root / "db.yaml").write_text("tables: {a: [\n"),
        {},
        "cannot read",
    ),
    "no table": (lambda root: (root / "db.emotion.test.parquet").unlink(), {}, "missing"),
    "an unknown scheme": (
        header(lambda one: one["schemes"].pop("emotion")),
        {},
        "column 'emotion' of table 'emotion.train' has the scheme 'emotion', which is not there",
    ),
    "an unknown label": (
        header(lambda one: one["schemes"]["emotion"].update(labels=["anger", "joy"])),
        {},
        "holds 'sadness', which its scheme does not know",
    ),
    "a segmented table to join": (
        lambda root: None,
        {"joined": ("emotion.test",)},
        "corpus.audformat.joined takes filewise ones",
    ),
    "no audio": (lambda root: (root / "audio/s1_0.wav").unlink(), {}, "s1_0.wav' does not exist"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_said_in_one_line(name: str, tmp_path: Path):
    damage, settings, message = BAD[name]
    database(tmp_path / "db").save(str(tmp_path / "db"))
    damage(tmp_path / "db")
    with pytest.raises(CorpusError) as caught:
        read(tmp_path / "db", tmp_path / "cache", **settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_are_targets_and_columns_can_be_named(tmp_path: Path):
    database(tmp_path / "db").save(str(tmp_path / "db"))
    own = AudformatConfig(table=TABLES)
    config = CorpusConfig(
        name="audformat", root=str(tmp_path / "db"), audformat=own, columns={"label": "emotoin"}
    )
    with pytest.raises(CorpusError, match=r"no column 'emotoin' \(corpus\.columns: label\)"):
        read_corpus(
            config, Classification, modalities=("audio",), cache=Folder(str(tmp_path / "cache"))
        )


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_codes_are_decoded_by_the_scheme_of_their_own_table(form: str, tmp_path: Path):
    """Two tables call a column alike and mean other things by its numbers; speakers are numbers, too."""
    root = tmp_path / "db"
    files = [f"audio/{k}.wav" for k in range(6)]
    database(root)
    for name in files:
        soundfile.write(root / name, np.random.default_rng(1).normal(size=1600) / 20, 16000)
    base = audformat.Database("codes", usage="research")
    base.schemes["other"] = audformat.Scheme("int", labels={0: "anger", 1: "joy", 2: "sadness"})
    base.schemes["gold"] = audformat.Scheme("int", labels={0: "sadness", 1: "anger", 2: "joy"})
    people = {1: {"gender": "female"}, 2: {"gender": "male"}}
    base.schemes["speaker"] = audformat.Scheme("int", labels=people)
    base.schemes["day"] = audformat.Scheme("date")
    for table in ("categories", "gold"):
        base[table] = audformat.Table(audformat.segmented_index(files))
        scheme = "other" if table == "categories" else "gold"
        base[table]["emotion"] = audformat.Column(scheme_id=scheme)
        base[table]["emotion"].set([0, 1, 2, 0, 1, 2])
    base["files"] = audformat.Table(audformat.filewise_index(files))
    base["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    base["files"]["speaker"].set([1, 1, 1, 2, 2, 2])
    base["files"]["day"] = audformat.Column(scheme_id="day")
    base["files"]["day"].set(pd.to_datetime(["2024-01-02"] * 6))
    base.save(str(root), storage_format=form)
    corpus = read(root, tmp_path / "cache", table=("gold",))
    assert [row.label for row in corpus.utterances[:3]] == ["sadness", "anger", "joy"]
    assert [row.speaker for row in corpus.utterances] == ["1", "1", "1", "2", "2", "2"]
    told = corpus.utterances[5].metadata or {}
    assert told["gender"] == "male"
    assert told["day"].startswith("2024-01-02")
