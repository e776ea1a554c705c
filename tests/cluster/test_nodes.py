"""A cluster of several nodes with tokens: nodes that join are used, nodes that go away cost nothing but time."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raysys.benchmarks.local_cluster import LocalCluster, Place, running_cluster, title
from tests.cluster.command import SETTINGS, Command, numbers, wait_for
from tests.cluster.gate import HANGS_SECONDS, Gate, is_reached, let_go, process_at

pytestmark = [pytest.mark.cluster, pytest.mark.proof("cluster")]


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        running_cluster(Path(folder), cpus=1) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("preset") / "small.yaml"
    path.write_text(SETTINGS)
    return path


def test_nodes_that_join_are_used_and_those_that_die_or_leave_change_no_bit(
    expected: dict[str, Any],
    own_pool: None,
    cluster: LocalCluster,
    preset: Path,
    cache_root: Path,
    tmp_path: Path,
):
    gate = Gate(tmp_path / "gate")
    first, second = (gate.hold("small", fold, 2) for fold in (0, 1))
    command = Command("jobs.cross_validate", preset, tmp_path / "home", cache_root, gate, workers=2)
    process = command.start(
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, more=cluster.environment
    )

    def running() -> bool:
        return process.poll() is None

    process_at(first, running)  # the head has one CPU, and it is held
    joined = cluster.add_node(cpus=1)
    process_at(second, running)
    joined.kill()
    later = [gate.hold("small", fold, epoch) for fold, epoch in ((1, 3), (2, 2), (3, 2), (4, 2))]
    let_go(second)
    let_go(first)
    spot = cluster.add_node(cpus=1)
    # One by the head, one by the spot.
    wait_for(lambda: sum(map(is_reached, later)) == 2 or not running())
    held = [point for point in later if is_reached(point)]
    (there,) = [point for point in held if process_at(point) in spot.processes()]
    cluster.give_notice(spot, seconds=600)
    let_go(there)
    wait_for(lambda: not spot.is_up)  # a node that leaves ends once it has nothing to do
    for point in later:
        point.unlink(missing_ok=True)
    printed, _ = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == 0, printed
    assert numbers(tmp_path / "home") == expected


def test_an_autoscaler_that_is_asked_brings_a_node(
    expected: dict[str, Any], own_pool: None, preset: Path, cache_root: Path, tmp_path: Path
):
    gate = Gate(tmp_path / "gate")
    first, second = (gate.hold("small", fold, 2) for fold in (0, 1))
    command = Command("jobs.cross_validate", preset, tmp_path / "home", cache_root, gate, workers=2)
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        running_cluster(Path(folder), cpus=1, autoscaled=1) as cluster,
    ):
        process = command.start(
            "--cluster.max_workers",
            "2",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            more=cluster.environment,
        )
        process_at(first, lambda: process.poll() is None)  # the head has one CPU, and it is held
        process_at(second, lambda: process.poll() is None)
        let_go(first)
        let_go(second)
        printed, _ = process.communicate(timeout=HANGS_SECONDS)
        assert process.returncode == 0, printed
    assert numbers(tmp_path / "home") == expected


def test_a_head_that_dies_ends_the_command_with_one_line(
    own_pool: None, cluster: LocalCluster, preset: Path, cache_root: Path, tmp_path: Path
):
    gate = Gate(tmp_path / "gate")
    point = gate.hold("small", 0, 2)
    command = Command("jobs.cross_validate", preset, tmp_path / "home", cache_root, gate, workers=2)
    process = command.start(
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, more=cluster.environment
    )
    process_at(point, lambda: process.poll() is None)
    (head,) = cluster.nodes
    (store,) = [one for one in head.processes() if "gcs_server" in title(one)]
    os.kill(store, signal.SIGKILL)
    printed, _ = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == 2, printed
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "--resume" in errors[0]
    assert "Traceback" not in printed


def test_a_node_that_does_not_see_the_runs_ends_the_command_at_once(
    own_pool: None, cluster: LocalCluster, preset: Path, cache_root: Path, tmp_path: Path
):
    runs = tmp_path / "home" / "runs"
    runs.mkdir(parents=True)
    hide = f'mount -t tmpfs none {runs} && exec "$@"'
    apart = ("unshare", "--mount", "sh", "-c", hide, "sh")
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    cluster.add_node(cpus=1, at=Place(enter=apart))
    gate = Gate(tmp_path / "gate")
    gate.hold("small", 0, 2)  # by the head, whose one CPU it takes
    command = Command("jobs.cross_validate", preset, tmp_path / "home", cache_root, gate, workers=2)
    process = command.start(
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, more=cluster.environment
    )
    printed, _ = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == 2, printed
    (error,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert "does not see" in error
    assert "--storage.runs" in error
    assert not list(runs.glob(".shared-*"))
