"""Encoders that were trained on the corpus: known by name, by what users add, by their cards."""

from pathlib import Path

import pytest

from raysys.config import Config
from raysys.encoders.training_data import trained_on
from raysys.errors import ConfigError
from raysys.settings import replaced

TRAINED, MENTIONED = "encoder_trained_on_corpus", "encoder_card_mentions_corpus"


def kinds(model: str, corpus: str, **extra: object) -> list[str]:
    return [finding.kind for finding in trained_on(model, corpus, **extra)]


@pytest.mark.parametrize(
    ("model", "corpora"),
    [
        ("j-hartmann/emotion-english-distilroberta-base", ["meld"]),
        ("j-hartmann/emotion-english-roberta-large", ["meld"]),
        ("tae898/emoberta-base", ["meld", "iemocap"]),
        ("ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition", ["ravdess"]),
        (
            "emotion2vec/emotion2vec_plus_large",
            ["emodb", "iemocap", "meld", "crema-d", "urdu", "savee"],
        ),
        ("superb/hubert-large-superb-er", ["iemocap"]),
        ("audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim", ["msp-podcast"]),
        ("someone/wav2vec2-Emo-DB", ["emodb"]),
        ("someone/hubert_iemocap6", ["iemocap"]),
    ],
)
def test_models_that_are_known_are_named(model: str, corpora: list[str]):
    for corpus in corpora:
        assert kinds(model, corpus) == [TRAINED]
    assert kinds(model, "somebody's own corpus") == []


@pytest.mark.parametrize(
    "model", ["openai/whisper-small", "facebook/hubert-base-ls960", "bert-base-uncased"]
)
def test_others_are_not(model: str):
    assert [kinds(model, corpus) for corpus in ("meld", "iemocap", "emodb", "demo", "esd")] == [
        []
    ] * 5


def test_users_extend_the_table():
    extra = {"our-model": ("ours",)}
    assert kinds("lab/Our-Model-v2", "ours", extra=extra) == [TRAINED]
    config = replaced(
        Config(),
        {
            "features.text": "transformers",
            "features.transformers.model": "lab/our-model-v2",
            "features.trained_on": ("our-model=ours", "our-model=theirs"),
        },
    )
    for corpus in ("ours", "theirs"):
        found = config.features.findings(("text",), corpus)
        assert [one.kind for one in found] == [TRAINED]
    hash(config.features)  # workers keep an encoder by its settings
    with pytest.raises(ConfigError, match="PART_OF_A_NAME=CORPUS"):
        replaced(Config(), {"features.trained_on": ("our-model",)})


def card(folder: Path, text: str) -> str:
    folder.mkdir()
    (folder / "README.md").write_text(text, encoding="utf-8")
    return str(folder)


def test_the_card_of_a_model_is_read(tmp_path: Path):
    listed = card(
        tmp_path / "a", "---\nlicense: mit\ndatasets:\n- zhang/CREMA-D\n- other\n---\nA model.\n"
    )
    assert kinds(listed, "crema-d") == [TRAINED]
    assert "as its card's datasets say" in trained_on(listed, "cremad")[0].message
    one = card(tmp_path / "b", "---\ndatasets: emo-db\n---\n")
    assert kinds(one, "emodb") == [TRAINED]
    text = card(
        tmp_path / "c", "Fine-tuned on IEMOCAP and the Berlin Database of Emotional Speech."
    )
    assert kinds(text, "iemocap") == kinds(text, "emodb") == [MENTIONED]
    assert kinds(text, "meld") == []
    assert kinds(card(tmp_path / "d", "It melds voices, and esda."), "meld") == []
    broken = card(tmp_path / "e", "---\ndatasets: [\n---\nSAVEE")
    assert kinds(broken, "savee") == [MENTIONED]


def test_an_encoder_without_a_model_reads_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "README.md").write_text("demo")
    monkeypatch.chdir(tmp_path)
    assert Config().features.findings(("audio", "text"), "demo") == []
