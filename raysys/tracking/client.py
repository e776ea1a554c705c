"""Where MLflow is, and the experiment of a corpus.

The URI comes from the config, else MLFLOW_TRACKING_URI, else an SQLite file next to the runs: always absolute, because
Ray workers change their folder. The driver alone connects; it creates the schema before anything else runs.
"""

import glob
import logging
import os
import re
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from raysys.aside import aside_name, is_left
from raysys.config.running import TrackingConfig
from raysys.errors import ConfigError, StorageError, TrackingError
from raysys.settings import without_password
from raysys.storage import Folder, in_submitted_job

_TABLES_SECONDS = 120.0
_BRIEF = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
_MAKE_ROOM = "make room, and give the same command with --resume"
_REMEDIES = {
    "401": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    "403": "this user may not use it: ask for access, or set --tracking.uri",
    "404": "something else than MLflow answers there: set --tracking.uri to the server's root",
    "timed out": "it is there and says nothing: look at the server, or set --tracking.uri",
    "too many 5": "the server has an error of its own: look at its log",
    "INTERNAL_ERROR": "the server has an error of its own: look at its log",
    "out-of-date": "its tables are of an older MLflow: run mlflow db upgrade on a copy, or set --tracking.uri",
    "maintenance mode": "MLflow keeps runs no more in plain folders: set --tracking.uri sqlite:////PATH/mlflow.db",
    "_alembic_tmp_": "its tables are half made, by a command that was ended: remove the file; with --resume the same "
    "command fills a new one",
    "No module named": "install that driver, or set --tracking.uri",
    "unsupported URI": "set --tracking.uri to http://HOST:PORT of a server, or sqlite:////PATH/mlflow.db",
    "Invalid url": "set --tracking.uri to http://HOST:PORT of a server, or sqlite:////PATH/mlflow.db",
    "disk is full": _MAKE_ROOM,
    "No space left": _MAKE_ROOM,
    "disk I/O error": "its file cannot be written or read: look at the disk",
    "readonly database": "its file is not this user's to write: set --tracking.uri",
    "unable to open database": "its folder is not there, or not this user's: set --tracking.uri",
    "Proxy": "a proxy stands before it: set NO_PROXY to its host, or unset HTTP_PROXY",
}
"""Sign in what MLflow, or the way to it, answered -> what to do."""


def tracking_uri(config: TrackingConfig, runs: Folder) -> str:
    """The absolute tracking URI.

    Raises:
        ConfigError: the runs are on object storage, where SQLite cannot be, and no URI is given.
    """
    given = config.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if given.startswith("sqlite:///") and not given.startswith("sqlite:////"):
        return f"sqlite:///{Path(given.removeprefix('sqlite:///')).resolve()}"
    if given:
        return given
    if runs.local_path is None:
        raise ConfigError(f"storage.runs is {runs.uri}: set --tracking.uri to an MLflow server")
    if set("#%?") & set(str(runs.local_path)):
        raise ConfigError(
            f"storage.runs {runs.local_path} holds one of # % ?, which no SQLite URI can: choose another "
            "folder, or set --tracking.uri"
        )
    return f"sqlite:///{runs.local_path / 'mlflow.db'}"


def connect(config: TrackingConfig, runs: Folder) -> MlflowClient:
    """A client whose server has answered.

    Raises:
        ConfigError: see `tracking_uri`.
        TrackingError: no server answers, or the database cannot be opened.
    """
    uri = tracking_uri(config, runs)
    file = sqlite_file(uri)
    # Another folder that is not there may be a slip.
    if file is not None and file.parent == runs.local_path:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot make {file.parent} ({error.strerror}): set --storage.runs to a folder that can be written"
            ) from error
    # It would print where each run is, password included.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It logs a traceback of each error, at every try, which also comes as an exception.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    shown = without_password(uri)
    if file is not None and not file.parent.is_dir():  # MLflow would make it
        raise TrackingError(
            f"{file.parent} of tracking.uri is not there: make it, or set --tracking.uri"
        )
    try:
        with _alone(file), _briefly():
            if file is not None and not _has_content(file):
                _make_tables(file)
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
    except Exception as error:  # each store raises its own family
        reason = said(error)
        raise TrackingError(
            f"MLflow at {shown} does not answer ({reason[:200]}): {remedy(reason)}"
        ) from error
    return client


def sqlite_file(uri: str) -> Path | None:
    """The file of a tracking URI that names one."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _has_content(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _make_tables(file: Path) -> None:
    """MLflow's tables in a new file, which is whole before it gets its name: half made ones would stay so for good."""
    for left in file.parent.glob(f".{glob.escape(file.name)}.*"):
        if is_left(left):
            left.unlink(missing_ok=True)
    aside = file.with_name(aside_name(file.name))
    try:
        MlflowClient(tracking_uri=f"sqlite:///{aside}").search_experiments(max_results=1)
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def _alone(file: Path | None) -> Iterator[None]:
    """Let commands that start together on a new SQLite file make its tables one after the other."""
    if file is None:
        yield
        return
    lock = FileLock(file.with_name(f".{file.name}.lock"), timeout=_TABLES_SECONDS)
    with suppress(NotImplementedError, OSError):  # a disk that knows no locks
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _briefly() -> Iterator[None]:
    """The first call waits for seconds, where MLflow's own patience is minutes."""
    before = {name: os.environ.get(name) for name in _BRIEF}
    os.environ.update({name: value for name, value in _BRIEF.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def said(error: Exception) -> str:
    """What MLflow, or a library below it, says, in one line without statements of SQL, wrappings and passwords."""
    text = without_password(" ".join(str(error).split()).split(" [SQL: ")[0])
    inner = re.search(r"\[Errno -?\d+\] [^'\")]+", text)
    if inner and "Max retries exceeded" in text and "Proxy" not in text and "timed out" not in text:
        return inner.group()
    return text


def remedy(reason: str) -> str:
    """What to do about a call that failed."""
    for sign, known in _REMEDIES.items():
        if sign in reason:
            return known
    return "start it or set --tracking.uri"


def experiment_id(client: MlflowClient, name: str, runs: Folder) -> str:
    """The id of an experiment, created when it is new, with artifacts next to an SQLite file.

    Raises:
        TrackingError: the experiment was deleted in MLflow.
    """
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"experiment '{name}' is deleted in MLflow: set --tracking.experiment"
            )
        return str(found.experiment_id)
    artifacts = None
    if client.tracking_uri.startswith("sqlite:///"):
        database = Path(client.tracking_uri.removeprefix("sqlite:///"))
        artifacts = (database.parent / "mlartifacts" / name).as_uri()
    try:
        # The UI opens such an experiment on its training runs.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(name, artifact_location=artifacts, tags=kind))
    except MlflowException as error:
        raise TrackingError(f"cannot create experiment '{name}': {error}") from error


def ui_command(uri: str) -> str:
    """What opens the MLflow UI on a tracking URI, for a submitted job from the machine of whoever submitted it."""
    if "://" in uri and not uri.startswith("sqlite"):
        return f"open {without_password(uri)}"
    program = Path(sys.executable).with_name("mlflow")
    command = shlex.join([str(program), "ui", "--backend-store-uri", uri])
    if not in_submitted_job():
        return command
    tunnel = ["ssh", "-L", "5000:127.0.0.1:5000", socket.gethostname(), command]
    return shlex.join(tunnel)


def ui_address(uri: str) -> str:
    """Where the MLflow UI of a tracking URI is, once it is open."""
    is_server = "://" in uri and not uri.startswith("sqlite")
    return without_password(uri).rstrip("/") if is_server else "http://127.0.0.1:5000"


def has_ended(config: TrackingConfig, runs: Folder, run_id: str) -> bool:
    """Whether MLflow has a command's run, and its end; where it does not answer, that is believed.

    Args:
        config: where MLflow is.
        runs: the folder of all runs.
        run_id: of the command's run.
    """
    try:
        run = kept_run(connect(config, runs), run_id)
    except (MlflowException, TrackingError):
        return True
    return run is not None and run.info.status == "FINISHED"


def kept_run(client: MlflowClient, run_id: str) -> Run | None:
    """The run; None where it was deleted, or MLflow is another one.

    Raises:
        MlflowException: it does not answer.
    """
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None
