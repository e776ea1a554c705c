"""The feature store: reused only when everything matches, refused when damaged."""

import os
import pickle
import signal
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from raysys.batches.normalise import by_speaker
from raysys.config import Config
from raysys.corpus.table import Corpus, Utterance
from raysys.encoders import FeaturesConfig, prepare_features, ragged, store
from raysys.encoders.encoder import Encoder, Source, code_digest
from raysys.encoders.pretrained import PretrainedModel
from raysys.encoders.ragged import Ragged
from raysys.encoders.store import extract_store, open_store, store_folder
from raysys.encoders.transformers import TransformersConfig
from raysys.errors import DamagedError, FeatureError
from raysys.storage import Folder
from tests.conftest import corpus_of, minilm


class Counting(Encoder):
    """An encoder of known values."""

    portion = 16.0

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def fingerprint(self) -> dict[str, Any]:
        return {"scale": self.scale}

    def read(self, source: Source, root: Path) -> int:
        return source.position

    def encode(self, items: Any) -> Any:
        for place, k in reversed(list(enumerate(items))):
            yield place, self.frames(k)

    def frames(self, k: int) -> np.ndarray:
        return np.full((k % 3 + 1, 2), k * self.scale, dtype=np.float32)


@pytest.fixture
def corpus(small: Config, cache_root: Path) -> Corpus:
    return corpus_of(small, cache_root)


def same(one: Ragged, other: Ragged) -> bool:
    """Whether two stores hold the same utterances."""
    return len(one) == len(other) and all(
        np.array_equal(one[k], other[k]) and one[k].dtype == other[k].dtype for k in range(len(one))
    )


def extract(corpus: Corpus, encoder: Counting, cache: Folder):
    return extract_store(corpus, "text", encoder, cache)


def test_what_is_extracted_is_opened_again_in_order(corpus: Corpus, tmp_path: Path):
    cache = Folder(str(tmp_path))
    assert open_store(corpus, "text", Counting(), cache) is None
    made = extract(corpus, Counting(), cache)
    opened = open_store(corpus, "text", Counting(), cache)
    assert same(opened, made)
    np.testing.assert_array_equal(opened[7], np.full((2, 2), 7))
    assert isinstance(opened[7], np.memmap)
    assert opened.dtype == np.float16


def test_another_encoder_corpus_or_modality_is_not_reused(corpus: Corpus, tmp_path: Path):
    cache = Folder(str(tmp_path))
    extract(corpus, Counting(), cache)
    rows = list(corpus.utterances)
    rows[0] = replace(rows[0], text="other words")
    assert open_store(corpus, "text", Counting(2.0), cache) is None
    assert open_store(replace(corpus, utterances=tuple(rows)), "text", Counting(), cache) is None
    assert open_store(corpus, "audio", Counting(), cache) is None


DAMAGES = {
    "cut": lambda content: content[:-40],
    "empty": lambda content: b"",
    "zeroed": lambda content: bytes(len(content)),
    "a bit in the head": lambda content: content[:9] + bytes([content[9] ^ 1]) + content[10:],
    "a bit in the middle": lambda content: _flipped(content, len(content) // 2),
    "a bit at the end": lambda content: _flipped(content, len(content) - 3),
    "a list": lambda content: b"[]",
    "nothing": lambda content: b"null",
}


def _flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name", ["00000.values.npy", "00000.offsets.npy", "00000.json", "features.json"]
)
def test_what_is_damaged_is_encoded_again(corpus: Corpus, tmp_path: Path, name: str, damage: str):
    cache, encoder = Folder(str(tmp_path)), Counting()
    whole = extract(corpus, encoder, cache)
    expected = [np.array(one) for one in whole]
    folder = store_folder(corpus, "text", encoder, cache)
    folder.write_bytes(name, DAMAGES[damage](folder.read_bytes(name)))
    if name != "00000.json":  # features.json holds what it says
        with pytest.raises(DamagedError, match=f"{name} is damaged"):
            open_store(corpus, "text", encoder, cache)
        assert open_store(corpus, "text", encoder, cache) is None
        assert folder.exists("00000.json") == (name == "features.json")
    again = extract(corpus, encoder, cache)
    assert all(np.array_equal(one, other) for one, other in zip(again, expected, strict=True))
    opened = open_store(corpus, "text", encoder, cache)
    assert opened is not None
    assert same(opened, again)


@pytest.mark.parametrize("sent", [True, False])
def test_a_shard_is_compared_when_it_is_first_read(
    corpus: Corpus, tmp_path: Path, sent: bool, monkeypatch: pytest.MonkeyPatch
):
    """What is too large to be sent is opened unread: a damage shows when a frame is asked for, and is done again."""
    cache = Folder(str(tmp_path))
    if not sent:
        for module in (store, ragged):
            monkeypatch.setattr(module, "SENT_BYTES", 10)
    extract(corpus, Counting(), cache)
    folder = store_folder(corpus, "text", Counting(), cache)
    content = folder.read_bytes("00000.values.npy")
    folder.write_bytes("00000.values.npy", _flipped(content, len(content) - 3))
    if sent:
        with pytest.raises(DamagedError, match="00000.values.npy is damaged"):
            open_store(corpus, "text", Counting(), cache)
        return
    opened = open_store(corpus, "text", Counting(), cache)
    assert opened is not None
    moved = pickle.loads(pickle.dumps(opened))  # as to a worker, which maps the file
    for one in (opened, moved):
        with pytest.raises(FeatureError, match="is damaged.*run the same command again"):
            one[3]
    assert open_store(corpus, "text", Counting(), cache) is None
    np.testing.assert_array_equal(extract(corpus, Counting(), cache)[3], np.full((1, 2), 3))


def test_features_that_are_not_numbers_are_named_and_no_store_is_complete(
    corpus: Corpus, tmp_path: Path
):
    cache = Folder(str(tmp_path))
    row = corpus.utterances[1].utterance_id  # the first has zeros
    with pytest.raises(FeatureError, match=f"features of utterance '{row}' hold NaN or infinity"):
        extract(corpus, Counting(70000.0), cache)  # beyond float16
    assert open_store(corpus, "text", Counting(70000.0), cache) is None


def test_whole_numbers_are_kept_whole(corpus: Corpus, tmp_path: Path):
    """Token ids and indices: as float16, 2,049 would be 2,048."""

    class Ids(Counting):
        def frames(self, k: int) -> np.ndarray:
            return np.full((1, 1), 2049 + k, dtype=np.int64)

    extract(corpus, Ids(), Folder(str(tmp_path)))
    opened = open_store(corpus, "text", Ids(), Folder(str(tmp_path)))
    assert opened.dtype == np.int64
    assert [int(opened[k][0, 0]) for k in range(len(corpus))] == [
        2049 + k for k in range(len(corpus))
    ]


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
    assert same(again.modalities["text"], made.modalities["text"])


def files_of(folder: Folder) -> dict[str, bytes]:
    return {name: folder.read_bytes(name) for name in folder.names()}


def test_what_was_killed_goes_on_after_its_shards_to_the_same_bytes(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "SHARD", 40)

    class Dying(Counting):
        def frames(self, k: int) -> np.ndarray:
            if k == 95:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().frames(k)

    class Watched(Counting):
        def frames(self, k: int) -> np.ndarray:
            encoded.append(k)
            return super().frames(k)

    encoded: list[int] = []
    cache, undisturbed = Folder(str(tmp_path / "a")), Folder(str(tmp_path / "b"))
    child = os.fork()
    if child == 0:
        extract(corpus, Dying(), cache)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert open_store(corpus, "text", Counting(), cache) is None
    extract(corpus, Watched(), cache)
    extract(corpus, Counting(), undisturbed)
    assert sorted(encoded) == list(range(80, len(corpus)))  # two shards of 40 were there
    place, other = (store_folder(corpus, "text", Counting(), one) for one in (cache, undisturbed))
    assert files_of(place) == files_of(other)


def test_shards_are_one_array_for_those_who_read(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = extract(corpus, Counting(), Folder(str(tmp_path / "a")))
    monkeypatch.setattr(store, "SHARD", 7)
    cut = extract(corpus, Counting(), Folder(str(tmp_path / "b")))
    assert len(cut.shards) > 20
    assert same(cut, whole)
    speakers = corpus.column("speaker")
    assert same(by_speaker(cut, speakers), by_speaker(whole, speakers))


def test_extraction_holds_one_shard_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """64 MB of features in shards of 2 MB."""

    class Large(Counting):
        def frames(self, k: int) -> np.ndarray:
            return np.full((64, 1024), k % 7, dtype=np.float32)

    rows = tuple(Utterance(str(k), text="so") for k in range(512))
    corpus = Corpus("c", tmp_path, ("x", "y"), rows, ("",) * len(rows))
    monkeypatch.setattr(store, "SHARD", 16)
    tracemalloc.start()
    made = extract(corpus, Large(), Folder(str(tmp_path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.total_time * made.dim * 2 == 64 * 2**20
    assert peak < 16 * 2**20


def test_large_features_are_mapped_by_workers_and_not_sent(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = extract(corpus, Counting(), Folder(str(tmp_path)))
    normal = by_speaker(made, corpus.column("speaker"))
    sent = {name: pickle.dumps(one) for name, one in (("made", made), ("normal", normal))}
    monkeypatch.setattr(ragged, "SENT_BYTES", 100)
    for name, one in (("made", made), ("normal", normal)):
        named = pickle.dumps(one)
        assert len(named) < len(sent[name])
        again = pickle.loads(named)
        assert isinstance(again.shards[0], np.memmap)
        assert same(again, one)
    for file in tmp_path.rglob("*.values.npy"):
        file.unlink()
    with pytest.raises(FeatureError, match="put --storage.cache on object storage, or on a disk"):
        pickle.loads(named)


def test_shards_of_different_widths_are_refused(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Widening(Counting):
        def frames(self, k: int) -> np.ndarray:
            return np.ones((1, 2 if k < 100 else 3), dtype=np.float32)

    monkeypatch.setattr(store, "SHARD", 50)
    with pytest.raises(FeatureError, match=r"text features are of widths \[2, 3\]"):
        extract(corpus, Widening(), Folder(str(tmp_path)))
