"""Inputs as people have them, bad and unusual, most after public bug reports: each with its line, or with its values.

Nothing is silently changed, dropped or guessed on its way in; what cannot be used is named with its place, the rule and
the remedy. No Ray: a corpus is read as every command reads it.
"""

import json
import os
import struct
import unicodedata
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from raysys.commandline import parse
from raysys.corpus import CorpusConfig, read_corpus
from raysys.corpus import folds as dividing
from raysys.corpus.audit import audit_folds
from raysys.corpus.folds import FoldsConfig, make_folds
from raysys.corpus.remarks import about_rare, misspelt
from raysys.corpus.table import Corpus
from raysys.encoders import FeaturesConfig, prepare_features
from raysys.encoders.logmel import LogmelConfig
from raysys.encoders.precomputed import PrecomputedConfig
from raysys.errors import ConfigError, CorpusError, FeatureError
from raysys.losses import LossConfig
from raysys.storage import Folder
from raysys.tasks.class_targets import target_distributions
from raysys.tasks.classification import Classification
from tests.films import write_sound

RATE = 16000
HEAD = "utterance_id,label,text,audio,speaker,turn"
ROWS = [
    f"u{k},{'joy' if k % 2 else 'calm'},Größe {k},wav/{k}.wav,s{k // 4},{k % 4}" for k in range(12)
]


def tone(seconds: float = 0.3, rate: int = RATE, hz: float = 440.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)


def table(*changes: tuple[int, str], head: str = HEAD) -> str:
    """The sound table, with other rows in some places."""
    rows = list(ROWS)
    for k, row in changes:
        rows[k] = row
    return "\n".join([head, *rows]) + "\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A corpus of twelve short sounds without a table."""
    folder = tmp_path / "corpus"
    (folder / "wav").mkdir(parents=True)
    for k in range(12):
        soundfile.write(folder / "wav" / f"{k}.wav", tone(0.3 + 0.01 * k, hz=300 + 20 * k), RATE)
    return folder


def read(root: Path, *, modalities: tuple[str, ...] = ("text",), **settings: Any) -> Corpus:
    config = CorpusConfig(name="manifest", root=str(root), **settings)
    return read_corpus(
        config, Classification, modalities=modalities, cache=Folder(str(root.parent / "cache"))
    )


def kinds(corpus: Corpus) -> dict[str, str]:
    """Findings of a corpus: kind -> message."""
    return {finding.kind: finding.message for finding in corpus.findings}


# --- tables that are read alike


def parquet(root: Path, **columns: Any) -> None:
    names = HEAD.split(",")
    cells = {name: [row.split(",")[k] for row in ROWS] for k, name in enumerate(names)}
    cells["turn"] = [int(turn) for turn in cells["turn"]]
    made = pyarrow.table({**cells, **columns})
    pyarrow.parquet.write_table(made, root / "manifest.parquet")


ALIKE: dict[str, Callable[[Path], None]] = {
    "comma": lambda root: (root / "manifest.csv").write_text(table()),
    "semicolon": lambda root: (root / "manifest.csv").write_text(table().replace(",", ";")),
    "tab": lambda root: (root / "manifest.csv").write_text(table().replace(",", "\t")),
    "tsv": lambda root: (root / "manifest.tsv").write_text(table().replace(",", "\t")),
    "byte order mark": lambda root: (root / "manifest.csv").write_text(table(), "utf-8-sig"),
    "UTF-16": lambda root: (root / "manifest.csv").write_text(table(), "utf-16"),
    "UTF-16 big": lambda root: (root / "manifest.csv").write_bytes(b"\xfe\xff" + table().encode("utf-16-be")),
    "line ends of Windows": lambda root: (root / "manifest.csv").write_bytes(table().replace("\n", "\r\n").encode()),
    "empty lines": lambda root: (root / "manifest.csv").write_text(table().replace("\nu3", "\n\nu3") + "\n\n"),
    "quotes": lambda root: (root / "manifest.csv").write_text(
        table((0, '"u0","calm","Größe 0","wav/0.wav","s0","0"'))
    ),
    "turns of floats": lambda root: (root / "manifest.csv").write_text(
        "\n".join([HEAD, *(f"{row}.0" for row in ROWS)])
    ),
    "blanks around names": lambda root: (root / "manifest.csv").write_text(
        table((1, "u1 , joy,Größe 1,wav/1.wav,s0 ,1"), head=HEAD.replace("label", " label "))
    ),
    "a zero-width blank": lambda root: (root / "manifest.csv").write_text(
        table((1, "u1,joy\u200b,Größe 1,wav/1.wav,s0,1"))
    ),
    "a table of metadata beside": lambda root: (root / "manifest.csv").write_text(
        "\n".join([f"{HEAD},age", *(f"{row},{k}" for k, row in enumerate(ROWS))])
    ),
    "the index of pandas": lambda root: (root / "manifest.csv").write_text(
        "\n".join([f",{HEAD}", *(f"{k},{row}" for k, row in enumerate(ROWS))])
    ),
    "Parquet": parquet,
    "Parquet with an index": lambda root: parquet(root, __index_level_0__=list(range(12))),
    "Parquet with bytes": lambda root: parquet(root, text=[f"Größe {k}".encode() for k in range(12)]),
    "Parquet with turns of floats": lambda root: parquet(root, turn=[float(k % 4) for k in range(12)]),
}  # fmt: skip


@pytest.mark.parametrize("case", ALIKE)
def test_the_same_table_in_another_form_is_the_same_corpus(case: str, root: Path, tmp_path: Path):
    ALIKE["comma"](root)
    expected = read(root, modalities=("text", "audio"))
    (root / "manifest.csv").unlink()
    ALIKE[case](root)
    found = read(root, modalities=("text", "audio"))
    assert found.digest == expected.digest
    assert found.emotions == ("calm", "joy")
    assert [row.text for row in found.utterances] == [f"Größe {k}" for k in range(12)]


def test_text_with_separators_line_ends_and_quotes_is_kept(root: Path):
    said = 'well; "so",\tor\nnot'
    quoted = '"' + said.replace('"', '""') + '"'
    (root / "manifest.csv").write_text(table((0, f"u0,calm,{quoted},wav/0.wav,s0,0")))
    assert read(root).utterances[0].text == said


# --- tables that are refused


def write(text: str, encoding: str = "utf-8", name: str = "manifest.csv") -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(text.encode(encoding))


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "cp1252": (write(table(), "cp1252"), "manifest.csv:2 is not UTF-8: byte 0xf6, which is 'ö' in Windows-1252: save"),
    "cp1252 later": (write(table((9, "u9,joy,x,wav/9.wav,s2,1")).replace("Größe 0", "Grosse"), "cp1252"), "csv:3 is not UTF-8"),
    "UTF-16 without its mark": (write(table(), "utf-16-le"), "holds zero bytes: it is binary, or UTF-16 without its mark"),
    "a broken UTF-16": (lambda root: (root / "manifest.csv").write_bytes(b"\xff\xfe" + b"\x00\xd8" * 9), "not the UTF-16 that"),
    "empty": (write(""), "manifest.csv is empty: its first line must name the columns"),
    "a head alone": (write(HEAD + "\n"), "holds no rows"),
    "doubled columns": (write(table(head=HEAD.replace("text", "label"))), "column 'label' comes twice (columns 2 and 3)"),
    "doubled but for blanks": (write(table(head=HEAD.replace("text", "label "))), "column 'label' comes twice"),
    "no label": (write(table(head=HEAD.replace("label", "emotion"))), "column 'label' is missing; there are utterance_id, emotion"),
    "how to say what is the label": (write(table(head=HEAD.replace("label", "emotion"))), "--corpus.columns '{label: emotion}'"),
    "no id": (write(table(head=HEAD.replace("utterance_id", "file"))), "column 'utterance_id' is missing"),
    "label misspelt": (write(table(head=HEAD.replace("label", "lable"))), "unknown column 'lable', and no column 'label'"),
    "speaker misspelt": (write(table(head=HEAD.replace("speaker", "speakers"))), "did you mean 'speaker'? Rename it"),
    "in capitals": (write(table(head=HEAD.replace("speaker", "Speaker"))), "unknown column 'Speaker', and no column 'speaker'"),
    "too many fields": (write(table((0, "u0,calm,a,b,wav/0.wav,s0,0"))), "csv:2: the row does not have 6 fields but 7"),
    "too few fields": (write(table((0, "u0,calm"))), "csv:2: the row does not have 6 fields but 2"),
    "an open quote": (write(table((11, 'u11,joy,"x,wav/9.wav,s2,1'))), "no CSV table"),
    "half a turn": (write(table((0, "u0,calm,a,wav/0.wav,s0,1.5"))), "column 'turn' holds '1.5': must be a whole number"),
    "a turn in words": (write(table((0, "u0,calm,a,wav/0.wav,s0,first"))), "column 'turn' holds 'first'"),
    "an invisible character": (write(table((1, "u1,jo\u200by,a,wav/1.wav,s0,1"))), "differ in case, blanks, hyphens or invisible"),
    "a soft hyphen": (write(table((1, "u1,jo\xady,a,wav/1.wav,s0,1"))), "differ in case, blanks, hyphens or invisible"),
    "quotes in a label": (write(table((1, "u1,'joy',a,wav/1.wav,s0,1"))), "differ in case, blanks, hyphens or invisible"),
    "another separator": (write(table().replace(",", "|")), "in one piece: separate them by commas, semicolons or tabs"),
    "two tables": (lambda root: [ALIKE["comma"](root), parquet(root)], "holds manifest.csv and manifest.parquet: set --corpus.manifest"),
    "labels in two cases": (write(table((1, "u1,Joy,a,wav/1.wav,s0,1"))), "csv:3: labels 'Joy' (1 rows), 'joy' (5 rows) differ in"),
    "labels with blanks": (write(table((1, "u1,j oy,a,wav/1.wav,s0,1"))), "labels 'j oy' (1 rows), 'joy' (5 rows) differ in case, blanks"),
    "labels with a hyphen": (write(table((1, "u1,jo-y,a,wav/1.wav,s0,1"))), "differ in case, blanks, hyphens or invisible characters alone"),
    "an id that comes twice": (write(table((1, "u0,joy,a,wav/1.wav,s0,1"))), "csv:3: utterance_id 'u0' occurs twice"),
    "twice but for blanks": (write(table((1, "u0 ,joy,a,wav/1.wav,s0,1"))), "csv:3: utterance_id 'u0' occurs twice"),
    "a label that is missing": (write(table((1, "u1,,a,wav/1.wav,s0,1"))), "csv:3: the label is empty"),
    "a spreadsheet": (lambda root: (root / "manifest.csv").write_bytes(b"PK\x03\x04" + b"x" * 99), "is a spreadsheet or archive, not CSV"),
    "an old spreadsheet": (lambda root: (root / "manifest.csv").write_bytes(b"\xd0\xcf\x11\xe0" + b"x" * 99), "is a spreadsheet or archive"),
    "Parquet by another name": (lambda root: (root / "manifest.csv").write_bytes(b"PAR1" + b"x" * 99), "is a Parquet file: name it"),
    "a pointer": (write("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"), "is a git-lfs pointer, not the file: run git lfs"),
    "a pointer as Parquet": (write("version https://git-lfs.github.com/spec/v1\noid x\n", name="manifest.parquet"), "is a git-lfs pointer"),
    "no Parquet": (write("PAR1 no", name="manifest.parquet"), "is not Parquet"),
    "Parquet: no UTF-8": (lambda root: parquet(root, text=[b"\xff\xfe"] * 12), "column 'text' holds b'\\xff\\xfe': bytes that are no UTF-8"),
    "Parquet: lists for text": (lambda root: parquet(root, text=[["a"]] * 12), "column 'text' holds ['a']: list instead of text"),
    "Parquet: text that is missing": (lambda root: parquet(root, text=[None, *["a"] * 11]), "row 0: the text is empty"),
    "Parquet: text of NaN": (lambda root: parquet(root, text=pyarrow.array([float("nan")] * 12)), "has no text: add it"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_cannot_be_used_is_named_with_its_place(case: str, root: Path):
    spoil, message = REFUSED[case]
    spoil(root)
    with pytest.raises(CorpusError) as told:
        read(root, emotions=("calm", "joy") if "missing" in case else ())
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_all_problems_of_a_table_come_in_one_message_up_to_ten(root: Path):
    bad = [(k, f"u{k},calm,a,wav/{k}.wav,s0,first") for k in range(1, 12)]
    write(table(*bad))(root)
    with pytest.raises(CorpusError) as told:
        read(root)
    assert str(told.value).startswith("11 problems: ")
    assert str(told.value).count("column 'turn' holds") == 10
    assert str(told.value).endswith("; and 1 more")
    write(table((1, "u1,jooy,,wav/1.wav,s0,1"), (2, "u1,calm,a,wav/2.wav,s0,2")))(root)
    with pytest.raises(
        CorpusError, match=r"2 problems: .*csv:3: unknown emotion 'jooy'.*; .*csv:4: .*twice"
    ):
        read(root, emotions=("calm", "joy"))


def test_columns_are_mapped_and_others_are_kept(root: Path):
    head = "file,emotion,what was said,path,who,turn,age"
    rows = [f"{row},{20 + k}" for k, row in enumerate(ROWS)]
    (root / "manifest.csv").write_text("\n".join([head, *rows]))
    columns = {
        "utterance_id": "file",
        "label": "emotion",
        "text": "what was said",
        "audio": "path",
        "speaker": "who",
    }
    corpus = read(root, columns=columns)
    assert corpus.utterances[3].speaker == "s0"
    assert corpus.utterances[3].metadata == {"age": "23"}
    assert kinds(corpus)["metadata"] == "columns kept as metadata: age"
    assert (
        columns
        == parse(
            ["--corpus.name", "manifest", "--corpus.columns", json.dumps(columns)], program="t"
        )[0].corpus.columns
    )
    for wrong, message in (
        (
            {**columns, "audio": "pth"},
            "no column 'pth' (corpus.columns: audio): did you mean 'path'?",
        ),
        (
            {**columns, "speker": "who"},
            "corpus.columns: no column 'speker': did you mean 'speaker'?",
        ),
    ):
        with pytest.raises(CorpusError) as told:
            read(root, columns=wrong)
        assert message in str(told.value)
    instead = read(root, columns={**columns, "turn": "age"})
    assert instead.utterances[3].turn == 23
    assert "turn of the table" in kinds(instead)["metadata"]
    with pytest.raises(
        ConfigError, match="corpus.columns is .* empty unless corpus.name is manifest"
    ):
        CorpusConfig(name="meld", columns={"label": "Emotion"})


def test_labels_that_are_numbers_are_names_and_say_so(root: Path):
    (root / "manifest.csv").write_text(table().replace("joy", "1").replace("calm", "0"))
    corpus = read(root)
    assert corpus.emotions == ("0", "1")
    assert (
        "labels are numbers (0, 1), taken for names of classes"
        in kinds(corpus)["numbers_as_labels"]
    )
    parquet(root, label=[float(k % 2) for k in range(12)])
    (root / "manifest.csv").unlink()
    assert read(root).digest == corpus.digest


TIMES = {
    "0.1": 0.1, "0:00:00.1": 0.1, "00:00.1": 0.1, "0 days 00:00:00.1": 0.1, "1e-1": 0.1, "now": None, "-0.1": None,
    "inf": None, "0:00:99": None,
}  # fmt: skip


@pytest.mark.parametrize("written", TIMES)
def test_times_are_seconds_or_clocks(written: str, root: Path):
    head = f"{HEAD},start"
    (root / "manifest.csv").write_text(
        "\n".join([head, *(f"{row}," for row in ROWS[1:]), f"{ROWS[0]},{written}"])
    )
    seconds = TIMES[written]
    if seconds is None:
        with pytest.raises(CorpusError, match="csv:13: "):
            read(root, modalities=("audio",))
    else:
        assert read(root, modalities=("audio",)).utterances[-1].start == pytest.approx(seconds)


def test_durations_in_parquet_are_seconds(root: Path):
    parquet(root, end=pyarrow.array([timedelta(milliseconds=250)] * 12, pyarrow.duration("us")))
    assert {row.end for row in read(root, modalities=("audio",)).utterances} == {0.25}


# --- votes


VOTES: dict[str, list[float] | str] = {
    '{"joy": 2, "calm": 1}': [1 / 3, 2 / 3],
    '{"joy": 0.75, "calm": 0.25}': [0.25, 0.75],
    '{"joy": 0.5, "calm": 0.25}': [1 / 3, 2 / 3],
    '{" joy ": 2, "calm": 1}': [1 / 3, 2 / 3],
    '{"joy": 2.0, "calm": 1.0}': [1 / 3, 2 / 3],
    '{"joy": 1, "calm": 0, "rage": 1}': [0, 1],
    '{"joy": 1, "calm": 1, "joy": 3}': "'joy' comes twice",
    '{"joy": 1, "joy ": 3}': "'joy' comes twice",
    '{"joy": Infinity}': "the votes for 'joy' are inf: must be a finite number",
    '{"joy": NaN}': "the votes for 'joy' are nan: must be a finite number",
    '{"joy": 1e400}': "the votes for 'joy' are inf: must be a finite number",
    '{"joy": -1}': "-1 votes for 'joy'",
    '{"joy": null}': "the votes for 'joy' are None: must be a number",
    '{"joy": true}': "the votes for 'joy' are True: must be a number",
    '{"joy": "many"}': "the votes for 'joy' are many: must be a number",
    '{"joy": 0}': "votes must name at least one emotion with one vote",
    "{}": "votes must name at least one emotion with one vote",
    "{'joy': 2}": 'write votes as {"joy": 2}',
    "joy": 'write votes as {"joy": 2}',
    "3": 'votes are a map, as in {"joy": 2}',
    '["joy", "joy"]': 'votes are a map, as in {"joy": 2}',
    '[["joy", 2]]': 'votes are a map, as in {"joy": 2}',
    '{"joy": "1_0"}': "the votes for 'joy' are 1_0: must be a number",
    '{"joy": "0,5"}': "the votes for 'joy' are 0,5: write a point for the decimal comma",
    '{"joy": {"n": 2}}': "must be a number",
    '{"Joy": 2, "calm": 1}': "votes for 'Joy', but the emotion is 'joy': write them alike",
    '{"j oy": 2, "calm": 1}': "votes for 'j oy', but the emotion is 'joy': write them alike",
}


@pytest.mark.parametrize("written", VOTES)
def test_votes_count_or_are_refused(written: str, root: Path):
    quoted = '"' + written.replace('"', '""') + '"'
    rows = [f"{row},{quoted if k == 1 else ''}" for k, row in enumerate(ROWS)]
    (root / "manifest.csv").write_text("\n".join([f"{HEAD},votes", *rows]))
    expected = VOTES[written]
    if isinstance(expected, str):
        with pytest.raises(CorpusError) as told:
            read(root)
        assert expected in str(told.value)
        return
    corpus = read(root)
    found = target_distributions(corpus.labels, corpus.votes, "votes")
    np.testing.assert_allclose(found[1], expected, rtol=1e-6)
    assert ("votes_without_class" in kinds(corpus)) == ("rage" in written)


def test_votes_in_parquet_and_csv_are_the_same(root: Path):
    shares = [
        {"joy": 0.75, "calm": 0.25} if k % 2 else {"joy": 1.0, "calm": 2.0} for k in range(12)
    ]
    kind = pyarrow.map_(pyarrow.string(), pyarrow.float64())
    parquet(root, votes=pyarrow.array([list(one.items()) for one in shares], kind))
    one = read(root)
    (root / "manifest.parquet").unlink()
    quoted = ['"' + json.dumps(one).replace('"', '""') + '"' for one in shares]
    rows = [f"{row},{cell}" for row, cell in zip(ROWS, quoted, strict=True)]
    (root / "manifest.csv").write_text("\n".join([f"{HEAD},votes", *rows]))
    assert read(root).digest == one.digest
    np.testing.assert_allclose(one.votes[1], [0.25, 0.75])


def test_votes_that_contradict_the_label_are_counted(root: Path):
    rows = [f'{row},"{{""calm"": 3, ""joy"": 1, ""awe"": 2}}"' for row in ROWS]
    (root / "manifest.csv").write_text("\n".join([f"{HEAD},votes", *rows]))
    found = kinds(read(root))
    assert found["votes_against_label"].startswith(
        "6 of 12 utterances have a label that fewer annotators gave"
    )
    assert found["votes_without_class"].startswith(
        "votes for emotions that are no classes, in 12 places: awe (12); they are no targets"
    )


def test_targets_that_are_votes_need_votes(root: Path, tmp_path: Path):
    ALIKE["comma"](root)
    corpus = read(root)
    task = Classification.of(corpus)
    with pytest.raises(ConfigError, match="loss.targets is votes, but corpus manifest has none"):
        task.look_at(corpus, LossConfig(targets="votes"))
    rows = [f'{row},"{{""joy"": 2}}"' if k else f"{row}," for k, row in enumerate(ROWS)]
    (root / "manifest.csv").write_text("\n".join([f"{HEAD},votes", *rows]))
    told = {one.kind: one.message for one in task.look_at(read(root), LossConfig(targets="votes"))}
    without = "1 of 12 utterances have no votes that count: their label is the target"
    assert told["no_votes"] == without
    assert "no_votes" not in {one.kind for one in task.look_at(read(root), LossConfig())}


def test_a_label_that_is_misspelt_in_several_rows_is_a_finding_with_what_is_meant(root: Path):
    labels = ["joy"] * 8 + ["joyy"] * 2 + ["calm"] * 2
    rows = [f"u{k},{label},text {k},wav/{k}.wav,s{k % 2},{k}" for k, label in enumerate(labels)]
    (root / "manifest.csv").write_text("\n".join([HEAD, *rows]))
    corpus = read(root)
    assert kinds(corpus)["misspelt"] == "emotion 'joyy' (2 utterances) may be 'joy' (8) misspelt"
    assert kinds(corpus)["emotions"] == "12 utterances: joy 8, joyy 2, calm 2"
    assert misspelt("unhappy", {"unhappy": 2, "happy": 12}) == ""
    told = about_rare("joyy", corpus)
    assert told.startswith(
        "'joyy' (2 in the corpus, first in 'u8'): write 'joy' where that is meant"
    )
    assert "--corpus.emotions '[calm,joy]'" in told


def test_labels_that_only_look_alike_and_slips_of_the_pen_are_findings(root: Path):
    rows = [row.replace(",joy,", ",j\u043ey,") if k == 1 else row for k, row in enumerate(ROWS)]
    (root / "manifest.csv").write_text("\n".join([HEAD, *rows]))
    found = kinds(read(root))
    assert found["mixed_scripts"].endswith("mixes letters of Cyrillic and Latin, which look alike")
    assert found["single_utterance"].startswith("classes of one utterance, as a slip of the pen")


# --- names


def test_a_name_is_one_whatever_its_unicode_form(root: Path):
    decomposed = unicodedata.normalize("NFD", "Jürgen")
    rows = [row.replace(",s0,", ",Jürgen,") for row in ROWS]
    rows[1] = (
        rows[1].replace("Jürgen", decomposed).replace("joy", unicodedata.normalize("NFD", "joy"))
    )
    (root / "manifest.csv").write_text("\n".join([HEAD, *rows]))
    assert {row.speaker for row in read(root).utterances} == {"Jürgen", "s1", "s2"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3", "03"),
        ("s0", "S0"),
        ("s 1", "s1"),
        ("Ann_B", "ann b"),
        ("Ses01", "Ses1"),
        ("a.b", "ab"),
        ("3", "3.0"),
    ],
)
def test_groups_that_look_alike_are_named_together(one: str, other: str, root: Path):
    rows = [row.replace(",s0,", f",{one},").replace(",s1,", f",{other},") for row in ROWS]
    (root / "manifest.csv").write_text("\n".join([HEAD, *rows]))
    message = kinds(read(root))["nearly_alike"]
    assert f"'{one}'" in message
    assert f"'{other}'" in message
    assert "count as 2: if they are one, write them alike" in message


@pytest.mark.parametrize(
    ("tested", "expected"),
    [
        ((), ["1", "2", "10", "11"]),
        ((2,), ["2"]),
        ((3,), ["10"]),
        ((10,), ["10"]),
        (("11", 1), ["1", "11"]),
        ((5,), "'5' is none of the 4 sessions: known: 1, 10, 11, 2"),
        (("ten",), "'ten' is none of the 4 sessions"),
    ],
)
def test_groups_are_ordered_as_people_count_and_tested_by_name(
    tested: tuple[int | str, ...], expected: list[str] | str
):
    groups = np.array(["10", "2", "1", "11", "2", "1"])
    config = FoldsConfig(method="leave_one_group_out", groups="session", tested=tested)
    if isinstance(expected, str):
        with pytest.raises(CorpusError, match=expected):
            dividing.tested_groups(groups, config)
    else:
        assert dividing.tested_groups(groups, config) == expected


def test_the_audit_says_who_was_tested(root: Path):
    rows = [f"{row},{k // 2 + 5}" for k, row in enumerate(ROWS)]
    (root / "manifest.csv").write_text("\n".join([f"{HEAD},session", *rows]))
    corpus = read(root)
    config = FoldsConfig(method="leave_one_group_out", groups="session", tested=("10",))
    folds = make_folds(corpus, corpus.labels, config)
    (fold,) = folds
    assert {corpus.utterances[k].session for k in fold.test} == {"10"}
    found = {
        one.kind: one.message for one in audit_folds(corpus, folds, config, modalities=("text",))
    }
    assert found["tested"].startswith("tested: session 10 alone, of 6")


@pytest.mark.parametrize(
    ("column", "word"), [("text", "nan"), ("speaker", "None"), ("text", "NULL"), ("label", "N/A")]
)
def test_words_for_nothing_are_counted(column: str, word: str, root: Path):
    place = HEAD.split(",").index(column)
    rows = [row.split(",") for row in ROWS]
    for k in (0, 1, 2):
        rows[k][place] = word
    (root / "manifest.csv").write_text("\n".join([HEAD, *(",".join(row) for row in rows)]))
    message = kinds(read(root))["words_for_nothing"]
    assert message.startswith(f"3 rows have the {column} '{word}', first u0: if it stands for a")


# --- audio


def rewrite(samples: np.ndarray, rate: int = RATE, **options: Any) -> Callable[[Path], Path]:
    """Write the first sound anew."""

    def do(root: Path) -> Path:
        path = root / "wav" / options.pop("name", "0.wav")
        soundfile.write(path, samples, rate, **options)
        return path

    return do


def cut(share: float, name: str = "0.wav", **options: Any) -> Callable[[Path], Path]:
    """The first sound, of which a share is left."""

    def do(root: Path) -> Path:
        path = root / "wav" / name
        soundfile.write(path, tone(3.0), RATE, **options)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        return path

    return do


def half_an_m4a(root: Path) -> Path:
    """Its head stands before its sound, which ends in the middle."""
    path = write_sound(root / "wav" / "0.m4a", tone(3.0)[None], RATE, movflags="faststart")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def header_of(size: int) -> Callable[[Path], Path]:
    """The first sound, whose header says another size of its data."""

    def do(root: Path) -> Path:
        path = root / "wav" / "0.wav"
        data = path.read_bytes()
        at = data.index(b"data") + 4
        path.write_bytes(data[:at] + struct.pack("<I", size) + data[at + 4 :])
        return path

    return do


def content(data: bytes, name: str = "0.wav") -> Callable[[Path], Path]:
    def do(root: Path) -> Path:
        (root / "wav" / name).write_bytes(data)
        return root / "wav" / name

    return do


STEREO = np.stack([tone(), -tone()], axis=1)
AUDIO: dict[str, tuple[Callable[[Path], Path], str]] = {
    "half a WAV": (cut(0.5), "is cut short: its header says 96000 bytes of samples, 47978 are there: get the whole file"),
    "all but the end of a WAV": (cut(0.99), "is cut short"),
    "half an mp3": (cut(0.5, "0.mp3", format="MP3"), "is cut short: its header says"),
    "half a FLAC": (cut(0.5, "0.flac", format="FLAC"), "0.flac"),
    "half an OGG": (cut(0.5, "0.ogg", format="OGG", subtype="VORBIS"), "0.ogg"),
    "half an AIFF": (cut(0.5, "0.aiff", format="AIFF"), "is cut short"),
    "half an m4a": (half_an_m4a, "cannot decode audio"),
    "a data size of 0": (header_of(0), "has a data size of 0 in its header, but 9600 bytes follow: it was not finished"),
    "silence": (rewrite(np.zeros(4000)), "is silent: all its 4000 samples are 0"),
    "a constant": (rewrite(np.full(4000, 0.25)), "is silent: all its 4000 samples are 0.25"),
    "one sample": (rewrite(np.full(1, 0.5)), "is silent: all its 1 samples are 0.5"),
    "nothing": (rewrite(np.zeros(0)), "has no samples (zero length)"),
    "floats of 16 bits": (rewrite(32768 * tone(), subtype="FLOAT"), "has samples up to 98"),
    "doubles of 16 bits": (rewrite(32768 * tone(), subtype="DOUBLE"), "floats go from -1 to 1: divide them by their scale"),
    "floats of 8 bits": (rewrite(128 * tone(), subtype="FLOAT"), "has samples up to 38.4, but floats go from -1 to 1"),
    "NaN": (rewrite(np.array([0.1, np.nan, 0.2]), subtype="FLOAT"), "holds NaN or infinite samples"),
    "infinity": (rewrite(np.array([0.1, np.inf, 0.2]), subtype="FLOAT"), "holds NaN or infinite samples"),
    "next to nothing": (rewrite(1e-6 * tone(), subtype="FLOAT"), "is silent: its largest sample is 3e-07, of 1"),
    "more than it says": (header_of(4000), "bytes of samples, but its header says 4000: write it again"),
    "half an AU": (cut(0.5, "0.au", format="AU"), "is cut short"),
    "a raw file": (content(b"\0\1" * 4000, "0.raw"), "a raw file does not say its rate and type: write it as WAV"),
    "channels that cancel": (rewrite(STEREO), "the channels of audio"),
    "channels that nearly cancel": (rewrite(STEREO * [1, 0.999]), "cancel each other when they are averaged: keep one"),
    "a pointer": (content(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), "is a git-lfs pointer, not the file"),
    "an empty file": (content(b""), "is empty (0 bytes)"),
    "no audio": (content(b"<html>404</html>"), "cannot decode audio"),
    "no m4a": (content(b"no", "0.m4a"), "cannot decode audio"),
    "a pointer as m4a": (content(b"version https://git-lfs.github.com/spec/v1\n", "0.m4a"), "is a git-lfs pointer"),
}  # fmt: skip


@pytest.mark.parametrize("case", AUDIO)
def test_audio_that_cannot_be_used_is_named(case: str, root: Path):
    spoil, message = AUDIO[case]
    path = spoil(root)
    (root / "manifest.csv").write_text(table((0, f"u0,calm,a,wav/{path.name},s0,0")))
    with pytest.raises(CorpusError) as told:
        read(root, modalities=("audio",))
    assert message in str(told.value)
    assert "manifest.csv:2: " in str(told.value)
    corpus = read(root, modalities=("audio",), skip_bad=True)
    assert [one.utterance_id for one in corpus.quarantine] == ["u0"]


def frames(root: Path, name: str) -> np.ndarray:
    """Log-mel frames of the first utterance, whose file is called so."""
    (root / "manifest.csv").write_text(table((0, f"u0,calm,a,{name},s0,0")))
    corpus = read(root, modalities=("audio",))
    config = FeaturesConfig(logmel=LogmelConfig(n_mels=20))
    store = prepare_features(corpus, config, ["audio"], cache=Folder(str(root.parent / "cache")))
    return store.modalities["audio"][0].astype(np.float64)


FORMS: dict[str, tuple[Callable[[Path], Path], float]] = {
    "24 bits": (rewrite(tone(), subtype="PCM_24"), 0.05),
    "32 bits": (rewrite(tone(), subtype="PCM_32"), 0.05),
    "floats": (rewrite(tone(), subtype="FLOAT"), 0.05),
    "doubles": (rewrite(tone(), subtype="DOUBLE"), 0.05),
    "FLAC": (rewrite(tone(), name="a.flac"), 0.01),
    "two channels": (rewrite(np.stack([tone(), tone()], axis=1)), 1e-9),
    "one silent channel": (rewrite(np.stack([2 * tone(), 0 * tone()], axis=1)), 0.05),
    "big-endian": (rewrite(tone(), endian="BIG"), 1e-9),
    "AIFF": (rewrite(tone(), name="a.aiff"), 1e-9),
    "capitals": (rewrite(tone(), name="A.WAV"), 1e-9),
}


@pytest.mark.parametrize("case", FORMS)
def test_the_same_sound_in_another_form_has_the_same_features(case: str, root: Path):
    expected = frames(root, rewrite(tone())(root).relative_to(root).as_posix())
    make, tolerance = FORMS[case]
    found = frames(root, make(root).relative_to(root).as_posix())
    loud = expected > expected.max() - 8  # what the last bit of 16 decides is no sound
    np.testing.assert_allclose(found[loud], expected[loud], atol=tolerance)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("b.wav", {"rate": 44100}),
        ("b.wav", {"rate": 48000, "subtype": "PCM_24"}),
        ("b.flac", {"rate": 44100}),
        ("b.ogg", {"rate": 44100}),
        ("b.mp3", {"rate": 44100}),
    ],
)
def test_other_rates_and_lossy_forms_are_nearly_the_same(
    name: str, options: dict[str, Any], root: Path
):
    expected = frames(root, rewrite(tone(1.0))(root).relative_to(root).as_posix())
    rate = options.pop("rate")
    path = root / "wav" / name
    soundfile.write(path, tone(1.0, rate), rate, **options)
    found = frames(root, f"wav/{name}")
    peak = expected.mean(axis=0).argmax()
    middle = slice(10, min(len(found), len(expected)) - 10)
    assert found.mean(axis=0).argmax() == peak
    np.testing.assert_allclose(found[middle, peak], expected[middle, peak], atol=0.3)


def test_m4a_is_heard_through_ffmpegs_libraries(root: Path):
    write_sound(root / "wav" / "a.m4a", tone(1.0, 44100)[None], 44100)
    expected = frames(root, rewrite(tone(1.0))(root).relative_to(root).as_posix())
    found = frames(root, "wav/a.m4a")
    peak = expected.mean(axis=0).argmax()
    assert found.mean(axis=0).argmax() == peak
    np.testing.assert_allclose(found[10:35, peak], expected[10:35, peak], atol=0.3)


def test_gsm_which_cannot_be_sought_is_read(root: Path):
    soundfile.write(root / "wav" / "g.wav", tone(1.0, 8000), 8000, subtype="GSM610")
    (root / "manifest.csv").write_text(table((0, "u0,calm,a,wav/g.wav,s0,0")))
    assert len(read(root, modalities=("audio",))) == 12


def test_a_streamed_wav_is_read_to_its_end(root: Path):
    path = root / "wav" / "0.wav"
    data = path.read_bytes()
    at = data.index(b"data") + 4
    path.write_bytes(data[:at] + struct.pack("<I", 0xFFFFFFFF) + data[at + 4 :])
    found = frames(root, "wav/0.wav")
    path.write_bytes(data)
    np.testing.assert_allclose(found, frames(root, "wav/0.wav"))


def test_recordings_of_one_length_are_a_finding(root: Path):
    names = [f"u{k},{'joy' if k % 2 else 'calm'},a,wav/{k}.wav,s{k // 4},0" for k in range(24)]
    for k in range(24):
        soundfile.write(root / "wav" / f"{k}.wav", tone(0.2, hz=300 + k), RATE)
    (root / "manifest.csv").write_text("\n".join([HEAD, *names]))
    found = kinds(read(root, modalities=("audio",)))
    assert found["equal_lengths"].startswith("24 of 24 recordings are exactly 0.200 s long")


def test_the_rate_in_a_header_is_part_of_what_a_sound_is(root: Path):
    ALIKE["comma"](root)
    before = read(root, modalities=("audio",))
    samples, rate = soundfile.read(root / "wav" / "0.wav")
    soundfile.write(root / "wav" / "0.wav", samples, 2 * rate)
    after = read(root, modalities=("audio",))
    assert after.digest != before.digest
    assert after.audio_digests[1:] == before.audio_digests[1:]


def test_files_that_end_in_zeros_are_a_finding(root: Path):
    soundfile.write(root / "wav" / "3.wav", np.concatenate([tone(), np.zeros(4800)]), RATE)
    ALIKE["comma"](root)
    found = kinds(read(root, modalities=("audio",)))
    assert (
        "1 recordings hold nothing but zeros in more than 40 % of their length, at the end: u3"
        in found["zeros_at_the_end"]
    )


# --- paths


def test_links_below_the_root_are_followed(root: Path, tmp_path: Path):
    expected = frames(root, "wav/0.wav")
    elsewhere = tmp_path / "objects"
    elsewhere.mkdir()
    (root / "wav" / "0.wav").rename(elsewhere / "ab12")
    (root / "wav" / "0.wav").symlink_to(elsewhere / "ab12")
    np.testing.assert_array_equal(frames(root, "wav/0.wav"), expected)
    (root / "links").symlink_to(elsewhere, target_is_directory=True)
    np.testing.assert_array_equal(frames(root, "links/ab12"), expected)
    np.testing.assert_array_equal(frames(root, str(root / "wav" / "0.wav")), expected)


PATHS = {
    "wav/00.wav": "audio file 'wav/00.wav' does not exist: did you mean '0.wav'?",
    "WAV/0.wav": "audio file 'WAV/0.wav' does not exist under",
    "wav": "audio path 'wav' is a folder, but must be a file",
    "wav\\0.wav": "audio path 'wav\\0.wav' does not exist: write / where it has backslashes",
    "../0.wav": "audio path '../0.wav' leaves the corpus root",
    "wav/../../0.wav": "audio path 'wav/../../0.wav' leaves the corpus root",
    "/etc/hostname": "audio path '/etc/hostname' leaves the corpus root",
    "wav/gone.wav": "audio file 'wav/gone.wav' is a link to nowhere, which does not exist",
    unicodedata.normalize("NFC", "wav/ü.wav"): "in another Unicode form: rename the file",
    "": "no audio path, but the model reads audio",
}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_is_no_file_is_named(name: str, root: Path):
    (root / "wav" / "gone.wav").symlink_to("nowhere")
    soundfile.write(root / "wav" / unicodedata.normalize("NFD", "ü.wav"), tone(), RATE)
    (root / "manifest.csv").write_text(table((0, f"u0,calm,a,{name},s0,0")))
    with pytest.raises(CorpusError) as told:
        read(root, modalities=("audio",))
    assert "manifest.csv:2: " in str(told.value)
    assert PATHS[name] in str(told.value)


# --- numbers from elsewhere


def precomputed(root: Path, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What the store holds of features in an .npz."""
    (root / "manifest.csv").write_text(table())
    np.savez(root / "features.npz", **arrays)
    config = FeaturesConfig(
        audio="precomputed", precomputed=PrecomputedConfig(audio=str(root / "features.npz"))
    )
    store = prepare_features(
        read(root), config, ["audio"], cache=Folder(str(root.parent / "cache"))
    )
    return [np.array(one) for one in store.modalities["audio"]]


def every(values: Callable[[int], Any]) -> dict[str, np.ndarray]:
    return {f"u{k}": np.asarray(values(k)) for k in range(12)}


KEPT = {
    "beyond half's steps": every(lambda k: np.float32([4999.5 + k % 2, 1])),
    "large and near": every(lambda k: np.float32([29997 + 6 * (k % 2), 1])),
    "tiny": every(lambda k: np.float32([5e-9 + 1e-8 * (k % 2), 1])),
    "doubles beyond float's steps": every(lambda k: np.float64([1e9 + k, 1])),
    "whole numbers": every(lambda k: np.array([2**40 + k, 1])),
    "bytes": every(lambda k: np.uint8([200 + k, 1])),
    "halves": every(lambda k: np.float16([0.5 * k, 1])),
    "big-endian": every(lambda k: np.array([0.1 * k, 1], dtype=">f4")),
    "frames": every(lambda k: np.full((k + 1, 3), 0.1 * k, dtype=np.float32)),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_a_user_brings_keeps_its_precision(case: str, root: Path):
    for k, found in enumerate(precomputed(root, KEPT[case])):
        np.testing.assert_array_equal(found, np.atleast_2d(KEPT[case][f"u{k}"]))


MIXED = {
    "one whole array among floats": ({**KEPT["tiny"], "u5": np.array([1, 2])}, "features of 'u5' are int64, those of 'u0' float32"),
    "one double among floats": ({**KEPT["tiny"], "u5": np.array([1.0, 2.0])}, "features of 'u5' are float64, those of 'u0' float32"),
    "another width": ({**KEPT["tiny"], "u5": np.float32([1])}, "features of 'u5' are 1 wide, those of 'u0' 2"),
    "no finite number": ({**KEPT["tiny"], "u5": np.float32([np.nan, 1])}, "features of utterance 'u5' hold NaN or infinity"),
    "text": ({**KEPT["tiny"], "u5": np.array(["a", "b"])}, "must be numbers [time, dim] or [dim]"),
    "complex": ({**KEPT["tiny"], "u5": np.array([1j, 2])}, "must be numbers [time, dim] or [dim]"),
    "truths": ({**KEPT["tiny"], "u5": np.array([True, False])}, "must be numbers [time, dim] or [dim]"),
    "a single number": ({**KEPT["tiny"], "u5": np.float32(3)}, "must be numbers [time, dim] or [dim]"),
    "beyond float32": (every(lambda k: np.array([1e39, 1.0])), "hold 1e+39, beyond float32"),
    "whole numbers beyond doubles": (every(lambda k: np.array([2**53 + k + 1, 1])), "whole numbers beyond 2**53"),
    "one that is missing": ({k: v for k, v in KEPT["tiny"].items() if k != "u5"}, "lacks audio features of 'u5'"),
}  # fmt: skip


@pytest.mark.parametrize("case", MIXED)
def test_features_that_do_not_fit_together_are_named(case: str, root: Path):
    arrays, message = MIXED[case]
    with pytest.raises(FeatureError) as told:
        precomputed(root, arrays)
    assert message in str(told.value)


def test_an_array_of_bytes_means_what_its_type_says(tmp_path: Path):
    folder = Folder(str(tmp_path))
    with pytest.raises(ValueError, match="arrays of different types or widths"):
        folder.write_npy("a.npy", np.ones((2, 3), np.float32), np.ones((2, 3), np.int64))
    with pytest.raises(ValueError, match="arrays of different types or widths"):
        folder.write_npy("a.npy", np.ones((2, 3), np.float32), np.ones((2, 4), np.float32))
    assert not os.listdir(tmp_path)


# --- settings


SETTINGS = {
    "--training.learning_rate=1e400": "learning_rate is inf, but must be",
    "--training.learning_rate=.inf": "learning_rate is inf, but must be",
    "--training.learning_rate=.nan": "learning_rate is nan, but must be",
    "--training.gradient_clip=.inf": "training.gradient_clip is inf, but must be a finite number",
    "--training.weight_decay=1e999": "weight_decay is inf, but must be",
    "--loss.gamma=.inf": "loss.gamma is inf, but must be",
    "--loss.omega=.inf": "loss.omega is inf, but must be a finite number",
    "--tracking.patience_seconds=.inf": "tracking.patience_seconds is inf, but must be",
    "--search.seconds=.nan": "search.seconds is nan, but must be",
    "--cluster.cpus_per_fold=1e9": "cluster.cpus_per_fold is 1000000000.0, but must be above 0, at most 1024",
    "--cluster.gpus_per_fold=1000": "cluster.gpus_per_fold is 1000.0, but must be 0, 1 or a fraction between",
    "--cluster.hello_seconds=.inf": "cluster.hello_seconds is inf, but must be",
    "--corpus.demo.utterances=1000000000": "corpus.demo.utterances is 1000000000, but must be 120 to 100000",
    "--training.batch_size=1000000000": "training.batch_size is 1000000000, but must be at most 1000000",
    "--training.max_epochs=99999999999": "training.max_epochs is 99999999999, but must be at most 1000000",
    "--model.cltnet.channels=1000000000": "model.cltnet.channels is 1000000000, but must be at most 1000000",
    "--search.num_trials=1000000000": "search.num_trials is 1000000000, but must be",
    "--corpus.manifest=my.csv": "corpus.manifest is 'my.csv', but must be empty unless corpus.name is manifest",
    "--corpus.emotions=[joy ,calm]": None,
    "--corpus.emotions=['joy ',calm]": "corpus.emotions is ['joy ', 'calm'], but must be names without blanks around them",
}


@pytest.mark.parametrize("flag", SETTINGS)
def test_a_number_that_nobody_can_mean_is_refused(flag: str):
    message = SETTINGS[flag]
    if message is None:
        assert parse([flag], program="test")[0].corpus.emotions == ("joy", "calm")
        return
    with pytest.raises(ConfigError) as told:
        parse([flag], program="test")
    assert message in str(told.value)


# --- corpora that are known


def emodb(folder: Path, seconds: float, rate: int, count: int = 20) -> CorpusConfig:
    """A copy of EmoDB's layout."""
    (folder / "wav").mkdir(parents=True)
    names = [
        f"{speaker}a01{emotion}{version}"
        for speaker in ("03", "08")
        for emotion in "WLEAF"
        for version in "ab"
    ]
    for k, name in enumerate(names[:count]):
        suffix = ".WAV" if k == 0 else ".wav"
        soundfile.write(folder / "wav" / f"{name}{suffix}", tone(seconds, rate, 300 + 10 * k), rate)
    (folder / "wav" / "._03a01Wa.wav").write_bytes(b"Mac OS X")
    return CorpusConfig(name="emodb", root=str(folder))


def test_a_copy_that_is_not_as_published_is_a_finding(tmp_path: Path):
    config = emodb(tmp_path / "emodb", 2.0, 22050)
    names = ("anger", "boredom", "disgust", "fear", "happiness")
    corpus = read_corpus(
        CorpusConfig(name="emodb", root=config.root, emotions=names),
        Classification,
        modalities=("audio",),
        cache=Folder(str(tmp_path / "cache")),
    )
    assert len(corpus) == 20  # also the .WAV, and not the ._ file
    found = kinds(corpus)
    assert (
        "20 utterances instead of 535; 20 files at 22050 Hz instead of 16000"
        in found["not_as_published"]
    )
    assert found["equal_lengths"].startswith("20 of 20 recordings are exactly 2.000 s long")


# --- texts and their tokens


def test_texts_with_lost_characters_are_counted_and_kept(root: Path):
    (root / "manifest.csv").write_text(table((0, "u0,calm,It\x92s \x93so\x94,wav/0.wav,s0,0")))
    corpus = read(root)
    assert corpus.utterances[0].text == "It\x92s \x93so\x94"
    assert kinds(corpus)["control_characters"].startswith(
        "1 texts hold control characters (0x92 in u0)"
    )
