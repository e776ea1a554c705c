"""Features of large corpora on Ray Data's workers: as here, whatever is killed, in bounded memory."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from jobs.prepare import main as prepare
from raysys.cluster.extraction import on_workers
from raysys.corpus.table import Corpus, Utterance
from raysys.encoders import FeaturesConfig, prepare_features
from raysys.encoders.extraction import Through
from raysys.encoders.hashed import HashedConfig
from raysys.encoders.precomputed import PrecomputedConfig
from raysys.encoders.store import FeatureStore
from raysys.errors import FeatureError
from raysys.storage import Folder
from tests.conftest import CLUSTER, minilm
from tests.pretrained import make_audio_model

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("own_pool")]
ROOT = Path(__file__).resolve().parents[2]


def corpus_of_texts(root: Path, count: int) -> Corpus:
    texts = [f"so it is number {k} " * (k % 7 + 1) for k in range(count)]
    rows = tuple(Utterance(f"u{k}", "joy", text=text) for k, text in enumerate(texts))
    return Corpus("texts", root, ("joy", "rage"), rows, ("",) * count)


def workers(features: FeaturesConfig, modality: str) -> Through:
    return partial(on_workers, features, CLUSTER, modality)


def prepared(
    corpus: Corpus, features: FeaturesConfig, modality: str, cache: Path, *, skip_bad: bool = False
) -> FeatureStore:
    through = partial(workers, features)
    return prepare_features(
        corpus, features, [modality], cache=Folder(str(cache)), skip_bad=skip_bad, through=through
    )


def files_of(folder: Path) -> dict[str, bytes]:
    (store,) = (folder / "features").iterdir()
    return {file.name: file.read_bytes() for file in store.iterdir()}


def test_workers_write_the_store_that_this_process_writes(tmp_path: Path):
    corpus, features = corpus_of_texts(tmp_path, 2500), FeaturesConfig(hashed=HashedConfig(dim=8))
    prepared(corpus, features, "text", tmp_path / "there")
    prepare_features(corpus, features, ["text"], cache=Folder(str(tmp_path / "here")))
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    assert "00002.values.npy" in files_of(tmp_path / "there")


def test_a_bad_file_costs_a_row_on_workers_too(tmp_path: Path):
    rows = [Utterance(f"u{k}", "joy", video=f"{k}.npy") for k in range(20)]
    for k, row in enumerate(rows):
        np.save(tmp_path / row.video, np.full((k + 1, 3), k, dtype=np.float32))
    (tmp_path / "7.npy").write_bytes(b"no array")
    corpus = Corpus("films", tmp_path, ("joy", "rage"), tuple(rows), ("",) * 20, (), False)
    corpus = replace(corpus, video_digests=tuple(map(str, range(20))))
    features = FeaturesConfig(precomputed=PrecomputedConfig())
    with pytest.raises(FeatureError, match=r"'u7' cannot be read.* --corpus.skip_bad true"):
        prepared(corpus, features, "video", tmp_path)
    store = prepared(corpus, features, "video", tmp_path, skip_bad=True)
    assert list(store.failed) == [7]
    left = corpus.without(store.failed)
    kept = store.take([k for k in range(20) if k not in store.failed]).modalities["video"]
    assert left.quarantine[0].utterance_id == "u7"
    assert [len(kept[k]) for k in range(len(left))] == [k + 1 for k in range(20) if k != 7]


def test_a_model_that_cannot_be_used_ends_with_one_line(tmp_path: Path):
    features = FeaturesConfig(text="transformers")
    tokens = replace(features.transformers, model=minilm(), max_tokens=4000, batch_tokens=4000)
    features = replace(features, transformers=tokens)
    with pytest.raises(FeatureError, match=r"reads at most \d+ tokens: set --features"):
        prepared(corpus_of_texts(tmp_path, 3), features, "text", tmp_path)


def printed(script: str, folder: Path) -> list[float]:
    """The numbers that a script prints, run with a Ray of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    return [float(number) for number in line.split()[1:]]


MEMORY = """
import resource, sys
from functools import partial
from pathlib import Path
import ray
from raysys.cluster.extraction import on_workers
from raysys.config.running import ClusterConfig
from raysys.encoders import FeaturesConfig, prepare_features, store
from raysys.encoders.hashed import HashedConfig
from raysys.storage import Folder
from tests.cluster.test_extraction import corpus_of_texts

ray.init(address="local", num_cpus=2, object_store_memory=100 * 2**20, include_dashboard=False,
         log_to_driver=False, logging_level="ERROR")
store.SHARD = 128
features = FeaturesConfig(hashed=HashedConfig(dim=4096))
corpus = corpus_of_texts(Path(sys.argv[1]), 3000)
through = partial(partial, on_workers, features, ClusterConfig(workers=1))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = prepare_features(corpus, features, ["text"], cache=Folder(sys.argv[1]), through=through)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
text = made.modalities["text"]
print("RESULT", text.total_time * text.dim * 2 / 2**20, peak / 2**10)
"""


@pytest.mark.proof("encoders", "cluster", "storage")
def test_memory_is_bounded_where_features_are_larger_than_the_object_store(tmp_path: Path):
    """Some 480 MB of features through an object store of 100 MB, in shards of 20 MB."""
    features, peak = printed(MEMORY, tmp_path)
    assert features > 400
    assert peak < features / 2


GPU = """
import sys
from functools import partial
from pathlib import Path
import ray
from raysys.cluster.extraction import on_workers
from raysys.config.running import ClusterConfig
from raysys.encoders import FeaturesConfig, prepare_features
from raysys.encoders.audio_transformers import AudioTransformersConfig
from raysys.storage import Folder
from raysys.corpus.table import Corpus, Utterance

root = Path(sys.argv[1])
ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False,
         logging_level="ERROR")
rows = tuple(Utterance(f"u{k}", "joy", audio=f"{k}.wav") for k in range(12))
corpus = Corpus("sounds", root, ("joy", "rage"), rows, tuple("abcdefghijkl"))
features = FeaturesConfig(
    audio="audio_transformers", audio_transformers=AudioTransformersConfig(model=str(root / "model"))
)
through = partial(partial, on_workers, features, ClusterConfig(workers=2))
there = prepare_features(corpus, features, ["audio"], cache=Folder(str(root / "a")), through=through)
here = prepare_features(corpus, features, ["audio"], cache=Folder(str(root / "b")))
one, other = there.modalities["audio"], here.modalities["audio"]
print("RESULT", max(float(abs(one[k] - other[k]).max()) for k in range(12)), len(one[3]))
"""


@pytest.mark.proof("encoders", "cluster", "storage")
def test_where_ray_has_gpus_files_are_read_on_cpus_beside_them(tmp_path: Path):
    """Ray is told of a GPU, so that the work is laid out for one; what computes is the machine's."""
    import soundfile

    make_audio_model("hubert", tmp_path / "model")
    random = np.random.default_rng(0)
    for k in range(12):
        samples = 0.1 * random.standard_normal(4000 + 100 * k)
        soundfile.write(tmp_path / f"{k}.wav", samples, 16000)
    difference, frames = printed(GPU, tmp_path)
    assert difference <= 2e-2  # float16, and another number of threads
    assert frames > 3


@pytest.mark.proof("encoders", "cluster", "storage")
def test_an_extraction_that_was_killed_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The command and all that Ray started for it, killed when the first shard stands; the others run here."""
    texts = corpus_of_texts(tmp_path, 2500)
    lines = [
        "utterance_id,label,text",
        *(f"{r.utterance_id},joy,{r.text}" for r in texts.utterances),
    ]
    (tmp_path / "manifest.csv").write_text("\n".join([*lines, "last,rage,no"]))
    flags = ["--corpus.name", "manifest", "--corpus.root", str(tmp_path)]
    flags += ["--model.modalities", "[text]", "--features.text", "transformers"]
    flags += ["--features.transformers.model", minilm()]
    first = subprocess.Popen(
        [sys.executable, "-m", "jobs.prepare", *flags],
        cwd=ROOT,
        env={**os.environ, "RAYSYS_HOME": str(tmp_path / "killed")},
        start_new_session=True,
    )
    while not list(tmp_path.glob("killed/cache/features/*/00000.offsets.npy")):
        assert first.poll() is None
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not list(tmp_path.glob("killed/cache/features/*/features.json"))
    for home in ("killed", "undisturbed"):
        monkeypatch.setenv("RAYSYS_HOME", str(tmp_path / home))
        assert prepare(flags) == 0
    killed, undisturbed = (
        files_of(tmp_path / home / "cache") for home in ("killed", "undisturbed")
    )
    killed = {name: content for name, content in killed.items() if not name.startswith(".")}
    assert killed == undisturbed
