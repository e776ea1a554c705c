"""A study while things break: processes and nodes killed, or stopped for a minute, at random moments.

Two clusters of three nodes do the same study on this machine, one after the other, the first one disturbed. Folds
train in earnest, slowed down to a second an epoch, so that there is time to break something. In the end both must have
the same numbers, and MLflow the same points.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from raysys.benchmarks.local_cluster import (
    LocalCluster,
    LocalNode,
    family,
    free_port,
    running_cluster,
    title,
)
from raysys.commandline import parse, run_job
from raysys.commands.tune import tune
from raysys.config.running import TrackingConfig
from raysys.errors import PoolError
from raysys.storage import Folder
from raysys.tracking.client import connect

_SEED = 0
_FAULTS = 50
_STOP_SECONDS = 60.0
_GAP_SECONDS = (1.0, 15.0)
_EPOCH_SECONDS = 1.0
_TRIALS = 12
_LAST_LETTERS = 1500
_TIMELY = ("seconds", "mlflow", "epochs")
"""Keys of a result that depend on timing; so do the epochs that a pruned trial's other folds had done by then."""
_PROCESSES = {
    "worker": "ray::RayTrainWorker",
    "queue": "ray::FoldQueue",
    "aggregation actor": "ray::Aggregator",
    "controller": "ray::TrainController",
    "MLflow server": "mlflow.server",
}
"""Victim -> what its command line holds; besides these, nodes (raylet and all)."""
_PRESET = """
name: study
corpus: {name: demo, demo: {utterances: 150}}
features: {logmel: {n_mels: 16}, hashed: {dim: 16}}
folds: {method: leave_one_group_out, groups: session}
model: {cltnet: {channels: 8, text_dim: 8, dim: 8, layers: 1, heads: 2}}
training: {max_epochs: 4, patience: 4, batch_size: 16}
similarity: {resamples: 50}
cluster: {workers: 3, max_attempts: 100}
search:
  num_trials: TRIALS
  concurrency: 1
  confirm_seeds: 1
  grace_epochs: 2
  space:
    loss.mu1: {low: 0.0, high: 0.9}
    loss.mu2: {low: 0.0, high: 0.9}
    training.learning_rate: {low: 0.0003, high: 0.01, log: true}
"""


def slow_fold(task: Any, data: Any, on_epoch: Any) -> Any:
    """`run_fold`, with time between its epochs."""
    from raysys.training.fold import run_fold

    def wait(record: Any) -> bool:
        time.sleep(_EPOCH_SECONDS)
        return bool(on_epoch(record))

    return run_fold(task, data, wait)


def measure(console: Console, folder: Folder) -> dict[str, Any]:
    """Run both studies.

    Args:
        console: for progress.
        folder: scratch space, on a local disk.

    Returns:
        Faults by kind, whether numbers and MLflow's points are those of the undisturbed study, and seconds of both.
    """
    place = Path(folder.path())
    place.mkdir(parents=True, exist_ok=True)
    console.print(f"two studies of {_TRIALS} trials; seed of the faults {_SEED}")
    with _running(place / "wild") as site:
        faults = _disturb(site, console)
        wild = site.outcome()
    with _running(place / "calm") as site:
        calm = site.outcome()
    return {
        "seed": _SEED,
        "faults": sum(faults.values()),
        "by_kind": dict(sorted(faults.items())),
        "same_numbers": calm.numbers == wild.numbers,
        "same_mlflow_points": _same_points(calm, wild),
        "mlflow_points": sum(map(len, wild.points.values())),
        "seconds_undisturbed": round(calm.seconds),
        "seconds_disturbed": round(wild.seconds),
    }


@dataclass(frozen=True)
class _Outcome:
    """What a study comes to."""

    numbers: Any
    """Numbers of the result, without ids and what depends on timing."""
    seconds: float
    """Seconds of the whole command."""
    points: Mapping[str, list[tuple[str, int, float]]]
    """Trial -> its metrics' points in MLflow."""
    pruned: frozenset[str]
    """Trials whose other folds may have been an epoch further or less when the verdict came: a matter of time."""


@dataclass
class _Site:
    """A cluster, an MLflow server and a study on it."""

    folder: Path
    cluster: LocalCluster
    port: int
    study: subprocess.Popen[bytes]
    server: subprocess.Popen[bytes]

    def find(self, victim: str) -> list[int]:
        """Processes of a kind; of the server, the first."""
        if victim == "MLflow server":
            return [self.server.pid]
        own = {process for node in self.cluster.nodes for process in node.processes()}
        return sorted(process for process in own if _PROCESSES[victim] in title(process))

    def restart_server(self) -> None:
        """As whoever looks after it would do."""
        self.server.wait()
        self.server = _start_server(self.folder, self.port)

    def outcome(self) -> _Outcome:
        """Wait for the study.

        Raises:
            PoolError: it failed.
        """
        if self.study.wait():
            said = " ".join((self.folder / "study.log").read_text().split())
            raise PoolError(f"the study ended early: {said[-_LAST_LETTERS:]}")
        found = json.loads((self.folder / "runs" / "study" / "result.json").read_text())
        numbers = {key: value for key, value in found.items() if key not in _TIMELY}
        for trial in numbers["trials"]:
            if trial["state"] == "PRUNED":
                del trial["epochs"]
        return _Outcome(numbers, float(found["seconds"]["total"]), *self._points())

    def _points(self) -> tuple[Mapping[str, list[tuple[str, int, float]]], frozenset[str]]:
        tracking = TrackingConfig(uri=f"http://127.0.0.1:{self.port}")
        client = connect(tracking, Folder(str(self.folder)))
        experiment = client.get_experiment_by_name("demo")
        assert experiment is not None
        query = "tags.`raysys.kind` = 'trial'"
        found, pruned = {}, set()
        for run in client.search_runs([experiment.experiment_id], query, max_results=1000):
            points = [
                (name, point.step, point.value)
                for name in run.data.metrics
                for point in client.get_metric_history(run.info.run_id, name)
                if not name.startswith("seconds")
            ]
            trial = run.data.tags["raysys.trial"]
            found[trial] = sorted(points)
            if run.data.tags["raysys.state"] == "pruned":
                pruned.add(trial)
        return found, frozenset(pruned)


def _same_points(calm: _Outcome, wild: _Outcome) -> bool:
    """Whether all points are alike, none of them twice; of pruned trials those that both studies have."""
    if calm.points.keys() != wild.points.keys() or calm.pruned != wild.pruned:
        return False
    for trial, points in calm.points.items():
        mine, others = points, wild.points[trial]
        if trial in calm.pruned:
            both = {point[:2] for point in mine} & {point[:2] for point in others}
            mine, others = ([one for one in side if one[:2] in both] for side in (mine, others))
        if mine != others:
            return False
    return True


@contextmanager
def _running(folder: Path) -> Iterator[_Site]:
    folder.mkdir()
    preset = folder / "study.yaml"
    preset.write_text(_PRESET.replace("TRIALS", str(_TRIALS)))
    short = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
    with short as sockets, running_cluster(Path(sockets), cpus=1) as cluster:
        for _ in range(2):
            cluster.add_node(cpus=1)
        port = free_port()
        server = _start_server(folder, port)
        log = (folder / "study.log").open("w")
        study = subprocess.Popen(
            [sys.executable, "-m", "raysys.benchmarks.faults", str(preset)],
            env={
                **os.environ,
                **cluster.environment,
                "RAYSYS_HOME": str(folder),
                "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}",
            },
            stdout=log,
            stderr=log,
        )
        one = _Site(folder, cluster, port, study, server)
        try:
            yield one
        finally:
            for process in (one.study, one.server):
                for own in family(process.pid) if process.poll() is None else ():
                    with suppress(ProcessLookupError):
                        os.kill(own, signal.SIGKILL)
                process.wait()


def _disturb(site: _Site, console: Console) -> Counter[str]:
    """Break things until there were enough of it, or the study has ended; those that are stopped go on later."""
    chance, faults = random.Random(_SEED), Counter[str]()
    wake: list[tuple[float, int]] = []
    deck: list[tuple[str, bool]] = []
    late: list[tuple[str, bool]] = []
    while not site.find("worker") and site.study.poll() is None:
        time.sleep(1)
    while sum(faults.values()) < _FAULTS and site.study.poll() is None:
        time.sleep(chance.uniform(*_GAP_SECONDS))
        wake = _wake(wake, time.monotonic())
        if not deck:
            deck, late = [*_shuffled(chance), *late], []
        victim, kill = deck.pop()
        done = _hit_node(site, kill) if victim == "node" else _hit(site, victim, kill, chance)
        if not done:  # such as one that stands still: the first of the next deck
            late.append((victim, kill))
            continue
        wake += [] if kill else [(time.monotonic() + _STOP_SECONDS, one) for one in done]
        faults[f"{victim} {'killed' if kill else 'stopped'}"] += 1
        console.print(f"{sum(faults.values())}: {victim} {'killed' if kill else 'stopped'}")
    while wake:
        wake = _wake(wake, time.monotonic())
        time.sleep(0.5)
    return faults


def _shuffled(chance: random.Random) -> list[tuple[str, bool]]:
    """Every victim killed and stopped once, in random order: nothing is left out by chance."""
    deck = [(victim, kill) for victim in (*_PROCESSES, "node") for kill in (True, False)]
    chance.shuffle(deck)
    return deck


def _hit(site: _Site, victim: str, kill: bool, chance: random.Random) -> list[int]:
    found = [one for one in site.find(victim) if not _is_stopped(one)]
    if not found:
        return []
    one = chance.choice(found)
    hit = sorted(family(one)) if victim == "MLflow server" else [one]
    for process in hit:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL if kill else signal.SIGSTOP)
    if kill and victim == "MLflow server":
        site.restart_server()
    return hit


def _hit_node(site: _Site, kill: bool) -> list[int]:
    """A node other than the head: a killed one is replaced; of a stopped one, the raylet stands still."""
    found: list[LocalNode] = [node for node in site.cluster.nodes[1:] if node.is_up]
    if not found:
        return []
    node = found[0]
    if kill:
        node.kill()
        site.cluster.nodes.remove(node)
        site.cluster.add_node(cpus=1)
        return [node.process.pid]
    raylets = [one for one in node.processes() if "raylet/raylet" in title(one)]
    for one in raylets:
        os.kill(one, signal.SIGSTOP)
    return raylets


def _wake(stopped: list[tuple[float, int]], now: float) -> list[tuple[float, int]]:
    """Let those go on whose time is up; the others."""
    for due, process in stopped:
        if due <= now:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
    return [(due, process) for due, process in stopped if due > now]


def _start_server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    log = (folder / "server.log").open("a")
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    program = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    program += ["--artifacts-destination", f"{folder}/artifacts"]
    return subprocess.Popen([*program, *store], stdout=log, stderr=log)


def _is_stopped(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] in "TZ"
    return True


def main() -> int:
    """The study, in a process of its own."""
    from raysys.benchmarks import faults as importable  # workers know it by this name
    from raysys.running import session

    def job(arguments: Sequence[str]) -> int:
        config, options = parse(arguments, program="faults")
        tune(config, resume=options.resume, console=Console())
        return 0

    setattr(session, "run_fold", importable.slow_fold)  # noqa: B010
    return run_job(job, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
