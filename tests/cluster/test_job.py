"""configs/CLUSTER.md, walked as printed: tokens, a head, two more nodes, jobs, a stop, a resume."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from raysys.benchmarks.local_cluster import free_port
from tests.cluster.command import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.proof("cluster", "commandline", "storage", "jobs")]

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "--corpus.demo.utterances 150 --training.max_epochs 60 --training.patience 60 "
    "--model.cltnet.channels 8 --similarity.resamples 50"
)


def blocks() -> list[list[str]]:
    """Lines of the guide's code blocks."""
    guide = (ROOT / "configs" / "CLUSTER.md").read_text()
    return [block.strip().splitlines() for block in re.findall(r"```\n(.*?)```", guide, re.S)]


@dataclass(frozen=True)
class Machines:
    """One machine that plays several: what is printed runs with ports and folders of its own."""

    home: Path
    port: int
    dashboard: int

    @property
    def environment(self) -> Mapping[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "RAYSYS_"))}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**kept, "HOME": str(self.home), "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}

    def run(self, lines: list[str], *, job: str = "") -> str:
        """Run lines in a shell of their own, and give what they print."""
        adapted = "\n".join(self._here(line, job) for line in lines)
        done = subprocess.run(
            ["bash", "-e", "-c", adapted],
            cwd=ROOT,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=1200,
        )
        assert done.returncode == 0, f"{adapted}\n{done.stdout}"
        return done.stdout

    def _here(self, line: str, job: str) -> str:
        line = line.replace("HEAD:6379", f"127.0.0.1:{self.port}").replace("6379", str(self.port))
        line = line.replace("8265", str(self.dashboard)).replace(
            "/shared/runs", f"{self.home}/runs"
        )
        if line.startswith("ray start"):
            line += f" --num-cpus 1 --dashboard-agent-listen-port {free_port()}"
        if "--head" in line:
            line += f" --temp-dir {self.home}/ray --ray-client-server-port {free_port()}"
        if line.startswith("ray job submit"):
            line += f" {SMALL}"
        return re.sub(r"\bID\b", job, line)

    def end(self) -> None:
        """End what was started here, by its id."""
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if f"HOME={self.home}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), 9)


@pytest.fixture
def machines() -> Iterator[Machines]:
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        one = Machines(Path(folder), free_port(), free_port())
        yield one
        one.end()


def test_the_guide_s_cluster_works_as_printed(own_pool: None, machines: Machines):
    head, node, client = blocks()
    export, submit, listing, status, logs, stop, resume = client
    machines.run(head)
    token = machines.home / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o077 == 0
    machines.run(node)
    machines.run(node)

    def ask(line: str) -> str:
        return machines.run([export, line], job=job)

    job = "none"
    submitted = ask(submit)
    job = re.findall(r"raysubmit_\w+", submitted)[0]
    trained = machines.home / "runs" / "demo"
    wait_for(lambda: any(trained.glob("fold_*/*")))  # asking Ray all the time would starve it
    assert "RUNNING" in ask(status), ask(logs)
    assert job in ask(listing)
    ask(stop)
    wait_for(lambda: "RUNNING" not in ask(status), pause_seconds=3)
    assert "stopped" in ask(status).lower()
    tracking = MlflowClient(f"sqlite:///{machines.home}/runs/mlflow.db")
    experiment = tracking.get_experiment_by_name("demo")
    assert experiment is not None
    (run,) = tracking.search_runs(
        [experiment.experiment_id], "tags.`raysys.kind` = 'cross_validation'"
    )
    assert run.info.status == "KILLED"
    free = (
        "import ray; ray.init(log_to_driver=False, logging_level='ERROR'); "
        "print('free', ray.available_resources()['CPU'])"
    )
    address = f"export RAY_AUTH_MODE=token RAY_ADDRESS=127.0.0.1:{machines.port}"
    wait_for(lambda: "free 3.0" in machines.run([address, f'python -c "{free}"']), pause_seconds=3)
    printed = ask(resume)
    assert "class similarity" in printed
    assert "starting 3 worker(s)" in printed
    assert tracking.get_run(run.info.run_id).info.status == "FINISHED"
    secret = token.read_text().strip()
    for place in (machines.home / "ray", machines.home / "runs"):
        for file in place.rglob("*"):
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file
    assert secret not in printed + submitted
