"""How Ray starts for a command: for this machine alone, slow or not at all, and ended while it does."""

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient

from raysys.benchmarks.local_cluster import running_cluster
from tests.cluster.command import ROOT, SETTINGS, Command, processes_of, storage, wait_for
from tests.cluster.gate import HANGS_SECONDS, Gate, process_at

pytestmark = [pytest.mark.cluster, pytest.mark.proof("cluster", "commandline")]

LISTENERS = """
import ray
from raysys.cluster.session import ray_session
from raysys.config.running import ClusterConfig
from ray._private.utils import psutil

with ray_session(ClusterConfig()):
    ray.get(ray.remote(lambda: None).remote())
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        for one in process.net_connections("inet"):
            if one.status == "LISTEN":
                print(process.name(), one.laddr.ip)
"""


def without_ray() -> dict[str, str]:
    """The environment of a user, without what the tests' own Ray has put into it."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "OMP_"))}


def program(text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text],
        env={**without_ray(), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANGS_SECONDS,
    )


def test_a_local_ray_can_be_reached_from_this_machine_alone_and_its_token_by_its_user(
    tmp_path: Path,
):
    ran = program(LISTENERS, HOME=str(tmp_path))
    found = [line.split() for line in ran.stdout.splitlines()]
    assert {name for name, _ in found} >= {"gcs_server", "raylet"}, ran.stderr
    assert {address for _, address in found} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    token = tmp_path / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(list(token.parent.iterdir())) == 1
    token.chmod(0o644)  # as Ray itself writes it
    program(LISTENERS, HOME=str(tmp_path))
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


def test_a_home_that_cannot_be_written_is_no_hindrance_and_a_long_tmpdir_is_named(tmp_path: Path):
    assert "raylet" in program(LISTENERS, HOME="/proc/nowhere").stdout
    far = tmp_path / ("far" * 30)
    far.mkdir()
    ran = program(LISTENERS, TMPDIR=str(far))
    assert "too long a path for its sockets" in ran.stderr
    assert "set RAY_TMPDIR to a short one" in ran.stderr


SLOW = LISTENERS.replace(
    "with ray_session",
    """
import os, signal, threading, time
def stop():
    while True:
        for one in psutil.Process().children():
            if one.name() == "raylet":
                one.suspend()  # as on a machine that has no time for it
                return
        time.sleep(0.01)
threading.Thread(target=stop, daemon=True).start()
with ray_session""",
)


def test_a_ray_that_is_too_slow_to_start_is_started_again():
    ran = program(SLOW)
    assert "Ray was not up in time: it is started again" in ran.stderr
    assert ran.returncode == 0, ran.stderr


def test_a_command_that_is_ended_while_ray_starts_is_killed_and_can_be_resumed(
    own_pool: None, cache_root: Path, tmp_path: Path
):
    preset = tmp_path / "small.yaml"
    preset.write_text(SETTINGS)
    for number, delay in enumerate([0.0, 1.0, 2.0]):
        home = tmp_path / f"home-{number}"
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cross_validate", str(preset), *storage(home, cache_root)],
            env={**without_ray(), "RAYSYS_HOME": str(home), "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for(lambda home=home: any("gcs_server" in name for name in names(home)))
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=HANGS_SECONDS)
        assert process.returncode == 130, printed
        assert "Traceback" not in printed
        assert printed.splitlines()[-1].startswith("interrupted; what is done is kept in ")
        record = json.loads((home / "runs" / "small" / "run.json").read_text())
        client = MlflowClient(f"sqlite:///{home}/runs/mlflow.db")
        assert record["status"] == client.get_run(record["run_id"]).info.status == "KILLED"
        wait_for(lambda home=home: not processes_of(home))


def names(home: Path) -> list[str]:
    found = []
    for process in processes_of(home):
        with suppress(OSError):
            found.append(Path(f"/proc/{process}/cmdline").read_text().replace("\0", " "))
    return found


ACTORS = """
import json, sys, time
import ray
from ray._private.state import actors
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
own = ray.get_runtime_context().get_job_id()
for _ in range(60):
    alive = [one["ActorClassName"] for one in actors().values() if one["State"] != "DEAD"]
    if len(alive) < 2:
        break
    time.sleep(0.5)
print(json.dumps(alive), len(actors()))
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_command_that_is_ended_leaves_no_actor_on_the_cluster_and_a_line_in_the_terminal(
    own_pool: None, cache_root: Path, tmp_path: Path, sent: signal.Signals
):
    preset = tmp_path / "small.yaml"
    preset.write_text(SETTINGS)
    gate = Gate(tmp_path / "gate")
    point = gate.hold("small", 0, 2)
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        running_cluster(Path(folder), cpus=1) as cluster,
    ):
        command = Command("jobs.cross_validate", preset, tmp_path / "home", cache_root, gate)
        process = command.start(
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, more=cluster.environment
        )
        process_at(point, lambda: process.poll() is None)
        process.send_signal(sent)
        printed, _ = process.communicate(timeout=HANGS_SECONDS)
        left = subprocess.run(
            [sys.executable, "-c", ACTORS, cluster.address],
            env={**os.environ, **cluster.environment},
            capture_output=True,
            text=True,
        )
    alive, count = left.stdout.rsplit(" ", 1)
    # Ray's own for all jobs of a cluster, which the first of Train or Data starts and others go on using.
    assert [one for one in json.loads(alive) if one != "_AutoscalingCoordinatorActor"] == []
    assert int(count) > 1
    # Ray, too, ends a driver so where its head is gone: another process says it.
    assert ("error: the command ended without a word" in printed) == (sent == signal.SIGKILL)
