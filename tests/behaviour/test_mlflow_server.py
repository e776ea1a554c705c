"""A tracking server that goes away and comes back."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raysys.config.running import TrackingConfig
from raysys.errors import TrackingError
from raysys.storage import Folder
from raysys.tracking.client import connect, experiment_id
from raysys.tracking.runs import RunLog, Writer

HANGS_SECONDS = 1200
"""Far more than a loaded machine needs."""


@pytest.mark.proof("tracking")
def test_nothing_is_lost_while_the_server_is_away_and_no_password_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = f"http://me:secret@127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{tmp_path}/m.db", "--artifacts-destination", str(tmp_path / "a"),
    ]  # fmt: skip

    def start() -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        server = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
        deadline = time.monotonic() + HANGS_SECONDS
        while True:
            try:
                connect(TrackingConfig(uri=uri), Folder(str(tmp_path)))
                return server
            except TrackingError:
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.5)

    def stop(server: subprocess.Popen[bytes]) -> None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()

    server = start()
    try:
        client = connect(TrackingConfig(uri=uri), Folder(str(tmp_path)))
        run_id = client.create_run(experiment_id(client, "demo", Folder(str(tmp_path)))).info.run_id
        writer = Writer(client, patience_seconds=HANGS_SECONDS)
        log = RunLog(writer, lambda: run_id)
        log.metrics({"m": 1.0}, step=1)
        stop(server)
        for step in range(2, 6):
            log.metrics({"m": float(step)}, step=step)
        time.sleep(3)
        server = start()
        log.end("FINISHED")
        writer.finish()
        assert [p.value for p in client.get_metric_history(run_id, "m")] == [1, 2, 3, 4, 5]
        said = capfd.readouterr()
        assert "secret" not in said.out + said.err
    finally:
        stop(server)
