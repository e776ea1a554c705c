"""Where MLflow is, and the experiment of a corpus.

The URI comes from the config, else MLFLOW_TRACKING_URI, else an SQLite file beside the runs: always absolute, because
Ray workers change their folder. The driver alone connects; it creates the schema before anything else runs.
"""

import logging
import os
import sys
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from raysys.config.running import TrackingConfig
from raysys.errors import ConfigError, TrackingError
from raysys.storage import Folder


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
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    for chatty in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # each store raises its own family
        reason = " ".join(str(error).split())[:200]
        raise TrackingError(
            f"MLflow at {uri} does not answer ({reason}): start it or set --tracking.uri"
        ) from error
    return client


def experiment_id(client: MlflowClient, name: str, runs: Folder) -> str:
    """The id of an experiment, created when it is new, with artifacts beside an SQLite file.

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
    """What opens the MLflow UI on a tracking URI."""
    if "://" in uri and not uri.startswith("sqlite"):
        return f"open {uri}"
    program = Path(sys.executable).with_name("mlflow")
    return f"{program} ui --backend-store-uri {uri}"
