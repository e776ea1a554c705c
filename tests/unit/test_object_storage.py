"""Leases on a local S3: one command has a folder, and the claim of one that died ends by itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from raysys.config import Config
from raysys.errors import StorageError
from raysys.object_storage import Holder, open_bucket
from raysys.settings import replaced
from raysys.similarity.prior import Origin, SimilarityPrior
from raysys.storage import Folder
from raysys.tracking.priors import resolve_prior

PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
from raysys.object_storage import Holder, open_bucket
from raysys.storage import Folder
folder, deed = Folder(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
if deed == "claim":
    print(folder.claim(lambda one: one.write_bytes('run.json', b'{}')), flush=True)
else:
    bucket, key = folder._object()
    holder = Holder(bucket.store, key, folder.uri, seconds=float(sys.argv[3]))
    holder.take()
    print("held", flush=True)
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        try:
            holder.check()
        except Exception as error:
            print(error, flush=True)
"""


@contextmanager
def started(s3: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, **s3},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_measured_matrix_is_read_from_a_bucket(bucket: str, tmp_path: Path):
    folder = Folder(bucket) / tmp_path.name / "similarity"
    matrix = [[1.0, 0.4], [0.4, 1.0]]
    record = {"emotions": ["calm", "joy"], "average": matrix, "corpus": "another"}
    folder.write_json("average.json", record)
    config = replaced(Config(), {"loss.omega": 0.5, "loss.similarity": folder.path("average.json")})
    origin = Origin("demo", (("u1",), ("u2",)))
    prior = resolve_prior(config, ("calm", "joy"), origin, runs=Folder(str(tmp_path)))
    assert prior is not None
    assert prior.values == [SimilarityPrior(matrix)] * 2


def go(process: subprocess.Popen) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def holder_of(folder: Folder, seconds: float) -> Holder:
    bucket, key = folder._object()
    return Holder(bucket.store, key, folder.uri, seconds)


def take_when_free(folder: Folder, seconds: float) -> Holder:
    """Ask until the lease of somebody who died has expired."""
    while True:
        holder = holder_of(folder, seconds)
        try:
            holder.take()
        except StorageError:
            time.sleep(0.2)
        else:
            return holder


@pytest.fixture
def folder(bucket: str, tmp_path: Path) -> Folder:
    return Folder(bucket) / "leases" / tmp_path.name


def test_of_commands_that_start_together_one_gets_the_folder(folder: Folder, s3):
    with (
        started(s3, folder.uri, "claim") as a,
        started(s3, folder.uri, "claim") as b,
        started(s3, folder.uri, "claim") as c,
    ):
        for process in (a, b, c):
            go(process)
        said = sorted(process.stdout.readline().strip() for process in (a, b, c))
    assert said == ["False", "False", "True"]


def test_a_folder_that_is_held_is_refused_and_freed_at_the_end(folder: Folder):
    folder.claim(lambda one: one.write_bytes("run.json", b"{}"))
    with folder.held() as still_held:
        still_held()
        with pytest.raises(StorageError, match=r"another command .* is writing to"), folder.held():
            pass
    with folder.held():
        pass


def test_a_claim_behind_which_nothing_came_is_taken_over(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
):
    bucket, key = folder._object()
    assert bucket.claim(key)  # and the command dies before it writes anything

    def begin(one: Folder) -> None:
        one.write_bytes("run.json", b"{}")

    assert not folder.claim(begin)
    monkeypatch.setattr("raysys.object_storage._LEASE_SECONDS", 0.0)
    monkeypatch.setattr("raysys.object_storage._SKEW", 0.0)
    time.sleep(1.1)  # the service's clock counts seconds
    assert folder.claim(begin)
    assert folder.names() == ["run.json"]
    assert not folder.claim(begin)


def test_the_claim_of_a_killed_command_ends_by_itself(folder: Folder, s3):
    with started(s3, folder.uri, "hold", "2") as process:
        go(process)
        assert process.stdout.readline() == "held\n"
        process.kill()
        process.wait()
        take_when_free(folder, 60).release()


def test_a_command_that_slept_too_long_notices_that_it_lost_the_folder(folder: Folder, s3):
    with started(s3, folder.uri, "hold", "2") as process:
        go(process)
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGSTOP)
        holder = take_when_free(folder, 60)
        process.send_signal(signal.SIGCONT)
        assert "has taken" in process.stdout.readline()
        holder.check()
        holder.release()


def test_what_the_service_says_is_one_line_that_names_the_place(bucket: str):
    with pytest.raises(StorageError, match=r"cannot read s3://nowhere/x: .*") as told:
        Folder("s3://nowhere").read_bytes("x")
    assert "\n" not in str(told.value)
    with pytest.raises(StorageError, match="nowhere"):
        Folder("s3://nowhere/run").claim(lambda one: None)


def test_an_array_is_mapped_from_a_copy_that_is_fetched_once(folder: Folder):
    import numpy as np

    folder.write_npy("x.npy", np.arange(5))
    first, again = folder.read_npy("x.npy"), folder.read_npy("x.npy")
    assert isinstance(first, np.memmap)
    assert first.filename == again.filename
    folder.write_npy("x.npy", np.arange(6))
    assert len(folder.read_npy("x.npy")) == 6
    assert open_bucket("s3://raysys") is open_bucket("s3://raysys")
