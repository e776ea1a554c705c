"""Which emotion space each fold of a content encoder gets: one that has seen none of the fold's test items.

loss.space -> run of jobs.map_labels: its folds' bundles, and what each of them held back
-> for every fold the first one that trained on none of its test items
"""

from raysys.config import Config
from raysys.errors import ConfigError
from raysys.models.emotion_space import load_space
from raysys.similarity.prior import Origin, SpacePrior
from raysys.storage import Folder, named_folder
from raysys.tracking.priors import Prior


def resolve_space(config: Config, origin: Origin, *, runs: Folder) -> Prior | None:
    """The emotion space of every fold; None where the config names none.

    Args:
        config: `loss.space`, the name of a run or its folder.
        origin: test items of every fold.
        runs: folder of all runs.

    Raises:
        ConfigError: there is no such run, or all of its folds have trained on test items.
        StorageError: a fold's files are damaged.
    """
    name = config.loss.space
    if not name:
        return None
    folder = run_named(name, runs, what="loss.space")
    seen = {one["fold"]: {*one["train"], *one["val"]} for one in folder.read_json("folds.json")}
    found: dict[int, SpacePrior] = {}
    values = []
    for tested in origin.tests:
        fold = next((k for k, ids in seen.items() if not ids & set(tested)), None)
        if fold is None:
            raise ConfigError(
                f"every emotion space of {folder.path()} has learnt from ratings of items that a fold tests here: use "
                "the corpus and folds of that run, or a space of other items"
            )
        if fold not in found:
            place = fold_folder(folder, fold)
            found[fold] = SpacePrior(place.uri, load_space(place).digest)
        values.append(found[fold])
    return Prior(values)


def run_named(name: str, runs: Folder, *, what: str) -> Folder:
    """The folder of a run that is named, or given as a path or URI.

    Args:
        name: of the run, or its folder where it has a slash.
        runs: folder of all runs.
        what: names it, for the message.

    Raises:
        ConfigError: there is none.
    """
    folder = named_folder(name) if "/" in name else runs / name
    if not folder.exists("folds.json"):
        raise ConfigError(
            f"{what} {folder.path()} is no run: give its name in {runs.path()}, or its folder"
        )
    return folder


def fold_folder(folder: Folder, fold: int) -> Folder:
    """Folder of a run's fold; the first seed's, where there are several."""
    seeds = sorted(name for name in folder.names() if name.startswith("seed_"))
    return (folder / seeds[0] if seeds else folder) / f"fold_{fold}"
