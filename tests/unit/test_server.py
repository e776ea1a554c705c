"""A served model over real HTTP: the same numbers as `jobs.predict`, and every wrong request answered in JSON."""

import base64
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import uvicorn

from raysys.config import Config
from raysys.predicting.members import load_ensemble
from raysys.predicting.server import Answering, Asked, Limits, about, answered, build_app
from raysys.storage import Folder
from tests.unit.test_predicting import manifest, manifest_rows, model

LIMITS = Limits(megabytes=1.0, seconds=20.0)


@dataclass(frozen=True)
class Served:
    url: str

    def post(
        self, body: bytes, query: str = "", *, kind: str = "audio/wav", to: str = "/predict"
    ) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{self.url}{to}{query}", data=body, headers={"content-type": kind}
        )
        return self.answer(request)

    def answer(self, request: Any) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=60) as found:
                return found.status, json.loads(found.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def served(trained: Config) -> Iterator[Served]:
    answering = Answering("small", trained.storage.runs, LIMITS)

    async def ask(one: Asked) -> dict[str, Any]:
        return answered(answering, [one])[0]

    ensemble = load_ensemble("small", Folder(trained.storage.runs))
    app = build_app(ask, about(ensemble, LIMITS), LIMITS)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Served(f"http://127.0.0.1:{port}")
    server.should_exit = True
    thread.join(timeout=20)


def sound(config: Config, place: int = 0) -> tuple[bytes, str]:
    row = manifest_rows(config)[place]
    return (manifest(config).parent / row["audio"]).read_bytes(), row["text"]


def quoted(text: str) -> str:
    return "?text=" + urllib.parse.quote(text)


def test_a_posted_recording_gets_what_predict_says(trained: Config, served: Served, tmp_path: Path):
    audio, text = sound(trained)
    status, found = served.post(audio, quoted(text))
    assert status == 200
    (tmp_path / "a.wav").write_bytes(audio)
    [own] = model(trained).predict([str(tmp_path / "a.wav")], texts=[text]).to_dict("records")
    assert found["emotion"] == own["emotion"]
    for name, share in found["probabilities"].items():
        assert share == pytest.approx(own[f"p_{name}"], abs=1e-5)
    assert (
        found["note"] == own["note"]
    )  # the demo corpus' own utterance: by folds that did not learn from it
    content = json.dumps({"audio": base64.b64encode(audio).decode(), "text": text})
    assert served.post(content.encode(), kind="application/json") == (status, found)
    sure = json.dumps({**json.loads(content), "threshold": 1.0})
    assert served.post(sure.encode(), kind="application/json")[1]["emotion"] == "not sure"


def test_requests_of_a_batch_are_answered_each_by_itself(trained: Config):
    answering = Answering("small", trained.storage.runs, LIMITS)
    asked = [Asked(*sound(trained, k)) for k in range(3)]
    bad = [Asked(b"", "no sound"), Asked(b"nothing to hear", "words")]
    together = answering([asked[0], bad[0], asked[1], bad[1], asked[2]])
    assert ["error" in one for one in together] == [False, True, False, True, False]
    for one, found in zip(asked, together[::2], strict=True):
        alone = answering([one])[0]
        assert found["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)


def test_it_says_that_it_is_there_and_what_it_is(trained: Config, served: Served):
    assert served.answer(f"{served.url}/health") == (200, {"status": "ok"})
    status, found = served.answer(f"{served.url}/model")
    assert (status, found["reads"], found["members"]) == (200, ["audio", "text"], 10)
    status, api = served.answer(f"{served.url}/openapi.json")
    assert {"/predict", "/health", "/model"} == set(api["paths"])
    assert "audio/wav" in api["paths"]["/predict"]["post"]["requestBody"]["content"]


def noise(seconds: float, folder: Path, ending: str = "wav") -> bytes:
    samples = np.random.default_rng(0).normal(size=round(16000 * seconds)) / 20
    soundfile.write(folder / f"x.{ending}", samples, 16000)
    return (folder / f"x.{ending}").read_bytes()


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "ogg"])
def test_it_hears_the_usual_formats(ending: str, served: Served, tmp_path: Path):
    status, found = served.post(noise(1, tmp_path, ending), "?text=a")
    assert status == 200, found
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-5)


JSON = "application/json"
WRONG: Mapping[str, tuple[Any, str, str, int, str]] = {
    "nothing": (b"", "?text=a", "audio/wav", 400, "the body is empty"),
    "no audio at all": (b"rubbish", "?text=a", "audio/wav", 422, "cannot decode"),
    "no text": ("1 s", "", "audio/wav", 422, "give text too"),
    "no audio": (b'{"text": "a"}', "", JSON, 422, "give audio too"),
    "no JSON": (b"{", "", JSON, 400, "the body is no JSON"),
    "a list": (b"[]", "", JSON, 400, "the JSON must be"),
    "a slip": (b'{"txt": "a"}', "", JSON, 400, "the JSON must be"),
    "text as a number": (b'{"text": 1}', "", JSON, 400, "text must be a string"),
    "no base64": (b'{"text": "a", "audio": "?"}', "", JSON, 400, "audio is no base64"),
    "too large": (bytes(2_000_000), "?text=a", "audio/wav", 413, "more than 1 MB"),
    "too long": ("25 s flac", "?text=a", "audio/flac", 422, "25.0 s of audio, and at most 20 s"),
    "silence": ("silent", "?text=a", "audio/wav", 422, "is silent"),
    "cut short": ("cut", "?text=a", "audio/wav", 422, "cut short"),
    "a threshold": ("1 s", "?text=a&threshold=x", "audio/wav", 422, "threshold: "),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_answered_with_its_reason(case: str, served: Served, tmp_path: Path):
    body, query, kind, status, told = WRONG[case]
    if body == "1 s":
        body = noise(1, tmp_path)
    elif body == "cut":
        body = noise(1, tmp_path)[:9000]
    elif body == "25 s flac":
        body = noise(25, tmp_path, "flac")
    elif body == "silent":
        soundfile.write(tmp_path / "s.wav", np.zeros(9000), 16000)
        body = (tmp_path / "s.wav").read_bytes()
    if len(body) > 1_000_000 and case != "too large":
        pytest.fail("the body is above the limit of another case")
    got, found = served.post(body, query, kind=kind)
    assert got == status, found
    assert set(found) == {"error"}
    assert told in found["error"]
    assert "/tmp" not in found["error"]


def test_other_routes_and_verbs_are_answered_in_json(served: Served):
    assert served.answer(f"{served.url}/nowhere") == (404, {"error": "Not Found"})
    assert served.answer(f"{served.url}/predict")[0] == 405
