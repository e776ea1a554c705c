"""Tables of ratings: what is read, and what is refused in one line."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysys.corpus import CorpusConfig, read_corpus
from raysys.corpus.formats import FORMATS, Format, equivalents
from raysys.corpus.ratings import OwnFormat, RatingsConfig, RatingsTable
from raysys.corpus.table import Corpus
from raysys.errors import ConfigError, CorpusError, RaysysError
from raysys.storage import Folder
from raysys.tasks import TASKS

WORDS = "word,valence,arousal,dominance\nsun,9,5,1\nrain,1,5,9\nwar,2,8,5\npeace,8,2,6\n"
NRC = {"sun": ["joy"], "rain": [], "war": ["fear", "anger", "negative"], "moon": ["trust"]}
TABLES = {
    "vad": RatingsTable(file="words.csv", item="word"),
    "plutchik8": RatingsTable(file="nrc.json", ignored=("negative",)),
}


def corpus(root: Path, tables: Any = TABLES, *, task: str = "label_mapping", **more: Any) -> Corpus:
    (root / "words.csv").write_text(more.pop("words", WORDS))
    nrc = json.dumps(more.pop("nrc", NRC))
    (root / "nrc.json").write_text(more.pop("nrc_text", nrc))
    for name, text in more.pop("files", {}).items():
        (root / name).write_text(text)
    config = CorpusConfig(name="ratings", root=str(root), ratings=RatingsConfig(tables, **more))
    return read_corpus(config, TASKS[task], modalities=(), cache=Folder(str(root / "cache")))


def test_items_of_several_tables_are_one_with_ratings_in_0_to_1(tmp_path: Path):
    found = corpus(tmp_path)
    rows = {row.utterance_id: row for row in found.utterances}
    assert list(rows) == ["sun", "rain", "war", "peace", "moon"]
    assert found.targets[:4] == ("vad.valence", "vad.arousal", "vad.dominance", "plutchik8.anger")
    assert rows["sun"].values["vad.valence"] == 1
    assert rows["sun"].values["vad.arousal"] == 0.5
    assert rows["rain"].values["plutchik8.joy"] == 0  # asked, and not there
    assert rows["war"].values["plutchik8.fear"] == 1
    assert math.isnan(rows["peace"].values["plutchik8.joy"])  # not asked
    assert np.isnan(found.ratings[4, :3]).all()
    assert rows["sun"].text == "sun"


def test_a_table_s_own_range_columns_text_and_split_are_used(tmp_path: Path):
    table = RatingsTable(
        file="bank.csv",
        item="id",
        text="text",
        split="split",
        columns={"valence": "V", "arousal": "A"},
        low=1.0,
        high=5.0,
    )
    text = 'id,split,V,A,text\n1,train,3,5,"so, it is"\n2,dev,1,1,no\n'
    tables = {"va": table}
    found = corpus(tmp_path, tables, task="emotion_embedding", files={"bank.csv": text})
    first, second = found.utterances
    assert (first.text, first.split, second.split) == ("so, it is", "train", "val")
    assert first.values == {"va.valence": 0.5, "va.arousal": 1.0}


def test_a_format_of_one_s_own_and_a_categorical_one(tmp_path: Path):
    formats = {
        "mood": OwnFormat(("up", "down"), low=0.0, high=100.0),
        "kind": OwnFormat(("good", "bad"), kind="categorical"),
    }
    tables = {
        "mood": RatingsTable(file="mood.tsv"),
        "kind": RatingsTable(file="kind.csv", columns={"label": "what"}),
    }
    files = {
        "mood.tsv": "item\tup\tdown\na\t25\t100\nb\t0\t1\nc\t3\t3\n",
        "kind.csv": "item,what\na,bad\nb,good\nc,bad\n",
    }
    found = corpus(tmp_path, tables, formats=formats, files=files)
    assert found.utterances[0].values == {
        "mood.up": 0.25,
        "mood.down": 1.0,
        "kind.good": 0.0,
        "kind.bad": 1.0,
    }
    assert [one.kind for one in found.formats] == ["numeric", "categorical"]


BAD = [
    ({"words": WORDS + "sky,9.5,5,5\n"}, "words.csv:6: valence is '9.5', but vad takes a number in 1 to 9"),
    ({"words": WORDS + "sky,nan,5,5\n"}, "valence is 'nan'"),
    ({"words": WORDS + "sky,,5,5\n"}, "valence is ''"),
    ({"words": WORDS + "sun,8,5,1\n"}, "'sun' is rated twice in vad, and not alike"),
    ({"nrc": {**NRC, "sea": ["awe"]}}, "'awe' is none of plutchik8 .* 'ignored'"),
    ({"nrc": {"a": ["joy"], "b": []}}, "0 items of corpus ratings are rated in vad and in another format"),
    ({"nrc": ["joy"]}, "must map each item"),
    ({"nrc_text": '{"sun": ["joy"], "sun": ["fear"]}'}, "'sun' is rated twice, and not alike"),
    ({"tables": {"vad": TABLES["vad"]}}, "labels are mapped between two formats or more"),
    ({"tables": {}}, "corpus.ratings.tables is empty"),
    ({"equivalent": (("joy", "glee"),)}, "an equivalence class names 'glee', which no format has"),
    ({"tables": {**TABLES, "vad": RatingsTable(file="none.csv")}}, "none.csv is not a file"),
    ({"tables": {**TABLES, "vad": RatingsTable(file="words.csv")}}, "column 'item' is missing"),
    ({"tables": {**TABLES, "vad": RatingsTable("package:no_such_thing/x.csv")}}, "pip install no_such_thing"),
    ({"tables": {**TABLES, "vad": RatingsTable("package:no.such/x.csv")}}, "pip install no.such"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "said"), BAD, ids=[said for _, said in BAD])
def test_bad_ratings_are_refused_in_one_line(tmp_path: Path, given: dict[str, Any], said: str):
    with pytest.raises(RaysysError, match=said.replace("(", r"\(")) as caught:
        corpus(tmp_path, **given)
    assert isinstance(caught.value, ConfigError | CorpusError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tables", "formats", "said"),
    [
        ({"vda": RatingsTable(file="x.csv")}, {}, "unknown label format 'vda': did you mean 'v"),
        ({"vad": RatingsTable()}, {}, "file"),
        ({"vad": RatingsTable(file="x.csv", low=9.0, high=1.0)}, {}, "low is 9"),
        ({}, {"vad": OwnFormat(("a", "b"))}, "another name than a known format's"),
        ({}, {"own": OwnFormat(("a", "a"))}, "each once"),
        ({}, {"text": OwnFormat(("a", "b"))}, "another name than"),
    ],
)
def test_settings_that_cannot_be_are_refused(tables, formats, said: str):
    with pytest.raises(ConfigError, match=said):
        RatingsConfig(tables, formats)


def test_a_categorical_label_outside_its_set_is_named(tmp_path: Path):
    formats = {"kind": OwnFormat(("good", "bad"), kind="categorical")}
    tables = {**TABLES, "kind": RatingsTable(file="kind.csv")}
    files = {"kind.csv": "item,label\nsun,goood\n"}
    with pytest.raises(
        CorpusError,
        match=r"kind.csv:2: 'goood' is none of kind \(did you mean 'good'.*leave the row",
    ):
        corpus(tmp_path, tables, formats=formats, files=files)


def test_variables_of_one_name_or_meaning_are_pairs():
    own = Format("faces", ("happy", "calm", "neutral"), "categorical")
    formats = (FORMATS["plutchik8"], FORMATS["be5"], own)
    names = [
        (formats[f].variables[v], formats[g].variables[w])
        for (f, v), (g, w) in equivalents(formats)
    ]
    assert ("joy", "joy") in names
    assert ("joy", "happy") in names
    assert len([pair for pair in names if "happy" in pair]) == 2
    assert not [pair for pair in names if "neutral" in pair]
    joined = equivalents(formats, [("trust", "joy")])  # beside the usual ones, which stay
    found = [(formats[f].variables[v], formats[g].variables[w]) for (f, v), (g, w) in joined]
    assert {("joy", "happy"), ("trust", "joy"), ("trust", "happy")} <= set(found)
    assert ("trust", "calm") in [
        (formats[f].variables[v], formats[g].variables[w])
        for (f, v), (g, w) in equivalents(formats, [("trust", "calm")])
    ]


def test_a_job_of_one_task_refuses_presets_of_others(tmp_path: Path):
    from raysys.commandline import parse

    preset = tmp_path / "words.yaml"
    preset.write_text("task: classification\n")
    with pytest.raises(
        ConfigError, match="the task is classification, but jobs.x does label_mapping"
    ):
        parse([str(preset)], program="jobs.x", task="label_mapping")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--task", "label_mapping"], "model.name is 'cltnet', but must be one for the task label_mapping: multiway"),
        (["--task", "emotion_embedding"], "loss.space is .*the run of python -m jobs.map_labels"),
        (["--task", "classification", "--loss.space", "x"], "loss.space is 'x', but must be ''"),
        (["--model.name", "multiway"], "model.name is 'multiway', but must be one for the task classification"),
        (["--model.modalities", "[audio,vide]"], "cannot have 'vide': did you mean 'video'"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(given: list[str], said: str):
    from raysys.commandline import parse

    with pytest.raises(ConfigError, match=said):
        parse(given, program="jobs.x")


def test_names_and_orders_of_formats_that_cannot_be_are_refused():
    from raysys.models import ModelConfig

    for name in ("my.format", "keys"):
        with pytest.raises(ConfigError, match="FORMAT or FORMAT@PERSPECTIVE"):
            ModelConfig(name="multiway", modalities=("vad", name))


def test_formats_that_are_left_out_must_be_there_and_choose_nothing():
    from raysys.commandline import parse

    preset = str(Path(__file__).parents[2] / "configs" / "labels" / "words.yaml")
    for given, said in (
        (
            ["--loss.left_out", "[plutchick8]"],
            "unknown label format in loss.left_out 'plutchick8': did you mean",
        ),
        (["--loss.left_out", "[vad, plutchik8]"], "two label formats are left to learn from"),
        (["--loss.left_out", "[plutchik8]"], "training.select is '', but must be loss"),
        (
            ["--loss.left_out", "[be5]", "--training.select", "loss", "--loss.space", "x"],
            "loss.left_out is .*'be5'.*empty where loss.space",
        ),
    ):
        with pytest.raises(ConfigError, match=said):
            parse([preset, *given], program="jobs.x")


def test_a_table_without_texts_may_stand_beside_one_with_them(tmp_path: Path):
    tables = {
        "vad": RatingsTable(file="words.csv", item="word"),
        "va": RatingsTable(file="texts.csv", text="said", low=0.0, high=1.0),
    }
    files = {
        "texts.csv": "item,said,valence,arousal\nsun,the sun,1,1\nwar,a war,0,1\nrain,rains,0,0\n"
    }
    rows = {row.utterance_id: row.text for row in corpus(tmp_path, tables, files=files).utterances}
    assert rows["sun"] == "the sun"
    assert rows["peace"] == "peace"


def test_items_that_differ_in_blanks_are_one(tmp_path: Path):
    found = corpus(tmp_path, words=WORDS.replace("sun,", " sun ,").replace("rain", "\u200brain"))
    assert [row.utterance_id for row in found.utterances] == ["sun", "rain", "war", "peace", "moon"]
    with pytest.raises(CorpusError, match="'sun' is rated twice in vad, and not alike"):
        corpus(tmp_path, words=WORDS + "sun ,1,1,1\n")


def test_all_wrong_ratings_of_a_table_come_in_one_message(tmp_path: Path):
    with pytest.raises(CorpusError) as told:
        corpus(tmp_path, words=WORDS.replace("9,5,1", "10,5,1").replace("2,8,5", "2,x,5"))
    assert "2 problems: " in str(told.value)
    assert "words.csv:2: valence is '10'" in str(told.value)
    assert "words.csv:4: arousal is 'x'" in str(told.value)


@pytest.mark.parametrize(("most", "is_narrow"), [(5, True), (9, False)])
def test_ratings_that_fill_half_their_scale_are_a_finding(
    tmp_path: Path, most: int, is_narrow: bool
):
    rows = [f"w{k},{1 + k % most},{1 + (k + 1) % most},{1 + (k + 2) % most}" for k in range(30)]
    table = "\n".join(["word,valence,arousal,dominance", *rows])
    found = corpus(tmp_path, words=table, nrc={f"w{k}": ["joy"] for k in range(30)})
    messages = [one.message for one in found.findings if one.kind == "narrow_ratings"]
    assert bool(messages) == is_narrow
    if is_narrow:
        assert "ratings in vad lie in 1 to 5, but its scale is 1 to 9" in messages[0]
