"""The README's command as a Ray job on a real cluster, through Ray's job client, on free ports."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.cluster.test_interrupt import ROOT, SETTINGS

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_same_line_runs_as_a_ray_job_and_its_results_are_in_mlflow(tmp_path: Path):
    # Short, since Ray puts sockets there.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ray") as scratch:
        head, dashboard = free_port(), free_port()
        ray_program = str(Path(sys.executable).with_name("ray"))
        start = [
            ray_program, "start", "--head", f"--port={head}", f"--dashboard-port={dashboard}",
            "--include-dashboard=true", "--num-cpus=2", f"--temp-dir={scratch}", "--node-ip-address=127.0.0.1",
            f"--dashboard-agent-listen-port={free_port()}", f"--dashboard-agent-grpc-port={free_port()}",
            f"--runtime-env-agent-port={free_port()}", f"--metrics-export-port={free_port()}",
            f"--ray-client-server-port={free_port()}", "--disable-usage-stats", "--block",
        ]  # fmt: skip
        log = (tmp_path / "head.log").open("w")
        cluster = subprocess.Popen(start, env=os.environ.copy(), stdout=log, stderr=log)
        try:
            info, logs = submit(f"http://127.0.0.1:{dashboard}", tmp_path)
        finally:
            cluster.terminate()
            cluster.wait(timeout=60)
    assert info.status == "SUCCEEDED", logs
    assert "class similarity" in logs
    result = json.loads((tmp_path / "home" / "runs" / "small" / "result.json").read_text())
    client = MlflowClient(f"sqlite:///{tmp_path}/home/runs/mlflow.db")
    run = client.get_run(result["mlflow"]["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/ua"] == pytest.approx(result["mean"]["test"]["ua"])


def submit(address: str, folder: Path):
    """Submit the command with the project as working folder, and wait for its end."""
    from ray.job_submission import JobStatus, JobSubmissionClient

    preset = folder / "small.yaml"
    preset.write_text(SETTINGS)
    deadline = time.monotonic() + 60
    while True:
        try:
            client = JobSubmissionClient(address)
            break
        except (ConnectionError, RuntimeError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    job = client.submit_job(
        entrypoint=f"{sys.executable} -m jobs.cross_validate {preset}",
        runtime_env={
            "working_dir": str(ROOT),
            "env_vars": {"RAYSYS_HOME": str(folder / "home"), "MLFLOW_DISABLE_TELEMETRY": "true"},
        },
    )
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        info = client.get_job_info(job)
        if info.status in {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED}:
            break
        time.sleep(1)
    return info, client.get_job_logs(job)
