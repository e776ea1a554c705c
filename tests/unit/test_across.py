"""Two corpora side by side: what serves as which part, under which names."""

from pathlib import Path
from typing import Any

import pytest

from raysys.corpus import CorpusConfig, read_corpus, read_raw
from raysys.corpus.across import AcrossConfig
from raysys.corpus.folds import FoldsConfig, make_folds
from raysys.corpus.table import Corpus
from raysys.errors import ConfigError, CorpusError
from raysys.storage import Folder
from raysys.tasks import TASKS

HEAD = "utterance_id,label,text,speaker,dialogue_id,split\n"


def write(root: Path, name: str, rows: list[str]) -> str:
    folder = root / name
    folder.mkdir()
    (folder / "manifest.csv").write_text(HEAD + "\n".join(rows) + "\n")
    return str(folder)


def across(root: Path, train: list[str], test: list[str], **more: Any) -> Corpus:
    settings = AcrossConfig(
        "manifest", write(root, "a", train), "", "manifest", write(root, "b", test), **more
    )
    config = CorpusConfig("across", across=settings)
    task = TASKS["emotion_embedding"]
    return read_corpus(config, task, modalities=("text",), cache=Folder(str(root / "cache")))


TRAIN = [f"u{k},{('joy', 'fear')[k % 2]},so {k},s{k % 3},d{k // 2}," for k in range(20)]
TEST = [f"u{k},{('anger', 'calm')[k % 2]},no {k},s1,d{k},{'test' if k > 2 else 'train'}" for k in range(8)]  # fmt: skip


def test_each_corpus_has_its_labels_its_part_and_its_names(tmp_path: Path):
    found = across(tmp_path, TRAIN, TEST)
    assert found.name == "manifest_train_to_manifest_test"
    assert [one.name for one in found.formats] == ["manifest_train", "manifest_test"]
    assert found.formats[1].variables == ("anger", "calm")
    ids = [row.utterance_id for row in found.utterances]
    assert len(set(ids)) == len(ids) == 25
    assert "manifest_train:u3" in ids and "u19" in ids  # prefixed only where both have it
    speakers = {row.speaker for row in found.utterances}
    assert {"manifest_train:s1", "manifest_test:s1"} <= speakers
    by_split: dict[str, list[Any]] = {}
    for row in found.utterances:
        by_split.setdefault(row.split, []).append(row)
    assert len(by_split["test"]) == 5  # the official test part of the other corpus
    assert all(row.values["manifest_test.anger"] in (0, 1) for row in by_split["test"])
    for row in (*by_split["train"], *by_split["val"]):
        assert row.values["manifest_test.anger"] != row.values["manifest_test.anger"]  # NaN
    dialogues = [{row.dialogue_id for row in by_split[part]} for part in ("train", "val")]
    assert not dialogues[0] & dialogues[1]
    assert len(dialogues[1]) == 2  # every fifth of ten


def test_groups_divide_train_and_val(tmp_path: Path):
    found = across(tmp_path, TRAIN, TEST, groups="speaker")
    val = {row.speaker for row in found.utterances if row.split == "val"}
    assert val == {"manifest_train:s0"}


def test_no_other_division_is_taken(tmp_path: Path):
    found = across(tmp_path, TRAIN, TEST)
    task = TASKS["emotion_embedding"].of(found)
    folds = make_folds(found, task.strata(found), FoldsConfig(method="official", groups="dialogue"))
    assert [len(rows) for rows in folds[0].parts().values()] == [16, 4, 5]
    with pytest.raises(CorpusError, match="set --folds.method official"):
        make_folds(found, task.strata(found), FoldsConfig(groups="dialogue"))


def test_what_is_wrong_with_one_of_them_is_said(tmp_path: Path):
    with pytest.raises(CorpusError, match="manifest.csv:2: unknown emotion ''"):
        across(tmp_path, ["u0,,so,s,d,", *TRAIN[1:]], TEST)
    with pytest.raises(CorpusError, match="cannot be divided into train and val by speaker"):
        other = tmp_path / "other"
        other.mkdir()
        across(
            other,
            [row.replace("s1", "s0").replace("s2", "s0") for row in TRAIN],
            TEST,
            groups="speaker",
        )
    with pytest.raises(ConfigError, match="corpus.across.train is 'across'"):
        AcrossConfig("across").source("train", CorpusConfig("across"))


def test_common_emotions_are_classes_and_others_are_left_out(tmp_path: Path):
    names = ("joy", "fear", "calm")
    train = [f"u{k},{names[k % 3]},so {k},s{k % 5},d{k}," for k in range(30)]
    test = [f"v{k},{('fear', 'joy', 'pride')[k % 3]},no {k},t1,e{k}," for k in range(9)]
    settings = AcrossConfig(
        "manifest",
        write(tmp_path, "a", train),
        test="manifest",
        test_root=write(tmp_path, "b", test),
        common=True,
        groups="speaker",
    )
    config = CorpusConfig("across", across=settings)
    cache = Folder(str(tmp_path / "cache"))
    found = read_corpus(config, TASKS["classification"], modalities=("text",), cache=cache)
    assert found.emotions == ("fear", "joy")
    told = [one.message for one in found.findings if one.kind == "common_classes"]
    assert told == ["13 utterances have other emotions than both corpora, and are left out"]
    folds = make_folds(found, found.labels, FoldsConfig(method="official"))
    [fold] = folds
    assert {found.utterances[k].split for k in fold.test} == {"test"}
    assert all(found.utterances[k].text.startswith("no") for k in fold.test)
    assert len(fold.test) == 6
    lonely = [f"v{k},pride,no {k},t1,e{k}," for k in range(4)]
    (tmp_path / "b/manifest.csv").write_text(HEAD + "\n".join(lonely) + "\n")
    with pytest.raises(CorpusError, match="have 0 emotions in common"):
        read_corpus(config, TASKS["classification"], modalities=("text",), cache=cache)


def test_recipes_are_named_for_each_side(tmp_path: Path):
    for corpus, files in {
        "nemo": ["AA1_anger_1", "AA1_sadness_2", "BB2_anger_1", "BB2_sadness_2"],
        "urdu": ["SM1_F1_A01", "SM1_F1_S01"],
    }.items():
        (tmp_path / corpus).mkdir()
        for name in files:
            (tmp_path / corpus / f"{name}.wav").touch()
    settings = AcrossConfig(
        "recipe",
        str(tmp_path / "nemo"),
        test="recipe",
        test_root=str(tmp_path / "urdu"),
        train_recipe="nemo",
        test_recipe="urdu",
        common=True,
        groups="speaker",
    )
    config = CorpusConfig("across", across=settings)
    raw = read_raw(config, config, Folder(str(tmp_path / "cache")))
    assert raw.name == "nemo_to_urdu"
    assert [row.split for row in raw.utterances] == ["val", "val", "train", "train", "test", "test"]
