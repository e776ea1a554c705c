"""The fold pool on a real Ray: faults inside folds, dying workers, cancellation, no room."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from raysys.cluster.ledger import Event
from raysys.cluster.pool import FoldPool, _own_folder
from raysys.cluster.serving import check_room
from raysys.config.running import ClusterConfig
from raysys.errors import PoolError
from tests.cluster.command import wait_for
from tests.cluster.work import Errand, square
from tests.conftest import StandingPool

pytestmark = pytest.mark.cluster

ATTEMPTS = 2


@pytest.fixture(scope="module")
def lender(standing: StandingPool) -> Iterator[FoldPool]:
    """Two workers for the tests that only need some, and that these tests kill."""
    standing.close()
    config = ClusterConfig(workers=2, max_attempts=ATTEMPTS)
    with FoldPool(square, config, most_tasks=5) as pool:
        yield pool


def finish(pool: FoldPool, count: int) -> tuple[dict, dict]:
    """Results and failures by key, once there are `count` of them."""
    results, failures = {}, {}
    for events in pool.events():
        for event in events:
            if event.kind == "done":
                assert event.key not in results
                results[event.key] = event.payload.value
            if event.kind == "failed":
                failures[event.key] = event.payload
        if len(results) + len(failures) >= count:
            return results, failures
    raise AssertionError("events never end")


def test_tasks_get_what_is_shared_and_a_raising_fold_fails_alone(lender: FoldPool):
    tasks = [Errand("t", k, deed="raise" if k == 2 else "") for k in range(5)]
    with lender.lend(shared=100) as pool:
        pool.submit(tasks)
        results, failures = finish(pool, 5)
        assert results == {("t", k): k**2 + 100 for k in (0, 1, 3, 4)}
        assert "ValueError: bad fold" in failures["t", 2][0]
        pool.submit([Errand("later", 3)])  # the same workers go on
        assert finish(pool, 1)[0] == {("later", 3): 109}


def test_a_process_whose_gpu_is_spoilt_ends_and_its_fold_goes_on_in_another(
    lender: FoldPool, tmp_path: Path
):
    tasks = [Errand("t", 0, "spoil once", str(tmp_path)), *(Errand("t", k) for k in (1, 2))]
    with lender.lend() as pool:
        pool.submit(tasks)
        results, failures = finish(pool, 3)
        assert results == {("t", k): k**2 for k in range(3)}
        assert not failures
    spoilt = int((tmp_path / "spoilt").read_text())
    wait_for(lambda: not Path(f"/proc/{spoilt}").exists())


def test_a_killed_worker_returns_its_lease_and_a_poisonous_fold_fails_alone(
    lender: FoldPool, tmp_path: Path
):
    tasks = [Errand("t", 0, "die once", str(tmp_path)), Errand("t", 1, "die")]
    tasks += [Errand("t", k) for k in (2, 3)]
    with lender.lend() as pool:
        pool.submit(tasks)
        results, failures = finish(pool, 4)
    assert results == {("t", 0): 0, ("t", 2): 4, ("t", 3): 9}
    assert list(failures) == [("t", 1)]
    assert len(failures["t", 1]) == ATTEMPTS


def test_a_killed_worker_costs_the_others_nothing(lender: FoldPool):
    """The events say it: the other fold is never handed out again, and none of its epochs is missing."""
    events: list[Event] = []
    with lender.lend() as pool:
        pool.submit([Errand("t", k, "forever") for k in (0, 1)])

        def seen(kind: str, key: object = None) -> list[Event]:
            return [one for one in events if one.kind == kind and one.key == key]

        stream = pool.events()
        while not (seen("epoch", ("t", 0)) and seen("epoch", ("t", 1))):
            events.extend(next(stream))
        victim = seen("taken", ("t", 0))[0].rank
        os.kill(seen("epoch", ("t", 0))[0].payload.process, signal.SIGKILL)
        while len(seen("taken", ("t", 0))) < 2:
            events.extend(next(stream))
        since = len(seen("epoch", ("t", 1)))
        while len(seen("epoch", ("t", 1))) < since + 5:
            events.extend(next(stream))
        assert len(seen("taken", ("t", 1))) == 1
        assert [one.rank for one in seen("gone")] == [victim]
        epochs = [one.payload.epoch for one in seen("epoch", ("t", 1))]
        assert epochs == list(range(1, len(epochs) + 1))


def test_a_queue_that_is_killed_goes_on_with_all_that_it_knew(lender: FoldPool):
    tasks = [Errand("t", 0, "forever"), *(Errand("t", k) for k in (1, 2, 3))]
    with lender.lend(shared=10) as pool:
        pool.submit(tasks)
        results, failures = finish(pool, 3)
        ray.kill(pool.queue, no_restart=False)
        pool.submit([Errand("later", 5)])
        assert finish(pool, 1) == ({("later", 5): 35}, {})
        ray.kill(pool.queue, no_restart=False)
        pool.cancel("t")
        assert finish(pool, 1) == ({("t", 0): -1}, {})
    assert (results, failures) == ({("t", 1): 11, ("t", 2): 14, ("t", 3): 19}, {})


def test_what_is_cancelled_stops_and_a_pool_that_ends_frees_its_cpus(own_pool: None):
    with FoldPool(square, ClusterConfig(workers=1), most_tasks=1) as pool:
        pool.submit([Errand("t", 0, "forever"), Errand("t", 1)])
        next(e for events in pool.events() for e in events if e.kind == "epoch")
        pool.cancel("t")
        results, failures = finish(pool, 2)
    assert results == {("t", 0): -1}
    assert failures == {("t", 1): ["cancelled"]}
    wait_for(lambda: ray.available_resources().get("CPU", 0) == 2)
    with pytest.raises(ray.exceptions.ActorDiedError):  # the queue ends with its pool, by and by
        for _ in range(1000):
            ray.get(pool.queue.cancel.remote("later"))
            time.sleep(0.1)


def test_a_pool_without_room_says_what_it_asked_for_and_what_there_is(tmp_path: Path):
    config = ClusterConfig(workers=1, cpus_per_fold=64, hello_seconds=3)
    with (
        pytest.raises(PoolError, match=r"asked for 1 x 64 CPU, the cluster has 2 CPU"),
        FoldPool(square, config, most_tasks=1) as pool,
    ):
        pool.submit([Errand("t", 0)])
        finish(pool, 1)


def test_replicas_without_room_are_refused_where_nothing_grows_and_said_elsewhere(
    capfd: pytest.CaptureFixture[str],
):
    takes = {"CPU": 1.0, "GPU": 0.0}
    check_room(2, takes, grows=False)
    for replicas, more in ((3, {}), (1, {"GPU": 1.0})):
        with pytest.raises(PoolError, match="the cluster has 2 CPU: lower --replicas, --cpus or"):
            check_room(replicas, takes | more, grows=False)
    check_room(3, takes, grows=True)
    assert "asked for 3 x 1 CPU, the cluster has 2 CPU: waiting for nodes" in capfd.readouterr().err


def test_a_gpu_that_no_node_has_is_said_at_once_where_nothing_brings_one(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("raysys.cluster.pool._JOIN_SECONDS", 1.0)
    config = ClusterConfig(workers=1, gpus_per_fold=1)
    with FoldPool(square, config, most_tasks=1) as pool:
        told = "no node has room for a worker, 1 s to wait: asked for 1 x 1 CPU, 1 GPU"
        assert told in capfd.readouterr().err
        pool.submit([Errand("t", 0)])
        with pytest.raises(PoolError, match="asked for 1 x 1 CPU, 1 GPU, the cluster has 2 CPU"):
            finish(pool, 1)
    with FoldPool(square, replace(config, max_workers=2), most_tasks=1):  # an autoscaler may
        assert "900 s to wait" in capfd.readouterr().err


HOLDER = """
import sys, tempfile
from raysys.cluster.pool import _own_folder
tempfile.tempdir = sys.argv[1]
kept = _own_folder()
print(kept[0], flush=True)
sys.stdin.read()
"""


def test_folders_of_dead_pools_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def started() -> tuple[subprocess.Popen, Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        folder = Path(process.stdout.readline().strip())
        (folder / "train").mkdir()
        os.utime(folder, (0, 0))
        return process, folder

    living, held = started()
    dead, left = started()
    dead.kill()
    dead.wait()
    new = tmp_path / "raysys-pool-new"  # not locked yet
    new.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own, lock = _own_folder()
    lock.release()
    assert [one.exists() for one in (held, left, new, own)] == [True, False, True, True]
    living.kill()
    living.wait()


@pytest.mark.proof("cluster")
def test_a_local_ray_without_room_is_refused_at_once(tmp_path: Path, cache_root: Path):
    flags = ["--cluster.workers", "99", "--corpus.demo.utterances", "150"]
    storage = ["--storage.runs", str(tmp_path), "--storage.cache", str(cache_root)]
    ran = subprocess.run(
        [sys.executable, "-m", "jobs.cross_validate", *flags, *storage],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert "error: asked for 99 x 1 CPU, the cluster has" in ran.stderr


SESSIONS = """
import os
import ray
from raysys.cluster.session import ray_session
from raysys.config.running import ClusterConfig

before = dict(os.environ)
for _ in range(2):
    with ray_session(ClusterConfig(workers=1)):
        assert os.environ["OMP_NUM_THREADS"] == "1"
        threads = ray.get(ray.remote(lambda: os.environ["OMP_NUM_THREADS"]).remote())
        assert threads == "1"
    assert dict(os.environ) == before
print("as it was")
"""


@pytest.mark.proof("cluster")
def test_a_session_leaves_the_environment_as_it_was():
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", SESSIONS], capture_output=True, text=True, env=environment
    )
    assert done.stdout == "as it was\n", done.stderr[-2000:]
