"""A study's saved view in MLflow's own page, in headless Chromium: scores and searched settings without a click."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest
from rich.console import Console

from raysys.commands.tune import tune
from raysys.config import Config
from raysys.config.running import Distribution
from raysys.tracking.views import view_link
from tests.behaviour.test_report_in_a_browser import CHROMIUM, QUIET
from tests.here import do_folds_here, small_study

HANGS_SECONDS = 600


@pytest.fixture
def address(small: Config) -> Iterator[str]:
    """Of a server on the runs' database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{small.storage.runs}/mlflow.db",
    ]  # fmt: skip
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
    yield f"http://127.0.0.1:{port}"
    os.killpg(server.pid, 9)
    server.wait()


def wait_for(address: str) -> None:
    deadline = time.monotonic() + HANGS_SECONDS
    while time.monotonic() < deadline:
        try:
            with urlopen(f"{address}/health"):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not start")


@pytest.mark.proof("tracking")
def test_scores_and_settings_are_shown_without_a_click(
    small: Config, address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    do_folds_here(monkeypatch)
    study = small_study(small, num_trials=8)
    space = {
        "loss.mu1": Distribution(low=0.0, high=0.5),
        "loss.mu2": Distribution(low=0.0, high=0.4),
    }
    study = replace(study, search=replace(study.search, space=space))
    result = tune(study, resume=None, console=Console(quiet=True))
    wait_for(address)
    link = f"{address}/{view_link(result.mlflow.experiment_id, 'study', 'study')}"
    assert "loss.mu1" in shown_by(link, tmp_path)
    charts = f"{link}&compareRunsMode=CHART"
    page = shown_by(charts, tmp_path)
    for word in ("loss.mu1", "loss.mu2", "val_best/ua", result.trials[0].name):
        assert word in page, word
    assert page.count("js-plotly-plot") >= 2


def shown_by(link: str, tmp_path: Path) -> str:
    """The page as the browser has it."""
    flags = [*QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=30000"]
    command = [str(CHROMIUM), *flags, "--window-size=1500,900", "--dump-dom", link]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANGS_SECONDS).stdout
