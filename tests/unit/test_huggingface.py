"""Datasets in Hugging Face's layouts: the same corpus, whichever layout it is in."""

import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from raysys.corpus import CorpusConfig, read_corpus
from raysys.corpus.folds import FoldsConfig
from raysys.corpus.huggingface import HuggingfaceConfig
from raysys.corpus.table import Corpus
from raysys.encoders import FeaturesConfig
from raysys.encoders.extraction import encode_rows
from raysys.errors import CorpusError
from raysys.storage import Folder
from raysys.tasks.classification import Classification
from tests.conftest import folds_of

EMOTIONS = ("angry", "calm", "sad")
PARTS = {"train": 12, "validation": 6, "test": 6}
COLUMNS = {"label": "emotion", "speaker": "speaker_id", "text": "transcription"}


def recording(number: int, kind: str) -> bytes:
    random = np.random.default_rng(number)
    samples = random.normal(size=3200 + 160 * number).astype(np.float32) / 10
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format=kind)
    return file.getvalue()


Row = dict[str, Any]


def rows() -> dict[str, list[Row]]:
    """Split -> rows; every other recording is FLAC."""
    found: dict[str, list[Row]] = {}
    number = 0
    for split, count in PARTS.items():
        for k in range(count):
            kind = "flac" if number % 2 else "wav"
            found.setdefault(split, []).append(
                {
                    "audio": {"bytes": recording(number, kind), "path": f"r{number}.{kind}"},
                    "emotion": k % 3,
                    "speaker_id": f"{split}{k % 2}",
                    "transcription": f"sentence {number}",
                }
            )
            number += 1
    return found


FEATURES = datasets.Features(
    {
        "audio": datasets.Audio(sampling_rate=16000, decode=False),
        "emotion": datasets.ClassLabel(names=list(EMOTIONS)),
        "speaker_id": datasets.Value("string"),
        "transcription": datasets.Value("string"),
    }
)


def as_dataset() -> datasets.DatasetDict:
    return datasets.DatasetDict(
        {
            split: datasets.Dataset(pyarrow.Table.from_pylist(found, schema=FEATURES.arrow_schema))
            for split, found in rows().items()
        }
    )


def as_files(folder: Path) -> list[tuple[str, Row]]:
    """The recordings as files, and what a metadata file says of each."""
    said = []
    for split, found in rows().items():
        (folder / split).mkdir(parents=True)
        for row in found:
            (folder / split / row["audio"]["path"]).write_bytes(row["audio"]["bytes"])
            cells = {k: v for k, v in row.items() if k != "audio"}
            cells["emotion"] = EMOTIONS[row["emotion"]]
            said.append((split, {"file_name": row["audio"]["path"], **cells}))
    return said


def parquet_on_the_hub(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    for split, found in as_dataset().items():
        found.to_parquet(str(folder / f"data/{split}-00000-of-00001.parquet"))


def parquet_by_the_card(folder: Path) -> None:
    folder.mkdir()
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    for k, (split, found) in enumerate(as_dataset().items()):
        found.to_parquet(str(folder / f"part{k}.parquet"), batch_size=4)
        card += f"  - split: {split}\n    path: part{k}.parquet\n"
    (folder / "README.md").write_text(card + "---\n# Card\n")


def saved(folder: Path) -> None:
    as_dataset().save_to_disk(str(folder))


def audiofolder_csv(folder: Path) -> None:
    said = as_files(folder)
    lines = ["file_name,emotion,speaker_id,transcription"]
    lines += [f"{split}/{','.join(map(str, cells.values()))}" for split, cells in said]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    for split in PARTS:
        own = [f"{','.join(map(str, cells.values()))}" for one, cells in said if one == split]
        (folder / split / "metadata.csv").write_text("\n".join([lines[0], *own]) + "\n")
    (folder / "metadata.csv").unlink()


def audiofolder_jsonl(folder: Path) -> None:
    said = as_files(folder)
    for split in PARTS:
        own = [json.dumps(cells) for one, cells in said if one == split]
        (folder / split / "metadata.jsonl").write_text("\n".join(own) + "\n")


def parquet_of_plain_bytes(folder: Path) -> None:
    folder.mkdir()
    for split, found in rows().items():
        cells = [
            {**r, "audio": r["audio"]["bytes"], "emotion": EMOTIONS[r["emotion"]]} for r in found
        ]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(cells), folder / f"{split}.parquet")


LAYOUTS: Mapping[str, Callable[[Path], None]] = {
    "Parquet on the hub": parquet_on_the_hub,
    "Parquet by the card": parquet_by_the_card,
    "saved": saved,
    "metadata.csv": audiofolder_csv,
    "metadata.jsonl": audiofolder_jsonl,
    "Parquet of plain bytes": parquet_of_plain_bytes,
}


def read(root: Path, cache: Path, columns: Mapping[str, str] | None = None, **more: Any) -> Corpus:
    config = CorpusConfig(
        name="huggingface", root=str(root), columns=COLUMNS if columns is None else columns, **more
    )
    folder = Folder(str(cache))
    return read_corpus(config, Classification, modalities=("audio", "text"), cache=folder)


def facts(corpus: Corpus) -> list[tuple[str, ...]]:
    return sorted(
        (row.text, row.label, row.speaker, row.split, digest)
        for row, digest in zip(corpus.utterances, corpus.audio_digests, strict=True)
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    home = tmp_path_factory.mktemp("files")
    audiofolder_jsonl(home / "corpus")
    return read(home / "corpus", home / "cache")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_corpus(layout: str, files: Corpus, tmp_path: Path):
    LAYOUTS[layout](tmp_path / "corpus")
    corpus = read(tmp_path / "corpus", tmp_path / "cache")
    assert corpus.emotions == EMOTIONS
    assert facts(corpus) == facts(files)
    [fold] = folds_of(corpus, FoldsConfig(method="official"))
    assert {part: len(rows) for part, rows in fold.parts().items()} == {
        "train": 12,
        "val": 6,
        "test": 6,
    }


@pytest.mark.parametrize("layout", ["Parquet on the hub", "saved"])
@pytest.mark.parametrize("encoder", ["logmel"])
def test_recordings_in_a_table_give_the_features_of_files_to_the_bit(
    layout: str, encoder: str, files: Corpus, tmp_path: Path
):
    LAYOUTS[layout](tmp_path / "corpus")
    corpus = read(tmp_path / "corpus", tmp_path / "cache")
    built = FeaturesConfig(audio=encoder).build("audio")
    features = [
        {
            row.text: frames.tobytes()
            for row, frames in zip(
                one.utterances, encode_rows(built, one.utterances, one.root), strict=True
            )
        }
        for one in (corpus, files)
    ]
    assert features[0] == features[1]
    written = [
        path for path in (tmp_path / "corpus").rglob("*") if path.suffix in (".wav", ".flac")
    ]
    assert not written


def test_folders_named_like_emotions_are_a_corpus(tmp_path: Path):
    for k, emotion in enumerate(EMOTIONS * 2):
        folder = tmp_path / "corpus/train" / emotion
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"r{k}.wav").write_bytes(recording(k, "wav"))
    config = CorpusConfig(name="huggingface", root=str(tmp_path / "corpus"))
    corpus = read_corpus(
        config, Classification, modalities=("audio",), cache=Folder(str(tmp_path / "cache"))
    )
    assert corpus.emotions == EMOTIONS
    assert [row.split for row in corpus.utterances] == ["train"] * 6


def test_val_is_taken_from_train_where_there_is_none(tmp_path: Path):
    parquet_on_the_hub(tmp_path / "corpus")
    (tmp_path / "corpus/data/validation-00000-of-00001.parquet").unlink()
    corpus = read(tmp_path / "corpus", tmp_path / "cache")
    [fold] = folds_of(corpus, FoldsConfig(method="official"))
    assert len(fold.test) == 6
    speakers = np.array(corpus.column("speaker"))
    assert set(speakers[fold.val]) | set(speakers[fold.train]) == {"train0", "train1"}
    assert not set(speakers[fold.val]) & set(speakers[fold.train])


def test_a_name_on_the_hub_is_read_from_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Corpus
):
    home = tmp_path / "hub"
    snapshot = home / "datasets--me--emotions/snapshots/0123"
    parquet_on_the_hub(tmp_path / "made")
    shutil.copytree(tmp_path / "made", snapshot)
    (home / "datasets--me--emotions/refs").mkdir()
    (home / "datasets--me--emotions/refs/main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub = HuggingfaceConfig(hub="me/emotions")
    config = CorpusConfig(name="huggingface", columns=COLUMNS, huggingface=hub)
    modalities = ("audio", "text")
    cache = Folder(str(tmp_path / "cache"))
    corpus = read_corpus(config, Classification, modalities=modalities, cache=cache)
    assert corpus.name == "me/emotions"
    assert facts(corpus) == facts(files)
    absent = replace(config, huggingface=HuggingfaceConfig(hub="me/nothing"))
    with pytest.raises(CorpusError, match=r"cannot fetch the dataset 'me/nothing' \(corpus\.hugg"):
        read_corpus(absent, Classification, modalities=modalities, cache=cache)


def tables(folder: Path) -> Sequence[Path]:
    return sorted(folder.rglob("*.parquet"))


def without_bytes(folder: Path) -> None:
    parquet_on_the_hub(folder)
    for path in tables(folder):
        table = pyarrow.parquet.read_table(path)
        cells = [{**one, "bytes": None} for one in table.column("audio").to_pylist()]
        column = pyarrow.array(cells, type=table.schema.field("audio").type)
        place = table.schema.get_field_index("audio")
        pyarrow.parquet.write_table(table.set_column(place, "audio", column), path)


def unknown_class(folder: Path) -> None:
    parquet_on_the_hub(folder)
    path = tables(folder)[0]
    table = pyarrow.parquet.read_table(path)
    column = pyarrow.array([7] * len(table), type=pyarrow.int64())
    place = table.schema.get_field_index("emotion")
    field = table.schema.field("emotion")
    pyarrow.parquet.write_table(table.set_column(place, field, column), path)


def damaged(folder: Path) -> None:
    parquet_on_the_hub(folder)
    path = tables(folder)[0]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def cut_recording(folder: Path) -> None:
    folder.mkdir()
    cells = [
        {"audio": {"bytes": recording(0, "wav")[:2000], "path": "a.wav"}, "emotion": emotion}
        | {"speaker_id": "a", "transcription": "one"}
        for emotion in EMOTIONS
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(cells), folder / "train.parquet")


BAD: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "no bytes": (without_bytes, "row 0: the recording has no bytes, and its file 'r18.wav'"),
    "an unknown class": (unknown_class, "column 'emotion' has the class 7, but names 3"),
    "half a table": (damaged, "is not Parquet"),
    "half a recording": (cut_recording, "is cut short"),
    "nothing": (lambda folder: folder.mkdir(), "has no layout of Hugging Face's datasets"),
    "a shard that is gone": (
        lambda folder: [saved(folder), next((folder / "train").glob("*.arrow")).unlink()],
        "which is not there",
    ),
    "a file that is gone": (
        lambda folder: [audiofolder_jsonl(folder), (folder / "train/r3.flac").unlink()],
        "r3.flac' does not exist",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_said_in_one_line(name: str, tmp_path: Path):
    damage, message = BAD[name]
    damage(tmp_path / "corpus")
    with pytest.raises(CorpusError) as caught:
        read(tmp_path / "corpus", tmp_path / "cache")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path):
    parquet_on_the_hub(tmp_path / "corpus")
    with pytest.raises(CorpusError, match=r"column 'label' is missing; there are audio, emotion"):
        read(tmp_path / "corpus", tmp_path / "cache", columns={"speaker": "speaker_id"})
    wrong = {**COLUMNS, "speaker": "speaker"}
    with pytest.raises(CorpusError, match=r"no column 'speaker' .*did you mean 'speaker_id'"):
        read(tmp_path / "corpus", tmp_path / "cache", columns=wrong)


def test_a_file_name_is_meant_beside_its_metadata(tmp_path: Path):
    root = tmp_path / "corpus"
    for folder, number in (("audio", 7), ("train/audio", 1)):
        (root / folder).mkdir(parents=True)
        for k, _ in enumerate(EMOTIONS):
            (root / folder / f"{k}.wav").write_bytes(recording(number + k, "wav"))
    lines = [f"audio/{k}.wav,{emotion}" for k, emotion in enumerate(EMOTIONS)]
    (root / "train/metadata.csv").write_text("\n".join(["file_name,emotion", *lines]) + "\n")
    config = CorpusConfig(name="huggingface", root=str(root), columns={"label": "emotion"})
    cache = Folder(str(tmp_path / "cache"))
    corpus = read_corpus(config, Classification, modalities=("audio",), cache=cache)
    assert [row.audio for row in corpus.utterances] == [f"train/audio/{k}.wav" for k in range(3)]
    told = {one.kind: one.message for one in corpus.findings}
    assert told["not_in_metadata"].startswith("3 recordings are in no metadata file")


def test_text_alone_needs_neither_audio_nor_names(tmp_path: Path):
    (tmp_path / "corpus").mkdir()
    cells = [{"text": f"so {k}", "label": EMOTIONS[k % 3], "split": "validation"} for k in range(6)]
    table = pyarrow.Table.from_pylist(cells)
    pyarrow.parquet.write_table(table, tmp_path / "corpus/all.parquet")
    config = CorpusConfig(name="huggingface", root=str(tmp_path / "corpus"))
    cache = Folder(str(tmp_path / "cache"))
    corpus = read_corpus(config, Classification, modalities=("text",), cache=cache)
    assert len({row.utterance_id for row in corpus.utterances}) == 6
    assert {row.split for row in corpus.utterances} == {"val"}


CARD = "---\nconfigs:\n- config_name: en\n  {en}\n- config_name: de\n  {de}\n---\n"
SEVERAL = {
    "folders": ("data_dir: en", "data_dir: de"),
    "patterns": ("data_files: en/*.parquet", "data_files:\n  - {split: test, path: de/*.parquet}"),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_of_several_configurations_one_is_chosen(kind: str, tmp_path: Path):
    root = tmp_path / "corpus"
    for folder in ("en", "de"):
        parquet_of_plain_bytes(tmp_path / folder)
        (root / folder).mkdir(parents=True)
        shutil.copy(tmp_path / folder / "train.parquet", root / folder)
    merged = read(root, tmp_path / "cache")
    assert "several_folders" in {one.kind for one in merged.findings}
    assert len(merged) == 2 * PARTS["train"]
    en, de = SEVERAL[kind]
    (root / "README.md").write_text("\ufeff" + CARD.replace("{en}", en).replace("{de}", de))
    with pytest.raises(CorpusError, match=r"names en, de: set --corpus\.huggingface\.subset"):
        read(root, tmp_path / "cache")
    chosen = read(root, tmp_path / "cache", huggingface=HuggingfaceConfig(subset="de"))
    assert len(chosen) == PARTS["train"]
    assert {row.audio.split("/")[-2] for row in chosen.utterances} == {"de"}
    with pytest.raises(CorpusError, match=r"has no 'fr' \(corpus\.huggingface\.subset\)"):
        read(root, tmp_path / "cache", huggingface=HuggingfaceConfig(subset="fr"))


@pytest.mark.parametrize(
    "files, message",
    [
        ("data_files: nothing-*", "name no table"),
        ("data_files: /etc/*", "leaves the folder"),
        ("data_files: [{split: train}]", "give split and path"),
    ],
)
def test_a_card_that_cannot_be_followed_is_named(files: str, message: str, tmp_path: Path):
    parquet_of_plain_bytes(tmp_path / "corpus")
    card = f"---\nconfigs:\n- config_name: default\n  {files}\n---\n"
    (tmp_path / "corpus/README.md").write_text(card)
    with pytest.raises(CorpusError, match=message):
        read(tmp_path / "corpus", tmp_path / "cache")


def test_a_shard_that_is_missing_is_not_passed_over(tmp_path: Path):
    parquet_on_the_hub(tmp_path / "corpus")
    data = tmp_path / "corpus/data"
    (data / "train-00000-of-00001.parquet").rename(data / "train-00000-of-00002.parquet")
    with pytest.raises(CorpusError, match="holds 1 of 2 files of train"):
        read(tmp_path / "corpus", tmp_path / "cache")
