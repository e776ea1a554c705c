"""What a served model answers: requests to rows and back, and the routes of its HTTP interface; no Ray here.

    POST /predict   bytes of a WAV, FLAC, MP3 or OGG file, or JSON {"audio": ..., "image": ..., "text": ...} -> JSON
    GET  /health    {"status": "ok"}                GET /model   what it is, what it reads, what it scored
    GET  /docs, /openapi.json

Whatever cannot be answered is {"error": why} with a status that says whose fault it is.
"""

import base64
import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

import raysys
from raysys.corpus.table import Utterance
from raysys.errors import RaysysError
from raysys.predicting.members import Ensemble, load_ensemble
from raysys.predicting.predict import check_reads, predict
from raysys.predicting.table import NOT_SURE, records
from raysys.settings import require
from raysys.storage import Folder

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "audio": {"type": "string", "contentEncoding": "base64"},
                        "image": {"type": "string", "contentEncoding": "base64"},
                        "text": {"type": "string"},
                    },
                }
            },
            "audio/wav": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
"""Request body of POST /predict, for the OpenAPI page."""


@dataclass(frozen=True)
class Limits:
    """What one request may ask."""

    megabytes: float = 25.0
    """Most bytes in its body, in 10^6."""
    seconds: float = 120.0
    """Longest audio."""

    def __post_init__(self) -> None:
        require(self.megabytes > 0, "max_megabytes", self.megabytes, "above 0")
        require(self.seconds > 0, "max_seconds", self.seconds, "above 0")


@dataclass(frozen=True)
class Asked:
    """One utterance."""

    audio: bytes
    text: str
    threshold: float = 0.0
    """Below it an emotion is `not sure`."""
    image: bytes = b""


class Answering:
    """An ensemble in a process of its own.

    Args:
        run: as of `load_ensemble`.
        runs: URI of the folder of all runs.
        limits: of a request.
        encoders: as of `load_ensemble`.

    Raises:
        RaysysError: no such run, or one that reads no recordings and texts.
    """

    def __init__(
        self, run: str, runs: str, limits: Limits, encoders: Mapping[str, str] | None = None
    ) -> None:
        torch.set_num_threads(1)
        self._ensemble = load_ensemble(run, Folder(runs), encoders=encoders)
        self._limits = limits
        check_reads(self._ensemble, alone=True)

    def __call__(self, asked: Sequence[Asked]) -> list[dict[str, Any]]:
        """An answer each, in order: what is predicted, or `error`."""
        found: dict[int, dict[str, Any]] = {}
        with tempfile.TemporaryDirectory() as folder:
            rows = []
            for place, one in enumerate(asked):
                if missing := self._missing(one):
                    found[place] = {"error": missing}
                    continue
                row = Utterance(str(place), text=one.text, dialogue_id=str(place))
                if one.audio:
                    row = replace(row, audio=_written(one.audio, Path(folder) / f"{place}.audio"))
                if one.image:
                    row = replace(row, image=_written(one.image, Path(folder) / f"{place}.image"))
                rows.append(row)
            limit = self._limits.seconds
            answers = list(predict(self._ensemble, rows, most_seconds=limit)) if rows else []
        for answer, record in zip(answers, records(self._ensemble, answers), strict=True):
            place = int(answer.row.utterance_id)
            found[place] = _as_json(self._ensemble, record, asked[place], answer.row)
        return [found[place] for place in range(len(asked))]

    def _missing(self, one: Asked) -> str:
        given = {
            "audio": bool(one.audio),
            "image": bool(one.image),
            "text": bool(one.text.strip()),
        }
        modalities = self._ensemble.config.model.modalities
        lacks = [modality for modality in modalities if not given.get(modality)]
        reads = " and ".join(modalities)
        return f"the model reads {reads}: give {' and '.join(lacks)} too" if lacks else ""


def _written(content: bytes, file: Path) -> str:
    file.write_bytes(content)
    return str(file)


def _as_json(
    ensemble: Ensemble, record: Mapping[str, Any], asked: Asked, row: Utterance
) -> dict[str, Any]:
    if not record["members"]:  # names that it has here say nothing to who asked
        reason = str(record["note"])
        for kind, file in (("audio", row.audio), ("image", row.image)):
            if file:
                reason = reason.replace(f"{kind} {file}", f"the {kind}").replace(file, "it")
        return {"error": reason.removeprefix(f"{record['utterance']}: ")}
    outputs = ensemble.task.outputs
    rest = {name: record[name] for name in ("members", "note")}
    if "confidence" not in record:
        return {"values": {name: record[name] for name in outputs}, **rest}
    emotion = record["emotion"] if record["confidence"] >= asked.threshold else NOT_SURE
    return {
        "emotion": emotion,
        "confidence": record["confidence"],
        "probabilities": {name: record[f"p_{name}"] for name in outputs},
        "agreement": record["agreement"],
        **rest,
    }


def about(ensemble: Ensemble, limits: Limits) -> dict[str, Any]:
    """What `GET /model` says.

    Args:
        ensemble: that answers.
        limits: of a request.
    """
    config = ensemble.config
    return {
        "name": ensemble.name,
        "task": ensemble.task.name,
        "model": config.model.title,
        "reads": list(config.model.modalities),
        "outputs": list(ensemble.task.outputs),
        "members": len(ensemble.members),
        "corpus": config.corpus.name,
        "limits": {"megabytes": limits.megabytes, "seconds": limits.seconds},
    }


def build_app(
    ask: Callable[[Asked], Awaitable[dict[str, Any]]], told: Mapping[str, Any], limits: Limits
) -> FastAPI:
    """The HTTP interface.

    Args:
        ask: answers one utterance.
        told: see `about`.
        limits: of a request.
    """
    app = FastAPI(title=f"raysys: {told['name']}", version=raysys.__version__)

    @app.exception_handler(HTTPException)
    @app.exception_handler(404)
    @app.exception_handler(405)
    async def refuse(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, status_code=error.status_code)

    @app.exception_handler(RequestValidationError)
    async def refuse_query(request: Request, error: RequestValidationError) -> JSONResponse:
        told = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return JSONResponse({"error": told}, status_code=422)

    @app.get("/health", summary="Whether it answers")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/model", summary="What it is and reads")
    async def model() -> dict[str, Any]:
        return dict(told)

    @app.post("/predict", summary="Predict one utterance", openapi_extra=_BODY)
    async def answer(request: Request, text: str = "", threshold: float = 0.0) -> Any:
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise HTTPException(
                415, "no forms are taken: send the file itself, as curl --data-binary @FILE does"
            )
        body = await _body(request, limits)
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        asked = (
            _from_json(body, threshold)
            if kind == "application/json"
            else Asked(body, text, threshold)
        )
        found = await ask(asked)
        return JSONResponse(found, status_code=422) if "error" in found else found

    return app


async def _body(request: Request, limits: Limits) -> bytes:
    """What was sent, which is never more in memory than it may be."""
    most, found = int(limits.megabytes * 1e6), bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            raise HTTPException(
                413, f"the body has more than {limits.megabytes:g} MB: send less at a time"
            )
    if not found:
        raise HTTPException(
            400, "the body is empty: send an audio file, or JSON with audio and text"
        )
    return bytes(found)


def _from_json(body: bytes, threshold: float) -> Asked:
    try:
        given = json.loads(body)
    except ValueError as error:
        raise HTTPException(400, "the body is no JSON") from error
    known = {"audio", "image", "text", "threshold"}
    if not isinstance(given, dict) or not set(given) <= known:
        odd = sorted(set(given) - known) if isinstance(given, dict) else []
        what = f", without {', '.join(map(str, odd))}" if odd else ", with threshold by choice"
        raise HTTPException(
            400, f"the JSON must be {{audio: base64, image: base64, text: ...}}{what}"
        )
    text, least = given.get("text") or "", given.get("threshold", threshold)
    if not isinstance(text, str) or not isinstance(least, int | float):
        raise HTTPException(400, "text must be a string, threshold a number")
    files = {}
    for kind in ("audio", "image"):
        try:
            files[kind] = base64.b64decode(str(given.get(kind) or ""), validate=True)
        except ValueError as error:
            raise HTTPException(400, f"{kind} is no base64") from error
    return Asked(files["audio"], text, float(least), files["image"])


def answered(answering: Answering, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """Answers, also where something of ours fails.

    Args:
        answering: the ensemble.
        asked: utterances of several requests.
    """
    try:
        return answering(asked)
    except RaysysError as error:
        return [{"error": str(error)} for _ in asked]
