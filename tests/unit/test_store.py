"""The feature store: reused only when everything matches, refused when damaged."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from raysys.config import Config
from raysys.corpus.table import Corpus, Utterance
from raysys.encoders import FeaturesConfig, prepare_features
from raysys.encoders.encoder import code_digest
from raysys.encoders.pretrained import PretrainedModel
from raysys.encoders.store import extract_store, open_store, store_folder
from raysys.encoders.transformers import TransformersConfig
from raysys.errors import FeatureError
from raysys.storage import Folder
from tests.conftest import corpus_of, minilm


class Counting:
    """An encoder of known values."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def fingerprint(self) -> dict[str, Any]:
        return {"scale": self.scale}

    def encode(self, rows: Any, root: Path) -> Any:
        for k in reversed(range(len(rows))):
            yield k, np.full((k % 3 + 1, 2), k * self.scale, dtype=np.float32)


@pytest.fixture
def corpus(small: Config, cache_root: Path) -> Corpus:
    return corpus_of(small, cache_root)


def extract(corpus: Corpus, encoder: Counting, cache: Folder):
    return extract_store(corpus, "text", encoder, cache, progress=lambda items: items)


def test_what_is_extracted_is_opened_again_in_order(corpus: Corpus, tmp_path: Path):
    cache = Folder(str(tmp_path))
    assert open_store(corpus, "text", Counting(), cache) is None
    made = extract(corpus, Counting(), cache)
    opened = open_store(corpus, "text", Counting(), cache)
    np.testing.assert_array_equal(opened.values, made.values)
    np.testing.assert_array_equal(opened[7], np.full((2, 2), 7))
    assert isinstance(opened.values, np.memmap)
    assert opened.values.dtype == np.float16


def test_another_encoder_corpus_or_modality_is_not_reused(corpus: Corpus, tmp_path: Path):
    cache = Folder(str(tmp_path))
    extract(corpus, Counting(), cache)
    rows = list(corpus.utterances)
    rows[0] = replace(rows[0], text="other words")
    assert open_store(corpus, "text", Counting(2.0), cache) is None
    assert open_store(replace(corpus, utterances=tuple(rows)), "text", Counting(), cache) is None
    assert open_store(corpus, "audio", Counting(), cache) is None


@pytest.mark.parametrize("name", ["values.npy", "offsets.npy", "features.json"])
def test_a_truncated_store_is_refused_with_the_remedy(corpus: Corpus, tmp_path: Path, name: str):
    cache = Folder(str(tmp_path))
    extract(corpus, Counting(), cache)
    folder = store_folder(corpus, "text", Counting(), cache)
    folder.write_bytes(name, folder.read_bytes(name)[:-40])
    with pytest.raises(FeatureError, match=f"delete {tmp_path}"):
        open_store(corpus, "text", Counting(), cache)


def test_features_that_are_not_numbers_are_named_and_nothing_is_written(
    corpus: Corpus, tmp_path: Path
):
    cache = Folder(str(tmp_path))
    row = corpus.utterances[1].utterance_id
    with pytest.raises(
        FeatureError, match=f"text features of utterance '{row}' hold NaN or infinity"
    ):
        extract(corpus, Counting(70000.0), cache)  # beyond float16
    assert not (tmp_path / "features").exists()


def test_whole_numbers_are_kept_whole(corpus: Corpus, tmp_path: Path):
    """Token ids and indices: as float16, 2,049 would be 2,048."""

    class Ids(Counting):
        def encode(self, rows: Any, root: Path) -> Any:
            for k in range(len(rows)):
                yield k, np.full((1, 1), 2049 + k, dtype=np.int64)

    extract(corpus, Ids(), Folder(str(tmp_path)))
    opened = open_store(corpus, "text", Ids(), Folder(str(tmp_path)))
    assert opened.values.dtype == np.int64
    assert opened.values[:, 0].tolist() == [2049 + k for k in range(len(corpus))]


def test_a_comment_or_docstring_leaves_a_store_as_it_is_and_other_code_does_not(tmp_path: Path):
    def digest_of(text: str) -> str:
        (tmp_path / "encoder.py").write_text(text)
        module = ModuleType("encoder")
        module.__file__ = str(tmp_path / "encoder.py")
        return code_digest(module)

    plain = digest_of("def f(x):\n    return x + 1\n")
    assert digest_of('"""Why."""\n\n\ndef f(x):  # so\n    """How."""\n    return x + 1\n') == plain
    assert digest_of("def f(x):\n    return x + 2\n") != plain


def test_a_store_is_found_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    rows = [Utterance("a", text="one"), Utterance("b", text="two words")]
    corpus = Corpus("c", tmp_path, ("x", "y"), tuple(rows), ("", ""))
    config = FeaturesConfig(
        text="transformers", transformers=TransformersConfig(model=minilm(), layers=(1,))
    )
    cache = Folder(str(tmp_path))
    made = prepare_features(corpus, config, ["text"], cache=cache)
    monkeypatch.setattr(PretrainedModel, "load", lambda *a, **k: pytest.fail("loaded"))
    again = prepare_features(corpus, config, ["text"], cache=cache)
    assert again.digest == made.digest
    np.testing.assert_array_equal(again.modalities["text"].values, made.modalities["text"].values)
