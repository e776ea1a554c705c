"""Runs as MLflow models: logged with their honest scores, registered under a name, fetched again.

    a run's folds (a folder to hand on) + the package raysys + pinned requirements -> logged model -> registered version
    runs:/ID, models:/NAME@ALIAS, models:/NAME/VERSION, models:/m-ID -> the folder of its folds

A logged model is READY when its files are there; one that a killed command left half done is deleted and made again.
"""

import base64
import io
import logging
import os
import re
import tempfile
import wave
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow.artifacts
import mlflow.pyfunc
import pandas
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

import raysys
from raysys.config.running import TrackingConfig
from raysys.errors import ConfigError, TrackingError
from raysys.storage import Folder
from raysys.tracking.client import connect, said, sqlite_file, tracking_uri

ALIAS = "champion"
"""Alias of the version that is not worse than any before it."""
INPUTS = {
    "audio": "string",
    "audio_base64": "string",
    "text": "string",
    "image": "string",
    "image_base64": "string",
    "utterance_id": "string",
    "dialogue_id": "string",
    "turn": "long",
    "speaker": "string",
    "start": "double",
    "end": "double",
}
"""Columns that a model takes, with their types; audio and image are files, or their bytes."""
_NOT_NEEDED = ("ray", "optuna", "jsonargparse")
"""Packages that raysys requires, but not to predict."""


@dataclass
class ModelLog:
    """The MLflow model of one run; its methods are for the writer's thread."""

    client: MlflowClient
    experiment_id: str
    name: str
    corpus: tuple[str, str]
    """Name and digest, as those of the run's dataset input."""
    modalities: tuple[str, ...]
    """Modalities that it reads."""
    outputs: Mapping[str, str]
    """Columns of its answers -> MLflow's types."""
    card: str
    """Markdown: what it scored, and on what."""
    export: Callable[[Folder], None]
    """Writes the folder that `raysys.load` reads."""
    model_id: str = field(default="", init=False)
    _is_whole: bool = field(default=False, init=False)

    @property
    def origin(self) -> dict[str, str]:
        """What a metric says of the model that has it, and of the data that it was measured on."""
        name, digest = self.corpus
        return {"model_id": self.model_id, "dataset_name": name, "dataset_digest": digest}

    def begin(self, run_id: str) -> None:
        """Find the run's model, or begin one: metrics that follow can name it."""
        for one in models_of(self.client, self.experiment_id, run_id):
            is_ready = str(one.status) == "READY"
            if is_ready and one.tags.get("raysys.card") == self.card[:200]:
                self.model_id, self._is_whole = str(one.model_id), True
                return
            if not is_ready:  # of a command that died; that of a shorter study may be registered
                self.client.delete_logged_model(one.model_id)
        made = self.client.create_logged_model(
            self.experiment_id,
            name=re.sub(r"[/:.%\"']+", "_", self.name),
            source_run_id=run_id,
            tags={"mlflow.note.content": self.card, "raysys.card": self.card[:200]},
            params={"reads": " and ".join(self.modalities), "corpus": self.corpus[0]},
            model_type="raysys",
        )
        self.model_id = str(made.model_id)

    def finish(self) -> None:
        """Upload its files and call it READY."""
        if self._is_whole:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            self.export(Folder(str(Path(folder) / "run")))
            _save(path, Path(folder) / "run", self.modalities, self.outputs, self.model_id)
            self.client.log_model_artifacts(self.model_id, str(path))
        self.client.finalize_logged_model(self.model_id, "READY")
        self._is_whole = True


def models_of(client: MlflowClient, experiment_id: str, run_id: str) -> list[LoggedModel]:
    """Logged models of a run, the latest first."""
    return list(
        client.search_logged_models(
            [experiment_id],
            filter_string=f"source_run_id = '{run_id}'",
            order_by=[{"field_name": "creation_timestamp", "ascending": False}],
        )
    )


def _save(
    path: Path, run: Path, modalities: tuple[str, ...], outputs: Mapping[str, str], model_id: str
) -> None:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    inputs = Schema([ColSpec(kind, name, required=False) for name, kind in INPUTS.items()])
    answers = Schema([ColSpec(kind, name, required=False) for name, kind in outputs.items()])
    threshold = ParamSchema([ParamSpec("threshold", "double", 0.0)])
    example = _example()
    shown = {name: example[name] for name in example if name.split("_")[0] in modalities}
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    mlflow.pyfunc.save_model(
        path,
        python_model=str(Path(__file__).with_name("model_code.py")),
        artifacts={"run": str(run)},
        code_paths=[str(Path(str(raysys.__file__)).parent)],
        signature=ModelSignature(inputs, answers, threshold),
        input_example=pandas.DataFrame([shown]),
        pip_requirements=requirements(),
        metadata={"raysys.model_id": model_id},
    )


def _example() -> dict[str, str]:
    """A second of sound, and what might be said in it."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(bytes(128 + round(60 * ((k % 80) / 40 - 1)) for k in range(8000)))
    return {"audio_base64": base64.b64encode(stream.getvalue()).decode(), "text": "I am so glad."}


def requirements() -> list[str]:
    """What predicting needs besides raysys itself, at the versions that are installed."""
    known = ["mlflow"]
    with suppress(metadata.PackageNotFoundError):  # run from a checkout
        known = metadata.requires("raysys") or known
    names = [re.split(r"[\[<>=~!; ]", one)[0] for one in known if "extra ==" not in one]
    return [f"{name}=={metadata.version(name)}" for name in names if name not in _NOT_NEEDED]


def reading_client(config: TrackingConfig, runs: Folder) -> MlflowClient:
    """A client for what must be there already.

    Raises:
        ConfigError: there is no MLflow here.
        TrackingError: it does not answer.
    """
    uri = tracking_uri(config, runs)
    file = sqlite_file(uri)
    if file is not None and not file.is_file():
        raise ConfigError(
            f"there is no MLflow at {file}: give --runs, or set MLFLOW_TRACKING_URI to its server"
        )
    return connect(config, runs)


def find_model(client: MlflowClient, place: str) -> LoggedModel:
    """The logged model that a URI names.

    Args:
        client: of the MLflow that has it.
        place: runs:/ID, models:/NAME@ALIAS, models:/NAME/VERSION (or latest), or models:/m-ID.

    Raises:
        ConfigError: there is none.
    """
    try:
        if place.startswith("runs:/"):
            run = client.get_run(place.removeprefix("runs:/").split("/")[0])
            found = models_of(client, run.info.experiment_id, run.info.run_id)
            if not found:
                raise ConfigError(
                    f"the MLflow run of {place} has no model: give the command's own run, finished, of "
                    "jobs.cross_validate, jobs.tune or jobs.refit"
                )
            return found[0]
        rest = place.removeprefix("models:/")
        if re.fullmatch(r"m-[0-9a-f]{32}", rest):
            return client.get_logged_model(rest)
        version = _version(client, rest)
        if not (found_id := _logged_in(version)):
            raise ConfigError(f"{place} was not registered by jobs.register")
        return client.get_logged_model(found_id)
    except MlflowException as error:
        raise ConfigError(f"MLflow has no {place}: {said(error)[:200]}") from error


def _version(client: MlflowClient, rest: str) -> Any:
    if "@" in rest:
        return client.get_model_version_by_alias(*rest.split("@", 1))
    name, _, number = rest.partition("/")
    if number not in ("", "latest"):
        return client.get_model_version(name, number)
    versions = client.search_model_versions(f"name = '{name}'")
    if not versions:
        raise ConfigError(f"MLflow has no registered model '{name}'")
    return max(versions, key=lambda one: int(one.version))


def _logged_in(version: Any) -> str:
    """Id of the logged model that a version was made of: MLflow keeps it in the place of its files alone."""
    found = re.search(r"\bm-[0-9a-f]{32}\b", str(version.source))
    return found.group() if found else ""


def fetch_model(client: MlflowClient, model: LoggedModel) -> Folder:
    """The folder of its folds, on this machine.

    Raises:
        TrackingError: its files cannot be had.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        path = mlflow.artifacts.download_artifacts(
            artifact_uri=model.artifact_location, tracking_uri=client.tracking_uri
        )
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"cannot fetch models:/{model.model_id}: {said(error)[:300]}"
        ) from error
    found = Path(path) / "artifacts" / "run"
    if not found.is_dir():
        raise ConfigError(f"models:/{model.model_id} is no model of raysys")
    return Folder(str(found.resolve()))


def holder_of(client: MlflowClient, name: str) -> LoggedModel | None:
    """The model of the version that has the alias; None where no version has it."""
    try:
        version = client.get_model_version_by_alias(name, ALIAS)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return find_model(client, f"models:/{name}/{version.version}")


def register(client: MlflowClient, name: str, model: LoggedModel, *, best: bool, note: str) -> str:
    """Make a version of a registered model, which is made where it is new.

    Args:
        client: of the MLflow that has it.
        name: of the registered model.
        model: to be registered; it may be a version already.
        best: give it the alias.
        note: why it has the alias, or has it not.

    Returns:
        The number of the version.

    Raises:
        TrackingError: MLflow refuses.
    """
    try:
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        known = [
            one
            for one in client.search_model_versions(f"name = '{name}'")
            if _logged_in(one) == model.model_id
        ]
        version = (
            known[0]
            if known
            else client.create_model_version(
                name,
                source=model.artifact_location,
                run_id=model.source_run_id,
                model_id=model.model_id,
                description=f"{note}\n\n{model.tags.get('mlflow.note.content', '')}",
            )
        )
        if best:
            client.set_registered_model_alias(name, ALIAS, version.version)
        return str(version.version)
    except MlflowException as error:
        raise TrackingError(f"MLflow refused to register {name}: {said(error)[:300]}") from error
