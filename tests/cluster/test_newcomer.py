"""A newcomer's path by commands alone: train, predict, register, load elsewhere, serve, post; one set of numbers."""

import json
import os
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile

from raysys.benchmarks.local_cluster import free_port
from tests.cluster.command import ROOT, SETTINGS, storage, wait_for
from tests.fresh import predict_in_fresh_environment

pytestmark = [pytest.mark.cluster, pytest.mark.proof("predicting", "tracking", "cluster")]


def job(*arguments: str, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=home,
        env={**without_ray(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def without_ray() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "OMP_"))}


def test_the_same_probabilities_all_the_way(tmp_path: Path, cache_root: Path):
    (tmp_path / "demo.yaml").write_text(SETTINGS.replace("max_epochs: 8", "max_epochs: 2"))
    said = job("jobs.cross_validate", "demo.yaml", *storage(tmp_path, cache_root), home=tmp_path)
    assert f"next         {sys.executable} -m jobs.predict" in said
    random, texts = np.random.default_rng(0), ["I am so glad", "leave me alone", "well then"]
    for k in range(3):
        soundfile.write(tmp_path / f"{k}.wav", random.normal(size=24000) / 20, 16000)
    files = [str(tmp_path / f"{k}.wav") for k in range(3)]
    spoken = [part for text in texts for part in ("--text", text)]
    said = job("jobs.predict", "demo", *files, *spoken, "--out", "own.csv", home=tmp_path)
    assert "tested       UA " in said
    assert "on its test parts; chance 16.7" in said
    own = pandas.read_csv(tmp_path / "own.csv")
    columns = [name for name in own if name.startswith("p_")]
    assert set(own["members"]) == {5}

    said = job("jobs.register", "demo", "--name", "emotions", home=tmp_path)
    assert "models:/emotions@champion" in said
    pandas.DataFrame({"audio": files, "text": texts}).to_csv(tmp_path / "in.csv", index=False)
    uri = f"sqlite:///{tmp_path}/runs/mlflow.db"
    inputs, out = tmp_path / "in.csv", tmp_path / "found.csv"
    predict_in_fresh_environment(tmp_path, uri, "models:/emotions@champion", inputs, out)
    elsewhere = pandas.read_csv(out)
    np.testing.assert_allclose(elsewhere[columns], own[columns], atol=1e-5)

    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "jobs.serve", "models:/emotions@champion", "--port", str(port)],
        cwd=tmp_path,
        env={**without_ray(), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=(tmp_path / "serve.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        log = tmp_path / "serve.log"
        wait_for(lambda: "next " in log.read_text() or server.poll() is not None)
        assert server.poll() is None, log.read_text()
        for k, text in enumerate(texts):
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/predict?text={urllib.parse.quote(text)}",
                data=Path(files[k]).read_bytes(),
                headers={"content-type": "audio/wav"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                found = json.loads(answer.read())
            for name, share in found["probabilities"].items():
                assert share == pytest.approx(own[f"p_{name}"][k], abs=1e-5)
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0
