"""Two nodes in networks of their own that are cut from each other: for a minute, and for good."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raysys.benchmarks.local_cluster import Place, running_cluster
from tests.cluster.command import Command, numbers, wait_for
from tests.cluster.gate import HANGS_SECONDS, Gate, is_reached, let_go, process_at
from tests.cluster.test_nodes import preset  # noqa: F401

pytestmark = [pytest.mark.cluster, pytest.mark.proof("cluster")]

CUT_SECONDS = 60
SIDES = ("a", "b")


def ip(*words: str) -> None:
    subprocess.run(["ip", *" ".join(words).split()], check=True, capture_output=True)


@contextmanager
def two_networks() -> Iterator[dict[str, Place]]:
    """Namespaces with a cable between them; `raysys-a` has the end `wire`."""
    names = {side: f"raysys-{side}" for side in SIDES}
    try:
        for name in names.values():
            ip("netns add", name)
        ip("link add wire netns raysys-a type veth peer name wire netns raysys-b")
        for number, name in enumerate(names.values(), start=1):
            ip(f"-n {name} addr add 10.77.0.{number}/24 dev wire")
            ip(f"-n {name} link set wire up")
            ip(f"-n {name} link set lo up")
        yield {
            side: Place(f"10.77.0.{number}", ("ip", "netns", "exec", name))
            for number, (side, name) in enumerate(names.items(), start=1)
        }
    finally:
        for name in names.values():
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def cut() -> None:
    ip("-n raysys-a link set wire down")


def join() -> None:
    ip("-n raysys-a link set wire up")


@pytest.fixture
def networks() -> Iterator[dict[str, Place]]:
    try:
        with two_networks() as made:
            yield made
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces can be made here: {error}")


def test_a_cut_between_nodes_changes_no_bit(
    expected: dict[str, Any],
    own_pool: None,
    networks: dict[str, Place],
    preset: Path,  # noqa: F811
    cache_root: Path,
    tmp_path: Path,
):
    gate = Gate(tmp_path / "gate")
    points = {fold: gate.hold("small", fold, 2) for fold in (0, 1)}
    command = Command("jobs.cross_validate", preset, tmp_path / "home", cache_root, gate, workers=2)
    folder = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
    with folder as short, running_cluster(Path(short), cpus=1, at=networks["a"]) as cluster:
        other = cluster.add_node(cpus=1, at=networks["b"])
        process = command.start(
            more=cluster.environment,
            enter=networks["a"].enter,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

        def running() -> bool:
            return process.poll() is None

        holders = {fold: process_at(point, running) for fold, point in points.items()}
        (far,) = [fold for fold, one in holders.items() if one in other.processes()]
        later = gate.hold("small", far, 4)
        cut()
        let_go(points[far])  # what its worker has to say now cannot be heard
        time.sleep(CUT_SECONDS)
        join()
        wait_for(lambda: is_reached(later) or not other.is_up or not running())
        near = points[1 - far]
        if not is_reached(later):  # its call was not heard: Ray has given the node up for dead
            let_go(near)
        process_at(later, running)
        cut()
        let_go(later)
        near.unlink(missing_ok=True)
        printed, _ = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == 0, printed
    assert numbers(tmp_path / "home") == expected
