"""MLflow runs, written by one thread in order, so training never waits for MLflow.

Writes are queued and batched. While the server is away the thread tries again; the end of the run waits for it up to
`tracking.patience_seconds`. A resumed run skips the metric points that MLflow has already.
"""

import errno
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from raysys.background import Background
from raysys.errors import TrackingError
from raysys.report.pictures import draw
from raysys.settings import without_password
from raysys.storage import as_json
from raysys.tasks.exhibits import Exhibit, File
from raysys.tracking.client import remedy, said
from raysys.tracking.datasets import Profile
from raysys.tracking.models import ModelLog

_ARTIFACTS = "artifacts"
_BATCH = 500
_PARAMS = 90
_NOT_IN_NAMES = r"[^\w\-. :/]"
_PARAM_LENGTH = 5000
_RETRY_SECONDS = 2.0
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR}
"""What a disk answers that will not take a file."""
_PERMANENT = {
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_DOES_NOT_EXIST",
    "BAD_REQUEST",
    "PERMISSION_DENIED",
}


def add_to_ended(
    client: MlflowClient,
    run_id: str,
    *,
    metrics: Mapping[str, float],
    files: Mapping[str, str],
) -> None:
    """Give a run that has ended more metrics and text files; those of the same names are replaced.

    Args:
        client: of the MLflow that has the run.
        run_id: of the run.
        metrics: name -> value.
        files: path among the run's artifacts -> content.

    Raises:
        TrackingError: MLflow does not answer, or has no such run.
    """
    now = round(time.time() * 1000)
    try:
        client.log_batch(run_id, [Metric(name, value, now, 0) for name, value in metrics.items()])
        for path, content in files.items():
            client.log_text(run_id, content, path)
    except (MlflowException, OSError) as error:
        raise TrackingError(f"MLflow has not taken it: {said(error)[:200]}") from error


class Writer:
    """Does MLflow calls in order in a thread of its own; see the module.

    Args:
        client: connected client.
        patience_seconds: longest wait of `finish` without any write done, for a server that does not answer.
    """

    def __init__(self, client: MlflowClient, patience_seconds: float) -> None:
        self.client = client
        self._patience = patience_seconds
        self._background = Background("mlflow-writer")
        self._give_up = threading.Event()
        self._failures: list[str] = []
        self._open = 0
        self._done = 0
        self._latest = ""
        """The error of the latest write that failed."""
        self._refused: set[str] = set()
        """Kinds of writes that are not tried again, such as artifacts, whose store refuses them."""

    def put(self, job: Callable[[], None], *, kind: str = "") -> None:
        """Have a call done; it is repeated while there is no answer.

        Args:
            job: the call.
            kind: of calls that are given up together once one of them is refused for good.
        """
        self._open += 1
        self._background.do(partial(self._until_done, job, kind))

    def finish(self, *, patience_seconds: float | None = None) -> None:
        """Do what is queued.

        Args:
            patience_seconds: overrides the writer's.

        Raises:
            TrackingError: MLflow refused something, or stayed away too long.
        """
        patience = self._patience if patience_seconds is None else patience_seconds
        end = self._background.do(lambda: None)
        try:
            while True:
                before = self._done
                try:
                    end.result(patience)
                    break
                except TimeoutError:
                    if self._done == before:
                        raise
        except TimeoutError as error:
            self._give_up.set()
            place = without_password(self.client.tracking_uri)
            why = f" ({self._latest[:200]}; {remedy(self._latest)})" if self._latest else ""
            raise TrackingError(
                f"MLflow at {place} does not answer{why}: {self._open} writes are lost; "
                "result.json in the run folder has every number"
            ) from error
        if self._failures:
            raise TrackingError(f"MLflow refused a write: {self._failures[0]}")

    def _until_done(self, job: Callable[[], None], kind: str) -> None:
        while not self._give_up.is_set() and kind not in self._refused:
            try:
                job()
                break
            except MlflowException as error:
                self._latest = said(error)
                if error.error_code in _PERMANENT:
                    self._failures.append(self._latest[:300])
                    break
            except OSError as error:  # no connection, or a disk that may come back
                self._latest = said(error)
                if kind and error.errno in _REFUSED:
                    self._refused.add(kind)
                    reason = self._latest[:200]
                    self._failures.append(
                        f"{kind} cannot be stored, all else was ({reason}; {remedy(reason)})"
                    )
                    break
            except Exception as error:  # kept, and raised by `finish`
                self._failures.append(f"{type(error).__name__}: {error}")
                break
            self._give_up.wait(_RETRY_SECONDS)
        self._open -= 1
        self._done += 1


class RunLog:
    """Appends to one MLflow run.

    Args:
        writer: does the calls; several runs may share it.
        find_run: called by the writer before the run's first call, returns the id of an existing or new run.
        resumed: the run may hold some of the points already.
    """

    def __init__(
        self, writer: Writer, find_run: Callable[[], str], *, resumed: bool = False
    ) -> None:
        self._writer = writer
        self._client = writer.client
        self._find_run = find_run
        self._found = ""
        self._resumed = resumed
        self._known: dict[str, set[int]] = {}
        self._waiting: list[Callable[[], list[Metric]]] | None = None
        """Points that go out in one call, while nothing else of the run was asked for after them."""
        self._lock = threading.Lock()

    def params(self, values: Mapping[str, Any]) -> None:
        """Settings of the run; long values are cut at 5000 characters, and what MLflow takes in no name becomes -."""
        entities = [
            Param(re.sub(_NOT_IN_NAMES, "-", key, flags=re.ASCII), str(value)[:_PARAM_LENGTH])
            for key, value in values.items()
        ]
        for first in range(0, len(entities), _PARAMS):
            chunk = entities[first : first + _PARAMS]
            self._put(partial(self._log_params, chunk))

    def tags(self, values: Mapping[str, str]) -> None:
        """Tags of the run."""
        entities = [RunTag(key, value) for key, value in values.items()]
        self._put(lambda: self._client.log_batch(self.run_id, tags=entities))

    def metrics(
        self, values: Mapping[str, float], *, step: int = 0, model: ModelLog | None = None
    ) -> None:
        """Points of one step, also those of a model; NaN is left out, since MLflow's stores differ on it.

        What comes while the writer is busy goes out in one call: a call costs more than its points.
        """
        now = int(time.time() * 1000)
        known = {k: float(v) for k, v in values.items() if v == v}

        def points() -> list[Metric]:
            of = {} if model is None else model.origin
            return [Metric(k, v, now, step, **of) for k, v in known.items()]

        with self._lock:
            if self._waiting is not None:
                self._waiting.append(points)
                return
            self._waiting = [points]
            self._writer.put(partial(self._write_points, self._waiting))

    def begin_model(self, model: ModelLog) -> None:
        """Find or begin the run's model, which metrics may name from now on."""
        self._put(lambda: model.begin(self.run_id))

    def finish_model(self, model: ModelLog) -> None:
        """Upload the model's files."""
        self._put(model.finish, kind=_ARTIFACTS)

    def corpus(
        self, name: str, digest: str, source: str, shown: Profile | None = None, *, context: str
    ) -> None:
        """A corpus, or a part of it, as a dataset input of the run."""
        more = [] if shown is None else [json.dumps(shown.schema), json.dumps(shown.profile)]
        dataset = Dataset(name, digest[:36], "local", json.dumps({"uri": source}), *more)
        entry = DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
        self._put(lambda: self._client.log_inputs(self.run_id, [entry]))

    def figure(self, figure: Figure, path: str) -> None:
        """A picture, under its artifact path."""
        self._put(lambda: self._client.log_figure(self.run_id, figure, path), kind=_ARTIFACTS)

    def file(self, content: bytes, path: str) -> None:
        """A file, under its artifact path."""

        def write() -> None:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / Path(path).name
                file.write_bytes(content)
                parent = str(Path(path).parent)
                self._client.log_artifact(self.run_id, str(file), None if parent == "." else parent)

        self._put(write, kind=_ARTIFACTS)

    def json(self, content: Any, path: str) -> None:
        """JSON, under its artifact path."""
        self.file(as_json(content).encode(), path)

    def exhibits(self, shown: Iterable[Exhibit]) -> None:
        """What a task shows: files as they are, pictures as they are drawn."""
        for one in shown:
            if not isinstance(one, File):
                self.figure(draw(one), one.path)
            elif isinstance(one.content, bytes):
                self.file(one.content, one.path)
            else:
                self.json(one.content, one.path)

    def end(self, status: str) -> None:
        """End the run: FINISHED, FAILED or KILLED."""
        self._put(lambda: self._client.set_terminated(self.run_id, status=status))

    @property
    def run_id(self) -> str:
        """Found or made by the first call; for the writer's thread."""
        self._found = self._found or self._find_run()
        return self._found

    def _put(self, job: Callable[[], None], *, kind: str = "") -> None:
        with self._lock:
            self._waiting = None  # later points come after this call
            self._writer.put(job, kind=kind)

    def _write_points(self, waiting: list[Callable[[], list[Metric]]]) -> None:
        with self._lock:
            if self._waiting is waiting:
                self._waiting = None
        self._log_points([point for points in waiting for point in points()])

    def _log_params(self, params: list[Param]) -> None:
        if self._resumed:
            # What was logged stays, also where a setting that decides nothing is another now.
            there = self._client.get_run(self.run_id).data.params
            params = [param for param in params if param.key not in there]
        self._client.log_batch(self.run_id, params=params)

    def _log_points(self, points: list[Metric]) -> None:
        fresh = [p for p in points if p.step not in self._steps(p.key)] if self._resumed else points
        for first in range(0, len(fresh), _BATCH):
            self._client.log_batch(self.run_id, metrics=fresh[first : first + _BATCH])
        for point in fresh:
            self._known.setdefault(point.key, set()).add(point.step)

    def _steps(self, key: str) -> set[int]:
        if key not in self._known:
            history = self._client.get_metric_history(self.run_id, key)
            self._known[key] = {point.step for point in history}
        return self._known[key]
