"""A folder to hand on: the trained folds of a run and what is known of them, which `raysys.load` reads like the run.

run (of a study: its choice) -> [seed_S/]fold_K/, learnt.json, result.json, predictions.parquet, report.html, ...
"""

from raysys.errors import ConfigError
from raysys.predicting.members import chosen_trial, trained_folds
from raysys.report.results import OF
from raysys.storage import Folder
from raysys.training.bundle import FILES

_TOP = (
    "config.json",
    "best.yaml",
    "result.json",
    "audit.json",
    "folds.json",
    "learnt.json",
    "report.html",
    "report.md",
)
_STANDS_FOR = ("result.json", "folds.json", "config.json")
_OF_TRIAL = ("predictions.parquet",)


def export_run(run: Folder, out: Folder) -> None:
    """Copy what predicts, and what says how well.

    Args:
        run: folder of a finished cross-validation, study or refit.
        out: a folder that is new or empty.

    Raises:
        ConfigError: the run has no trained folds.
        StorageError: something of it is damaged, or cannot be written.
    """
    trial = chosen_trial(run)
    places = trained_folds(trial)
    if not places:
        raise ConfigError(f"{run.path()} holds no trained folds: there is nothing to hand on")
    several = len({seed for seed, _, _ in places}) > 1
    for seed, fold, place in places:
        there = (out / f"seed_{seed}" if several else out) / f"fold_{fold}"
        for name in (*FILES, "fold.json"):
            there.write_bytes(name, place.read_bytes(name))
    if (run / OF).exists():
        for name in _STANDS_FOR:
            (out / OF).write_bytes(name, (run / OF).read_bytes(name))
    for folder, names in ((run, (*_TOP, *_OF_TRIAL)), (trial, _OF_TRIAL)):
        for name in names:
            if folder.exists(name):
                out.write_bytes(name, folder.read_bytes(name))
