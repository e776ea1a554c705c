"""Several nodes of Ray on this machine, started by Ray's own commands, with tokens: what a cluster's users have.

A node can be killed as a machine dies, all at once and without a word, and be given notice that it will be taken away.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_START_SECONDS, _STARTS = 600, 5
_FAKE_CLOUD = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
"""Without these, Ray's autoscaler refuses a cloud whose machines are processes here."""
_DRAIN = """
import sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
found = {one["Labels"].get("place"): one for one in ray.nodes() if one["Alive"]}
if sys.argv[2] not in found:
    sys.exit(f"no node {sys.argv[2]} among {list(found)}")
node = found[sys.argv[2]]
gcs = ray._private.worker.global_worker.gcs_client
accepted, reason = gcs.drain_node(node["NodeID"], 2, "spot notice", int(sys.argv[3]))
assert accepted, reason
"""
"""2 is preemption, in Ray's protocol."""


@dataclass(frozen=True)
class LocalNode:
    """One node: `ray start`, and all processes that came of it."""

    process: subprocess.Popen[bytes]
    label: str

    def processes(self) -> set[int]:
        """Ids of its processes, its workers among them."""
        return family(self.process.pid)

    @property
    def is_up(self) -> bool:
        """Whether its raylet runs; `ray start` stays when that has ended in peace."""
        return any("raylet/raylet" in title(process) for process in self.processes())

    def kill(self) -> None:
        """End it as a power cut does: all at once."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True)
class Place:
    """Where a node runs: here, or in a network of its own."""

    ip: str = ""
    """Address of the node; empty lets Ray find it."""
    enter: tuple[str, ...] = ()
    """What a command line must begin with to run there, such as `ip netns exec NAME`."""


HERE = Place()


class LocalCluster:
    """A head and further nodes; use `running_cluster`.

    Args:
        folder: for tokens, sockets and logs; its path must be short, as sockets' paths are.
        head: where the head runs.
    """

    def __init__(self, folder: Path, head: Place = HERE) -> None:
        self._folder = folder
        self._head = head
        self._port, self._dashboard = free_port(), free_port()
        self._cloud: Mapping[str, str] = {}
        self.nodes: list[LocalNode] = []
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        self.environment: Mapping[str, str] = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_ADDRESS": self.address,
        }
        """What a process must have in its environment to use the cluster."""

    @property
    def address(self) -> str:
        """For `--cluster.address`, and `ray.init`."""
        return f"{self._head.ip or '127.0.0.1'}:{self._port}"

    def start_head(self, cpus: int, autoscaled: int = 0) -> LocalNode:
        """Start the head; returns when it answers.

        Args:
            cpus: of the head.
            autoscaled: nodes of one CPU that Ray's autoscaler may add when they are asked for.

        Raises:
            OSError: it does not start.
        """
        ports = [f"--port={self._port}", f"--dashboard-port={self._dashboard}"]
        ports += [f"--ray-client-server-port={free_port()}", f"--temp-dir={self._folder / 'ray'}"]
        if autoscaled:
            config = self._folder / "autoscaler.json"
            config.write_text(json.dumps(_autoscaler(self.address, cpus, autoscaled)))
            ports.append(f"--autoscaling-config={config}")
            self._cloud = _FAKE_CLOUD
        return self._started(
            "--head", *ports, "--include-dashboard=false", cpus=cpus, at=self._head
        )

    def add_node(self, cpus: int, at: Place = HERE) -> LocalNode:
        """Start another node; returns when it has joined."""
        return self._started(f"--address={self.address}", cpus=cpus, at=at)

    def give_notice(self, node: LocalNode, seconds: float) -> None:
        """Give a node notice that it will be taken away, as a cloud does with a spot node."""
        deadline = str(int(1000 * (time.time() + seconds)))
        program = [sys.executable, "-c", _DRAIN, self.address, node.label, deadline]
        subprocess.run(program, env={**os.environ, **self.environment}, check=True)

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            if node.process.poll() is None:
                node.kill()

    def _started(self, *flags: str, cpus: int, at: Place) -> LocalNode:
        """Start a node, and again where Ray gives up on it: it waits for 30 s, which a busy machine may need."""
        for _ in range(_STARTS):
            node = self._start(*flags, cpus=cpus, at=at)
            log = self._folder / f"node-{node.label}.log"
            deadline = time.monotonic() + _START_SECONDS
            while node.process.poll() is None and time.monotonic() < deadline:
                if "Ray runtime started" in log.read_text():
                    return node
                time.sleep(0.1)
            node.kill()
            self.nodes.remove(node)
        raise OSError(f"a node did not start: {' '.join(log.read_text().split())[-300:]}")

    def _start(self, *flags: str, cpus: int, at: Place) -> LocalNode:
        ports = [f"--dashboard-agent-listen-port={free_port()}"]
        ray = str(Path(sys.executable).with_name("ray"))
        program = [*at.enter, ray, "start", "--block", *flags, *ports]
        program += [f"--node-ip-address={at.ip}"] if at.ip else []
        label = str(len(self.nodes))
        program += [f"--num-cpus={cpus}", f"--labels=place={label}", "--disable-usage-stats"]
        log = (self._folder / f"node-{label}.log").open("w")
        environment = {**os.environ, **self.environment, **self._cloud}
        del environment["RAY_ADDRESS"]  # `ray start` wants to hear it from its own flag
        node = LocalNode(
            subprocess.Popen(
                program, env=environment, stdout=log, stderr=log, start_new_session=True
            ),
            label,
        )
        self.nodes.append(node)
        return node


@contextmanager
def running_cluster(
    folder: Path, *, cpus: int, at: Place = HERE, autoscaled: int = 0
) -> Iterator[LocalCluster]:
    """A cluster of one node, to which more can be added; it ends with the block.

    Args:
        folder: see `LocalCluster`.
        cpus: of the head.
        at: where the head runs.
        autoscaled: see `LocalCluster.start_head`.
    """
    cluster = LocalCluster(folder, at)
    try:
        cluster.start_head(cpus, autoscaled)
        yield cluster
    finally:
        cluster.stop()


def _autoscaler(address: str, cpus: int, most: int) -> dict[str, Any]:
    """Configuration of Ray's autoscaler, with a cloud whose machines are processes here."""
    kinds = {
        "ray.head.default": {"resources": {"CPU": cpus}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": most},
    }
    nothing = (
        *("initialization_commands", "setup_commands", "head_setup_commands"),
        *("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"),
        *("cluster_synced_files", "rsync_exclude", "rsync_filter"),
    )
    return {
        **{name: [] for name in nothing},
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        "file_mounts_sync_continuously": False,
        "idle_timeout_minutes": 5,
        "upscaling_speed": 1.0,
        "cluster_name": "local",
        "max_workers": most,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "use_node_id_as_ip": True,
        },
        "available_node_types": kinds,
        "head_node_type": "ray.head.default",
    }


def free_port() -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def family(process: int) -> set[int]:
    """Ids of a process and of all that came of it."""
    parents, found = dict(_parents()), {process}
    while grown := {one for one, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def title(process: int) -> str:
    """Its command line, or what it calls itself; empty when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def _parents() -> Iterator[tuple[int, int]]:
    """Process, parent."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            status = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            yield int(entry.name), int(status[1])
