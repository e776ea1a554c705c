"""Less to train on, for learning curves: a share of a fold's train part, in utterances, dialogues or speakers.

Val and test stay as they are. A smaller share is part of any larger one of the same seed, so that a curve shows what
more data adds, and not what other data does.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int64

from raysys.config import Config
from raysys.corpus.finding import Finding
from raysys.corpus.folds import Fold
from raysys.corpus.table import Corpus
from raysys.errors import ConfigError, CorpusError
from raysys.models import model_names
from raysys.tasks.task import Task

_STREAM = 5_403_117
"""Keeps the draws apart from all others of the same seed and fold."""
_PLACES = {"dialogues": 0, "speakers": 2}
"""Column of `FoldData.places`."""


def share_of(
    fold: Fold,
    config: Config,
    *,
    strata: Int64[np.ndarray, " utterance"],
    places: Int64[np.ndarray, "utterance 3"] | None,
) -> Fold:
    """The fold with what `training.share` leaves of its train part; itself where that is all.

    Utterances are drawn within their class (or stratum), at least one of each; dialogues and speakers as they come.

    Args:
        fold: of the corpus.
        config: `training.share`, `training.share_of` and the seed.
        strata: class or stratum of every utterance.
        places: dialogue, turn and speaker of every utterance, as numbers.
    """
    share, kind = config.training.share, config.training.share_of
    if share == 1:
        return fold
    random = np.random.default_rng([config.seed, fold.index, _STREAM])
    if kind == "utterances":
        own = strata[fold.train]
        parts = [random.permutation(fold.train[own == one]) for one in np.unique(own)]
        kept = np.concatenate([part[: max(1, round(share * len(part)))] for part in parts])
        return replace(fold, train=np.sort(kept))
    assert places is not None
    own = places[fold.train, _PLACES[kind]]
    units = random.permutation(np.unique(own))
    chosen = units[: max(1, round(share * len(units)))]
    return replace(fold, train=fold.train[np.isin(own, chosen)])


def shared_folds(
    folds: tuple[Fold, ...],
    config: Config,
    task: Task,
    targets: Any,
    places: Int64[np.ndarray, "utterance 3"] | None,
) -> tuple[Fold, ...]:
    """`share_of` every fold.

    Args:
        folds: of the corpus.
        config: see `share_of`.
        task: knows the class or stratum of every utterance.
        targets: see `Task`.
        places: see `share_of`.
    """
    if config.training.share == 1:
        return folds
    strata = task.teach(targets, config.loss)[1]
    return tuple(share_of(fold, config, strata=strata, places=places) for fold in folds)


def check_share(
    folds: tuple[Fold, ...], config: Config, task: Task, targets: Any, corpus: Corpus
) -> list[Finding]:
    """What the audit must know of the share; nothing where it is all.

    Args:
        folds: of the corpus.
        config: see `share_of`.
        task: refuses folds from which it cannot learn.
        targets: see `Task`.
        corpus: of the folds.

    Raises:
        ConfigError: the train part has no such units to take a share of.
        CorpusError: nothing can be learnt from what is left.
    """
    share, kind = config.training.share, config.training.share_of
    if share == 1:
        return []
    reader = model_names().get(config.model.name)
    if kind == "utterances" and reader is not None and reader.reads_dialogues:
        raise ConfigError(
            f"training.share_of is utterances, but {config.model.name} reads whole dialogues: set --training.share_of "
            "dialogues, or speakers"
        )
    for fold in folds if kind in _PLACES else ():
        count = len(np.unique(corpus.places[fold.train, _PLACES[kind]]))
        if count < 2:
            raise ConfigError(
                f"training.share is {share:g}, but the train part of fold {fold.index} has {count} of the {kind} that "
                "training.share_of names: set --training.share_of utterances"
            )
    own = shared_folds(folds, config, task, targets, corpus.places)
    try:
        task.check_folds(own, corpus)
    except CorpusError as error:
        reason = str(error).partition(":")[0]
        raise CorpusError(
            f"training.share is {share:g}, and {reason}: raise it, or set --training.share_of utterances"
        ) from error
    kept, whole = (sum(len(fold.train) for fold in each) / len(each) for each in (own, folds))
    message = (
        f"trained on {100 * share:g} % of the {kind} of each train part, drawn by the seed ({kept:.0f} of {whole:.0f} "
        "utterances, mean of the folds); val and test are whole, and the baseline has the same share"
    )
    return [Finding("note", "share", message)]
