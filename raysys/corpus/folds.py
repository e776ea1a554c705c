"""Folds: every utterance is in the test part of at most one fold, and no group is in two parts of a fold.

    corpus, groups -> outer split (test) -> inner grouped split of the rest (val, train)

The validation part chooses epochs and configurations; the test part is read once, after training (see
`raysys.training.fold`). scikit-learn does the splitting.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold

from raysys.config import FoldsConfig
from raysys.corpus.table import Corpus
from raysys.errors import CorpusError

_ALIKE = 0.05
"""Shares of a val part that are no further apart from `val_fraction` than this count as equal."""

Indices = Int64[np.ndarray, " _"]


@dataclass(frozen=True)
class Fold:
    """Row indices into the corpus of a fold's three parts, each sorted."""

    index: int
    train: Indices
    val: Indices
    test: Indices

    def parts(self) -> dict[str, Indices]:
        """Part name -> indices."""
        return {"train": self.train, "val": self.val, "test": self.test}


def groups_of(corpus: Corpus, config: FoldsConfig) -> np.ndarray:
    """Group name of every utterance.

    Raises:
        CorpusError: an utterance has none.
    """
    column = corpus.column("dialogue_id" if config.groups == "dialogue" else config.groups)
    if "" in column:
        row = corpus.utterances[column.index("")].utterance_id
        raise CorpusError(
            f"utterance '{row}' has no {config.groups}: fill it or set --folds.groups"
        )
    return np.array(column)


def make_folds(corpus: Corpus, config: FoldsConfig, *, seed: int) -> tuple[Fold, ...]:
    """Divide a corpus.

    Args:
        corpus: checked corpus.
        config: method, groups, number of folds, share of validation.
        seed: shuffles groups of equal rank.

    Raises:
        CorpusError: too few groups, or a fold whose train part lacks an emotion.
    """
    groups = groups_of(corpus, config)
    if config.method == "official":
        folds = [_official(corpus)]
        _check_classes(folds[0], corpus)
        return tuple(folds)
    _check_group_count(groups, config)
    folds = []
    validated = np.zeros(len(corpus), dtype=np.int64)
    for index, (rest, test) in enumerate(_outer(corpus.labels, groups, config, seed)):
        train, val = _inner(rest, corpus.labels, groups, config, seed, validated)
        validated[val] += 1
        folds.append(Fold(index, np.sort(train), np.sort(val), np.sort(test)))
    for fold in folds:
        _check_classes(fold, corpus)
    return tuple(folds)


def _official(corpus: Corpus) -> Fold:
    """The corpus' own parts."""
    split = np.array([row.split for row in corpus.utterances])
    for row in corpus.utterances:
        if row.split not in ("train", "val", "test"):
            raise CorpusError(
                f"utterance '{row.utterance_id}' has the split '{row.split}', but folds.method official needs train, "
                "val or test: fill it or set --folds.method"
            )
    return Fold(0, *(np.flatnonzero(split == part) for part in ("train", "val", "test")))


def _check_group_count(groups: np.ndarray, config: FoldsConfig) -> None:
    count = len(set(groups.tolist()))
    name = config.groups
    if count < 3:
        raise CorpusError(
            f"{count} {name}(s) cannot fill train, val and test: choose another --folds.groups"
        )
    if config.method == "stratified_group" and count < config.n_splits:
        raise CorpusError(
            f"{count} {name}s are fewer than {config.n_splits} folds: set --folds.n_splits {count} or less"
        )


def _outer(
    labels: np.ndarray, groups: np.ndarray, config: FoldsConfig, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if config.method == "leave_one_group_out":
        yield from LeaveOneGroupOut().split(labels, labels, groups)
        return
    yield from _stratified(config.n_splits, labels, groups, seed)


def _inner(
    rest: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    config: FoldsConfig,
    seed: int,
    validated: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Split what is not test: whole groups, about `val_fraction` of the utterances, classes alike.

    Of splits that do this alike, the one whose val part has served least so far (`validated` counts the folds in
    which an utterance was val), so that no single group decides in all folds.
    """
    wanted = max(2, round(1 / config.val_fraction))
    n_splits = min(wanted, len(set(groups[rest].tolist())))
    splits = _stratified(n_splits, labels[rest], groups[rest], seed)

    def misfit(split: tuple[np.ndarray, np.ndarray]) -> tuple[int, float, float]:
        train, val = split
        missing = len(set(labels[rest].tolist()) - set(labels[rest[train]].tolist()))
        steps = abs(len(val) / len(rest) - config.val_fraction) // _ALIKE
        return missing, steps, float(validated[rest[val]].mean()) if len(val) else np.inf

    train, val = min(splits, key=misfit)
    return rest[train], rest[val]


def _stratified(
    n_splits: int, labels: np.ndarray, groups: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    splitter = StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class smaller than the number of folds is fine as long as no train part lacks it, which we check.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        try:
            return list(splitter.split(labels, labels, groups))
        except ValueError as error:
            raise CorpusError(f"{error} Set fewer --folds.n_splits.") from error


def _check_classes(fold: Fold, corpus: Corpus) -> None:
    for part, indices in fold.parts().items():
        if len(indices) == 0:
            raise CorpusError(
                f"fold {fold.index} has an empty {part} part: set fewer --folds.n_splits"
            )
    missing = set(range(len(corpus.emotions))) - set(corpus.labels[fold.train].tolist())
    if missing:
        emotion = corpus.emotions[min(missing)]
        raise CorpusError(
            f"fold {fold.index} trains without any '{emotion}': choose other --folds.groups, or drop it: "
            "leave it out of --corpus.emotions, with --corpus.skip_bad true"
        )


def folds_record(folds: tuple[Fold, ...], corpus: Corpus) -> list[dict[str, object]]:
    """What `folds.json` holds: per fold, the utterance ids of each part."""
    ids = np.array([row.utterance_id for row in corpus.utterances])
    return [
        {"fold": fold.index, **{part: ids[rows].tolist() for part, rows in fold.parts().items()}}
        for fold in folds
    ]
