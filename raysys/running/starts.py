"""Training that goes on from an earlier run: each fold from the weights of its own model there.

    training.start_from -> run folder -> the same folds, model and encoders -> fold K of seed S -> its weights

No weight has seen a test utterance of the fold that goes on with it, since the folds are the same. That is how a
measured similarity matrix serves for fine-tuning (seeds/000): the run of before, then loss.omega with its matrix.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from raysys.config import Config
from raysys.corpus.folds import Fold, folds_record
from raysys.corpus.table import Corpus
from raysys.errors import ConfigError
from raysys.models.stored import read_stored
from raysys.running.space import run_named
from raysys.settings import replaced, to_dict
from raysys.storage import Folder, resolve_folder
from raysys.training.bundle import earlier_fold

_NAME = "training.start_from"


def find_start(config: Config, corpus: Corpus, folds: Sequence[Fold]) -> Config:
    """The config with the folder of the run that training goes on from; as it is where it names none.

    Args:
        config: `training.start_from` is a run's name, or its folder.
        corpus: whose folds they are.
        folds: must be those of the run.

    Raises:
        ConfigError: there is no such run, or its folds are others.
    """
    name = config.training.start_from
    if not name:
        return config
    folder = run_named(name, resolve_folder(config.storage.runs), what=_NAME)
    wanted = folds_record(tuple(folds), corpus)
    if folder.read_json("folds.json") != wanted:
        raise ConfigError(
            f"{_NAME} {folder.path()} has other folds, so its weights may have seen test utterances: use the corpus "
            "and the folds of that run"
        )
    found: Config = replaced(config, {_NAME: folder.uri})
    return found


def planned_alike(config: Config, planned: Config) -> Config:
    """A config with what the plan of its command has found out: where training starts, and GPUs a fold."""
    found: Config = replaced(
        config,
        {
            _NAME: planned.training.start_from,
            "cluster.gpus_per_fold": planned.cluster.gpus_per_fold,
        },
    )
    return found


def check_start(config: Config, n_folds: int, encoders: Mapping[str, Any]) -> dict[str, str]:
    """What training goes on from: folder below the run -> digest of its weights; nothing where it names no run.

    Args:
        config: from `find_start`.
        n_folds: of the corpus.
        encoders: modality -> fingerprint of what made the features.

    Raises:
        ConfigError: a fold or seed is missing there, or its model or encoders are others.
        StorageError: a fold's files are damaged.
    """
    found = {}
    for seed in range(config.seed, config.seed + config.training.seeds):
        for fold in range(n_folds) if config.training.start_from else ():
            place = earlier_fold(config, seed, fold)
            if not place.exists("bundle.json"):
                raise ConfigError(
                    f"{_NAME}: {place.path()} holds no model: the run must have these seeds and folds, and have ended"
                )
            content, _ = read_stored(place)
            _check_alike(config, content, encoders, place)
            found[f"{seed}/{fold}"] = str(content["weights"])
    return found


def _check_alike(
    config: Config, content: Mapping[str, Any], encoders: Mapping[str, Any], place: Folder
) -> None:
    ours, theirs = to_dict(config.model), content["config"]["model"]
    for name in ("name", "modalities", config.model.name):
        if ours[name] != theirs.get(name):
            raise ConfigError(
                f"{_NAME}: the model in {place.path()} is another one: model.{name} is {theirs.get(name)} there and "
                f"{ours[name]} here"
            )
    for modality in config.model.modalities:
        if modality in encoders and encoders[modality] != content["encoders"].get(modality):
            raise ConfigError(
                f"{_NAME}: the model in {place.path()} was trained on {modality} features of another encoder: use that "
                "of its config"
            )
