"""`jobs.register`: a run's model gets a name, and the alias `champion` where it is not worse than who holds it."""

from rich.console import Console

from raysys.config.running import TrackingConfig
from raysys.errors import ConfigError
from raysys.predicting.members import IN_MLFLOW, run_of
from raysys.report.comparison import Standing, difference, main_metric, standing_of, why_apart
from raysys.report.headline import inputs_for
from raysys.report.tables import interval
from raysys.settings import without_password
from raysys.storage import Folder, resolve_folder
from raysys.tracking.models import (
    ALIAS,
    fetch_model,
    find_model,
    holder_of,
    reading_client,
    register,
)


def register_command(run: str, name: str, *, force: bool, runs: Folder) -> None:
    """Register the model of a run.

    Args:
        run: as of `load_ensemble`.
        name: of the registered model.
        force: give the alias whatever the holder scores.
        runs: folder of all runs.

    Raises:
        ConfigError: no such run, or it has no model, or the name is none.
        TrackingError: MLflow does not answer.
    """
    console = Console(highlight=False)
    if not name.strip() or set("/:") & set(name):
        raise ConfigError(f"--name is '{name}', but must be a name without / and :")
    client = reading_client(TrackingConfig(), runs)
    place = run if run.startswith(IN_MLFLOW) else f"runs:/{_run_id(run_of(run, runs))}"
    model = find_model(client, place)
    holder = holder_of(client, name)
    best, note = True, f"the first version with the alias {ALIAS}"
    if holder is not None and holder.model_id == model.model_id:
        note = f"it is {ALIAS} already"
    elif holder is not None:
        ours = standing_of(fetch_model(client, model), name=run)
        theirs = standing_of(fetch_model(client, holder), name=f"{ALIAS} ({holder.name})")
        best, note = judge(ours, theirs)
    if force and not best:
        best, note = True, f"{note}; --force gave it the alias"
    number = register(client, name, model, best=best, note=note)
    console.print(f"registered   {name}, version {number}: {note}", markup=False, soft_wrap=True)
    held = f"models:/{name}@{ALIAS}" if best else f"models:/{name}/{number}"
    uri = without_password(client.tracking_uri)
    console.print(f"elsewhere    export MLFLOW_TRACKING_URI={uri}", markup=False, soft_wrap=True)
    reads = model.params.get("reads", "audio").split(" and ")
    where = "" if runs == resolve_folder("runs") else f" --runs {runs.path()}"
    print(f"next         python -m jobs.predict {held}{inputs_for(reads)}{where}")


def judge(ours: Standing, theirs: Standing) -> tuple[bool, str]:
    """Whether a run is not worse than the holder, and why, in words.

    Args:
        ours: would take the alias.
        theirs: has it.
    """
    if why := why_apart(theirs, ours):
        return False, f"without the alias, since {why}; --force gives it"
    metric = main_metric(ours)
    found = difference(ours, theirs, metric.name)
    told = f"{metric.title} {interval(metric, found)} against {theirs.name} on the same folds"
    if metric.worth(found.mean) >= 0:
        return True, f"{ALIAS} now, {told}"
    return False, f"without the alias, {told}; --force gives it"


def _run_id(folder: Folder) -> str:
    if not folder.exists("run.json"):
        raise ConfigError(f"{folder.path()} is no run of its own: give the run's folder or name")
    from raysys.sealed import read_sealed

    return str(read_sealed(folder, "run.json")["run_id"])
