"""`predict`: new recordings through a run, against a hand-written batched loop; and a server's latency.

files -> as jobs.predict --out does (here; one worker; two; Ray runs already)
files -> loop on all cores: read, log-mel, Whisper, all folds, mean
jobs.serve -> the same recordings posted by 1 and by 8 clients -> p50, p95

python -m jobs.benchmark predict configs/demo.yaml --features.audio audio_transformers \
        --features.audio_transformers.model FOLDER --model.modalities [audio]
"""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.console import Console

from raysys.benchmarks.extraction import alone, whisper_states
from raysys.benchmarks.local_cluster import free_port
from raysys.cluster.session import ray_session
from raysys.commands.cross_validate import cross_validate
from raysys.config import Config
from raysys.corpus.table import Utterance
from raysys.encoders.ragged import Ragged
from raysys.errors import ConfigError
from raysys.running.plan import prepare_corpus
from raysys.storage import Folder

_FILES = 500
_FEW = 100
_REQUESTS = 100


def measure(config: Config, console: Console, folder: Folder) -> dict[str, Any]:
    """Seconds, ratios to the loop, and milliseconds of requests.

    Args:
        config: of a run whose model hears alone, through a Whisper.
        console: for progress.
        folder: for the run and the recordings.

    Raises:
        ConfigError: its model reads something else.
    """
    reads_audio = config.model.modalities == ("audio",)
    if not reads_audio or config.features.audio != "audio_transformers":
        raise ConfigError(
            "the benchmark predict needs --model.modalities [audio] --features.audio audio_transformers"
        )
    training = replace(config.training, max_epochs=2)
    storage = replace(config.storage, runs=f"{folder.uri}/runs")
    config = replace(config, name="run", training=training, storage=storage)
    cross_validate(config, resume=None, console=Console(quiet=True))
    files = _recordings(config, Path(folder.uri) / "new")
    run = f"{folder.uri}/runs/run"
    found = {"loop": alone(_loop, run, files)}
    found["here"] = alone(_predict, run, files, f"{folder.uri}/here.csv", 0)
    for name, workers in (("one_worker", 1), ("two_workers", 2)):
        with ray_session(replace(config.cluster, workers=workers)):
            begun = time.perf_counter()
            _predict(run, files, f"{folder.uri}/{name}.csv", workers)
            found[name] = time.perf_counter() - begun
        console.print(f"{name} {found[name]:.1f} s, loop {found['loop']:.1f} s")
    started = time.perf_counter()
    command = [sys.executable, "-m", "jobs.predict", run, *files[:_FEW]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found["command_of_100"] = time.perf_counter() - started
    ratios = {f"{name}_to_loop": found["loop"] / found[name] for name in list(found)[1:4]}
    return {"files": len(files), "seconds": found, **ratios, "server_ms": _server(run, files)}


def _recordings(config: Config, folder: Path) -> list[str]:
    """The corpus' own, quieter, so that no fold knows them."""
    corpus, _ = prepare_corpus(config)
    folder.mkdir()
    found = []
    for k in range(_FILES):
        row: Utterance = corpus.utterances[k % len(corpus)]
        samples, rate = soundfile.read(corpus.root / row.audio)
        found.append(str(folder / f"{k:04d}.wav"))
        soundfile.write(found[-1], samples * (0.5 + k / (4 * _FILES)), rate)
    return found


def _predict(run: str, files: Sequence[str], out: str, workers: int) -> None:
    """What `jobs.predict --out` does."""
    from raysys.predicting.inputs import read_inputs
    from raysys.predicting.large import Source, predict_into
    from raysys.predicting.members import load_ensemble

    source = Source(run, str(Path(run).parent), None, 0.0)
    ensemble = load_ensemble(run, Folder(source.runs))
    for _ in predict_into(Path(out), ensemble, read_inputs(files), source, workers=workers):
        pass


def _loop(run: str, files: Sequence[str]) -> None:
    from raysys.predicting.members import load_ensemble

    members = load_ensemble(run, Folder(str(Path(run).parent))).members
    states = whisper_states(members[0].bundle.config.features, list(map(Path, files)))
    lengths = np.array([len(one) for one in states], dtype=np.int64)
    features = {"audio": Ragged.of(np.concatenate(states), lengths)}
    from raysys.training.bundle import Predictor

    np.mean([Predictor(one.bundle).predict(features).outputs for one in members], axis=0)


def _server(run: str, files: Sequence[str]) -> dict[str, float]:
    """p50 and p95 of requests by 1 and by 8 clients at a time."""
    port = free_port()
    command = [sys.executable, "-m", "jobs.serve", run, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if line.startswith("next"):
                break
        bodies = [Path(file).read_bytes() for file in files[:_REQUESTS]]

        def post(body: bytes) -> float:
            started = time.perf_counter()
            kind = {"content-type": "audio/wav"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, kind)
            urllib.request.urlopen(request).read()
            return 1000 * (time.perf_counter() - started)

        post(bodies[0])  # what is loaded at the first request is not counted
        return {
            f"p{share}_{clients}_clients": float(np.percentile(_all(post, bodies, clients), share))
            for clients in (1, 8)
            for share in (50, 95)
        }
    finally:
        server.terminate()
        server.wait()


def _all(post: Callable[[bytes], float], bodies: Sequence[bytes], clients: int) -> list[float]:
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(post, bodies))
