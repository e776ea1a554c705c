"""Recipes: folders of made-up files with the published names, read as the papers name speakers and emotions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile

import jobs.corpora
from raysys.corpus import NEEDS, READERS, CorpusConfig, read_corpus
from raysys.corpus.columns import read_manifest
from raysys.corpus.naming import FOLDER, load_recipe
from raysys.corpus.recipe import RecipeConfig
from raysys.corpus.table import Corpus
from raysys.errors import CorpusError
from raysys.storage import Folder
from raysys.tasks.classification import Classification
from tests.conftest import SHARED

TREES: Mapping[str, Mapping[str, tuple[str, str, str, str]]] = {
    # recipe -> file -> (speaker, emotion, the beginning of what is said, gender)
    "ravdess": {
        "Actor_01/03-01-01-01-01-01-01.wav": ("01", "neutral", "Kids", "male"),
        "Actor_12/03-01-08-02-02-01-12.wav": ("12", "surprise", "Dogs", "female"),
        "Actor_05/03-01-02-01-02-02-05.wav": ("05", "calm", "Dogs", "male"),
    },
    "crema_d": {
        "AudioWAV/1001_DFA_ANG_XX.wav": ("1001", "anger", "Don't", ""),
        "AudioWAV/1091_WSI_SAD_HI.wav": ("1091", "sadness", "We'll", ""),
        "AudioWAV/1076_MTI_SAD_X.wav": ("1076", "sadness", "Maybe", ""),
    },
    "savee": {
        "DC/a01.wav": ("DC", "anger", "", ""),
        "KL/su15.wav": ("KL", "surprise", "", ""),
        "JE_sa07.wav": ("JE", "sadness", "", ""),
    },
    "tess": {
        "OAF_angry/OAF_back_angry.wav": ("OAF", "anger", "Say the word back.", ""),
        "YAF_pleasant_surprised/YAF_bite_ps.wav": ("YAF", "surprise", "Say the word bite.", ""),
        "OAF_neutral/OA_bite_neutral.wav": ("OAF", "neutral", "Say the word bite.", ""),
    },
    "emovo": {
        "f1/dis-f1-b1.wav": ("f1", "disgust", "", "female"),
        "m3/gio-m3-l4.wav": ("m3", "happiness", "", "male"),
    },
    "nemo": {
        "audio/TP0_surprised_26.wav": ("TP0", "surprise", "", ""),
        "audio/KS0_sadness_3.flac": ("KS0", "sadness", "", ""),
    },
    "cafe": {
        "Colere/Faible/01-C-1-2.wav": ("01", "anger", "", ""),
        "Neutre/12-N-0-6.wav": ("12", "neutral", "", ""),
    },
    "esd": {
        "0011/Angry/0011_000351.wav": ("0011", "anger", "", ""),
        "0020/Surprise/train/0020_001420.wav": ("0020", "surprise", "", ""),
    },
    "shemo": {
        "female/F01A01.wav": ("F01", "anger", "", "female"),
        "male/M45W02.wav": ("M45", "surprise", "", "male"),
    },
    "aesdd": {
        "anger/a01 (1).wav": ("1", "anger", "", ""),
        "sadness/s05 (3)b.wav": ("3", "sadness", "", ""),
    },
    "jl_corpus": {
        "female1_angry_10a_1.wav": ("female1", "anger", "", "female"),
        "male2_excited_9b_2.wav": ("male2", "excitement", "", "male"),
    },
    "mesd": {
        "Anger_F_A_abajo.wav": ("F", "anger", "abajo", ""),
        "Sadness_C_B_robo_domicilio.wav": ("C", "sadness", "robo", ""),
    },
    "subesco": {
        "F_01_OISHI_S_1_ANGRY_1.wav": ("F_01", "anger", "", "female"),
        "M_10_ASHIQ_S_10_SURPRISE_5.wav": ("M_10", "surprise", "", "male"),
    },
    "urdu": {
        "Angry/SM1_F10_A010.wav": ("SM1", "anger", "", "male"),
        "Sad/SF10_F1_S01.flac": ("SF10", "sadness", "", "female"),
    },
    "emodb": {
        "wav/03a01Fa.wav": ("03", "happiness", "", ""),
        "wav/16b10Td.wav": ("16", "sadness", "", ""),
    },
}


def made(folder: Path, names: Mapping[str, object]) -> Path:
    random = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, random.normal(size=1600) / 20, 16000)
    return folder


def read(recipe: str, root: Path, cache: Path) -> Corpus:
    config = CorpusConfig(name="recipe", root=str(root), recipe=RecipeConfig(recipe))
    return read_corpus(config, Classification, modalities=("audio",), cache=Folder(str(cache)))


def test_the_list_says_what_every_reader_needs(capsys: pytest.CaptureFixture[str]):
    assert set(NEEDS) == set(READERS)
    assert jobs.corpora.main([]) == 0
    printed = capsys.readouterr().out
    for name in (*READERS, *TREES):
        assert name in printed


def test_every_recipe_that_comes_with_raysys_has_a_tree():
    assert set(TREES) == {file.stem for file in FOLDER.glob("*.yaml")}
    for name in TREES:
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.source
        assert recipe.licence


@pytest.mark.parametrize("recipe", TREES)
def test_names_are_read_as_they_were_published(recipe: str, tmp_path: Path):
    corpus = read(recipe, made(tmp_path / "root", TREES[recipe]), tmp_path / "cache")
    assert corpus.name == recipe
    assert len(corpus) == len(TREES[recipe])
    for row in corpus.utterances:
        speaker, emotion, said, gender = TREES[recipe][row.audio]
        assert (row.speaker, row.label) == (speaker, emotion)
        assert row.text.startswith(said)
        assert bool(row.text) == bool(said)
        assert (row.metadata or {}).get("gender", "") == gender


def test_a_recipe_takes_what_it_says_and_divides_into_sessions(tmp_path: Path):
    names = [f"03-01-0{1 + k % 8}-01-01-01-{k + 1:02d}.wav" for k in range(24)]
    song = "03-02-01-01-01-01-01.wav"
    corpus = read("ravdess", made(tmp_path / "root", dict.fromkeys([*names, song])), tmp_path / "c")
    assert len(corpus) == 24
    sessions = corpus.column("session")
    assert len(set(sessions)) == 6
    assert sessions[0] == "01+02+03+04"


VOTES = """,A,D,F,H,N,S,fileName,numResponses
100001,0,0,0,1,10,0,1001_IEO_NEU_XX,11
200001,9,0,0,0,0,0,1001_IEO_NEU_XX,9
100009,5,5,0,0,1,1,1001_IEO_ANG_MD,12
"""


def test_crema_d_takes_the_votes_of_those_who_only_heard(tmp_path: Path):
    names = ["1001_IEO_NEU_XX", "1001_IEO_ANG_MD", "1002_IEO_SAD_LO"]
    root = made(tmp_path / "root", {f"AudioWAV/{name}.wav": None for name in names})
    told = {one.kind for one in read("crema_d", root, tmp_path / "cache").findings}
    assert "no_vote_table" in told
    table = root / "processedResults/tabulatedVotes.csv"
    table.parent.mkdir()
    table.write_text(VOTES)
    corpus = read("crema_d", root, tmp_path / "cache")
    votes = {Path(row.audio).stem: row.votes for row in corpus.utterances}
    assert votes["1001_IEO_NEU_XX"] == {"happiness": 1, "neutral": 10}
    assert votes["1001_IEO_ANG_MD"] == {"anger": 5, "disgust": 5, "neutral": 1, "sadness": 1}
    assert votes["1002_IEO_SAD_LO"] is None
    assert "2 of 3 recordings have annotators' votes" in str(corpus.findings)
    table.write_text(VOTES.replace("200001", "100002"))
    with pytest.raises(CorpusError, match="comes twice"):
        read("crema_d", root, tmp_path / "cache")
    table.write_text(VOTES.replace("fileName", "file"))
    with pytest.raises(CorpusError, match="column 'fileName' is missing"):
        read("crema_d", root, tmp_path / "cache")


OWN = """
name: mine
files: "*.wav"
pattern: '(?P<speaker>[a-z]+)_(?P<emotion>\\d)_(?P<room>\\w+)'
emotions: {"1": joy, "2": rage}
"""


def test_a_recipe_of_one_s_own_is_a_few_lines(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(OWN)
    root = made(tmp_path / "root", dict.fromkeys(["ann_1_hall.wav", "bob_2_car.wav"]))
    corpus = read(str(tmp_path / "mine.yaml"), root, tmp_path / "cache")
    assert corpus.emotions == ("joy", "rage")
    assert [row.metadata for row in corpus.utterances] == [{"room": "hall"}, {"room": "car"}]


def test_suffixes_in_capitals_count_and_what_is_left_out_is_counted(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(OWN)
    names = ["ann_1_hall.WAV", "bob_2_car.wav", "bob_7_car.wav"]
    corpus = read(
        str(tmp_path / "mine.yaml"), made(tmp_path / "root", dict.fromkeys(names)), tmp_path / "c"
    )
    assert len(corpus) == 2
    told = {one.kind: one.message for one in corpus.findings}
    assert told["left_out"].startswith("1 of 3 files are not used")


BAD = {
    "a truth value": ("", OWN.replace('"1": joy', "NO: neutral"), "write it in quotes"),
    "an unknown group": ("", OWN + "only: {sent: ['1']}\n", "has no group 'sent'"),
    "no recipe": ("", "", "set --corpus.recipe.file"),
    "a slip": ("ravdes", "", "ravdess"),
    "no file": ("/nowhere/x.yaml", "", "there is no such recipe"),
    "an unknown key": ("", OWN + "colour: red\n", "unknown colour"),
    "a key that is missing": ("", "name: x\n", "is no recipe"),
    "a pattern that is none": ("", OWN.replace("(?P<room>", "(?P<room"), "is no recipe"),
    "a pattern without a speaker": ("", OWN.replace("<speaker>", "<who>"), "no group (?P<speaker>"),
    "nothing there": ("", OWN.replace("*.wav", "*.mp3"), "holds no *.mp3"),
    "other names": (
        "",
        OWN.replace("[a-z]+", "[A-Z]+"),
        "2 of 2 files are not named as mine's are",
    ),
    "no emotion": ("", OWN.replace('"1": joy, "2": rage', '"7": joy'), "has one of the emotions 7"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_a_recipe_cannot_read_is_named(case: str, tmp_path: Path):
    name, content, told = BAD[case]
    if content:
        (tmp_path / "own.yaml").write_text(content)
        name = str(tmp_path / "own.yaml")
    root = made(tmp_path / "root", dict.fromkeys(["ann_1_hall.wav", "bob_2_car.wav"]))
    with pytest.raises(CorpusError) as caught:
        read(name, root, tmp_path / "cache")
    assert told in str(caught.value)


@pytest.mark.parametrize(("recipe", "sessions"), [("nemo", 5), ("urdu", 1)])
def test_real_names_are_read_as_their_manifest_says(recipe: str, sessions: int, tmp_path: Path):
    root = SHARED / "data" / recipe
    if not (root / "manifest.csv").is_file():
        pytest.skip(f"no {recipe} at {root}")
    known = read_manifest(root / "manifest.csv", root=root, name=recipe).utterances
    labels = {row.audio: (row.speaker, row.label.replace("surprised", "surprise")) for row in known}
    config = CorpusConfig(name="recipe", root=str(root), recipe=RecipeConfig(recipe))
    found = read_corpus(config, Classification, modalities=(), cache=Folder(str(tmp_path)))
    assert {row.audio: (row.speaker, row.label) for row in found.utterances} == labels
    assert len(set(found.column("session"))) == sessions
