"""Folds: every utterance is in the test part of at most one fold, and no group is in two parts of a fold.

    corpus, groups -> outer split (test) -> inner grouped split of the rest (val, train)

The validation part chooses epochs and configurations; the test part is read once, after training (see
`raysys.training.fold`). scikit-learn does the splitting.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Int64

from raysys.corpus.names import clean_name, natural_key
from raysys.corpus.table import Corpus, Utterance, text_key
from raysys.errors import CorpusError, nearest
from raysys.settings import require

_ALIKE = 0.05
"""Shares of a val part that are no further apart from `val_fraction` than this count as equal."""

Indices = Int64[np.ndarray, " _"]
FoldKey = tuple[int, int]
"""(seed, fold): what distinguishes the trainings of one configuration."""


@dataclass(frozen=True)
class FoldsConfig:
    """How utterances are divided into train, val and test."""

    idle: ClassVar[Mapping[str, Mapping[str, tuple[Any, ...]]]] = {
        "n_splits": {"method": ("leave_one_group_out", "official")}
    }
    method: Literal["stratified_group", "leave_one_group_out", "official"] = "stratified_group"
    """stratified_group (scikit-learn's StratifiedGroupKFold), leave_one_group_out (a fold a group), or official (the
    corpus' own train, val and test: one fold, or those of EmoBox; a val part that is not there is taken from train)."""
    groups: Literal["speaker", "session", "dialogue"] = "speaker"
    """What may never be in two parts of a fold."""
    n_splits: int = 5
    """Number of folds for stratified_group."""
    tested: tuple[int | str, ...] = ()
    """leave_one_group_out: which groups are test, by their names, or counted from 1 in the order in which people count
    (2 before 10) where no group has such a name; empty: each in turn. On IEMOCAP's sessions, [5] is the split of many
    papers."""
    val_fraction: float = 0.2
    """Share of the non-test utterances, in whole groups, that choose epoch and configuration."""
    seed: int = 0
    """Shuffles groups of equal rank. It is not that of training, so that all seeds train on the same folds."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "folds.seed", self.seed, "0 to 2**32 - 1")
        require(self.n_splits >= 2, "folds.n_splits", self.n_splits, "2 or more")
        names = [str(one).strip() for one in self.tested]
        apart = len(set(names)) == len(names) and all(names) and "0" not in names
        require(apart, "folds.tested", self.tested, "different groups, by name or by number from 1")
        by_group = self.method == "leave_one_group_out" or not self.tested
        rule = "empty unless folds.method is leave_one_group_out"
        require(by_group, "folds.tested", self.tested, rule)
        share = self.val_fraction
        require(0 < share <= 0.5, "folds.val_fraction", share, "in (0, 0.5]")


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
        full = [n for n in ("speaker", "session", "dialogue_id") if "" not in corpus.column(n)]
        others = " or ".join(one.removesuffix("_id") for one in full)
        if not any(column):
            other = f", or set --folds.groups {others}" if others else ""
            risk = (
                " (one person may then be in train and test)" if config.groups == "speaker" else ""
            )
            raise CorpusError(
                f"the corpus has no {config.groups}s: add a column '{config.groups}', say which it is by "
                f"--corpus.columns '{{{config.groups}: NAME}}'{other}{risk if other else ''}"
            )
        raise CorpusError(
            f"utterance '{row}' has no {config.groups}: fill it or set --folds.groups {others}".rstrip()
        )
    return np.array(column)


def tested_groups(groups: np.ndarray, config: FoldsConfig) -> list[str]:
    """Groups that are tested one after the other by leave_one_group_out, in the order in which people count.

    Args:
        groups: of every utterance.
        config: `tested` chooses some.

    Raises:
        CorpusError: it names a group that is not there.
    """
    known = sorted(set(groups.tolist()), key=natural_key)
    chosen = set()
    for one in map(str, config.tested):
        name = clean_name(one)
        if name in known:
            chosen.add(name)
        elif name.isdecimal() and 1 <= int(name) <= len(known):
            chosen.add(known[int(name) - 1])
        else:
            raise CorpusError(
                f"folds.tested is {list(config.tested)}, but '{name}' is none of the {len(known)} {config.groups}s: "
                f"{nearest(name, known)}"
            )
    return [name for name in known if name in chosen or not config.tested]


def fold_of_group(
    folds: Sequence[Fold], corpus: Corpus, config: FoldsConfig, name: str
) -> int | None:
    """Position of the fold whose test part is one group and nothing else; None where no fold's is.

    Args:
        folds: of the corpus.
        corpus: checked corpus.
        config: `groups`.
        name: of the group.
    """
    groups = groups_of(corpus, config)
    found = (k for k, fold in enumerate(folds) if set(groups[fold.test].tolist()) == {name})
    return next(found, None)


def make_folds(
    corpus: Corpus, strata: Int64[np.ndarray, " utterance"], config: FoldsConfig
) -> tuple[Fold, ...]:
    """Divide a corpus.

    Args:
        corpus: checked corpus.
        strata: what parts should hold alike (see `raysys.tasks`), such as the class of every utterance.
        config: method, groups, number of folds, share of validation, seed.

    Raises:
        CorpusError: too few groups, a part that is empty, or another division than the corpus allows.
    """
    if corpus.is_divided and config.method != "official":
        raise CorpusError(
            f"corpus {corpus.name} is learnt from in one part and tested in another: set --folds.method official"
        )
    groups = groups_of(corpus, config)
    if config.method != "official":
        _check_group_count(groups, config)
    folds: list[Fold] = []
    validated = np.zeros(len(corpus), dtype=np.int64)
    for rest, given, test in _outer(corpus, strata, groups, config):
        train, val = (
            (rest, given) if len(given) else _inner(rest, strata, groups, config, validated)
        )
        validated[val] += 1
        folds.append(_checked(Fold(len(folds), np.sort(train), np.sort(val), np.sort(test))))
    return tuple(folds)


def inner_folds(
    outer: Fold,
    corpus: Corpus,
    strata: Int64[np.ndarray, " utterance"],
    config: FoldsConfig,
    *,
    n_splits: int,
    first: int,
) -> tuple[Fold, ...]:
    """Divide what a fold does not test into folds of its own, for a search that sees nothing of its test part.

    Args:
        outer: the fold.
        corpus: checked corpus.
        strata: as of `make_folds`.
        config: groups and seed.
        n_splits: inner folds; fewer where there are fewer groups.
        first: index of the first one.

    Returns:
        Folds whose val part is held out; it stands for their test part too, which they do not have.

    Raises:
        CorpusError: fewer than two groups are left.
    """
    rest = np.sort(np.concatenate([outer.train, outer.val]))
    groups = groups_of(corpus, config)[rest]
    count = min(n_splits, len(set(groups.tolist())))
    if count < 2:
        raise CorpusError(
            f"fold {outer.index} leaves a single {config.groups} to search on: set --search.nested false"
        )
    splits = _stratified(count, strata[rest], groups, config.seed)
    return tuple(
        Fold(first + k, rest[train], rest[held], rest[held])
        for k, (train, held) in enumerate(splits)
    )


def _official(
    corpus: Corpus, groups: np.ndarray, config: FoldsConfig
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The corpus' own parts, of each of its published folds: train, val (nothing where it has none) and test."""
    rows = corpus.utterances
    if corpus.official is None:
        for row in rows:
            _check_split(row)
        divisions: Sequence[list[str]] = [[row.split for row in rows]]
    else:
        divisions = [
            [fold.get(row.utterance_id, "") for row in rows] for fold in corpus.official.folds
        ]
    for k, division in enumerate(divisions):
        part = np.array(division)
        train, val, test = (np.flatnonzero(part == name) for name in ("train", "val", "test"))
        if not len(train) or not len(test):
            raise CorpusError(
                f"fold {k} has an empty {'test' if len(train) else 'train'} part: give utterances that split, or set "
                "--folds.method stratified_group"
            )
        if not len(val) and len(set(groups[train].tolist())) < 2:
            raise CorpusError(
                f"the official train part has a single {config.groups}, so none can be val: set --folds.groups dialogue"
            )
        yield train, val, test


def _check_split(row: Utterance) -> None:
    if row.split not in ("train", "val", "test"):
        meant = {"dev": "val", "validation": "val", "valid": "val", "eval": "test"}
        known = meant.get(row.split.lower()) or row.split.lower()
        hint = f" (did you mean '{known}'?)" if known in ("train", "val", "test") else ""
        raise CorpusError(
            f"utterance '{row.utterance_id}' has the split '{row.split}'{hint}, but folds.method official needs "
            "train, val or test: fill it or set --folds.method"
        )


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
    corpus: Corpus, strata: np.ndarray, groups: np.ndarray, config: FoldsConfig
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What is not tested, what of it is val (nothing where that is still to be chosen), and what is tested."""
    none = np.zeros(0, dtype=np.int64)
    if config.method == "official":
        yield from _official(corpus, groups, config)
    elif config.method == "leave_one_group_out":
        for name in tested_groups(groups, config):
            yield np.flatnonzero(groups != name), none, np.flatnonzero(groups == name)
    else:
        for rest, test in _stratified(config.n_splits, strata, groups, config.seed):
            yield rest, none, test


def _inner(
    rest: np.ndarray,
    strata: np.ndarray,
    groups: np.ndarray,
    config: FoldsConfig,
    validated: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Split what is not test: whole groups, about `val_fraction` of the utterances, strata alike.

    Of splits that do this alike, the one whose val part has served least so far (`validated` counts the folds in
    which an utterance was val), so that no single group decides in all folds.
    """
    wanted = max(2, round(1 / config.val_fraction))
    most = int(np.unique(strata[rest], return_counts=True)[1].max())
    n_splits = max(2, min(wanted, len(set(groups[rest].tolist())), most))
    splits = _stratified(n_splits, strata[rest], groups[rest], config.seed)

    def misfit(split: tuple[np.ndarray, np.ndarray]) -> tuple[int, float, float]:
        train, val = split
        missing = len(set(strata[rest].tolist()) - set(strata[rest[train]].tolist()))
        steps = abs(len(val) / len(rest) - config.val_fraction) // _ALIKE
        return missing, steps, float(validated[rest[val]].mean()) if len(val) else np.inf

    train, val = min(splits, key=misfit)
    return rest[train], rest[val]


def _stratified(
    n_splits: int, strata: np.ndarray, groups: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    alone = len(set(groups.tolist())) == len(groups)
    kind = StratifiedKFold if alone else StratifiedGroupKFold  # the former is fast
    splitter = kind(n_splits, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class smaller than the number of folds is fine as long as no train part lacks it, which we check.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        try:
            return list(splitter.split(strata, strata, None if alone else groups))
        except ValueError as error:
            raise CorpusError(f"{error} Set fewer --folds.n_splits.") from error


def _checked(fold: Fold) -> Fold:
    for part, indices in fold.parts().items():
        if len(indices) == 0:
            raise CorpusError(
                f"fold {fold.index} has an empty {part} part: set fewer --folds.n_splits"
            )
    return fold


def learnt_record(folds: Sequence[Fold], corpus: Corpus) -> dict[str, list[int]]:
    """What `learnt.json` holds: 16 hex digits of an utterance's samples, picture or text -> folds that learnt from it.

    By these it is known again, whatever it is called; utterances that are alike count as one.
    """
    found: dict[str, set[int]] = {}
    for fold in folds:
        for k in np.concatenate([fold.train, fold.val]):
            seen = corpus.image_digests[k] if corpus.image_digests else ""
            text = text_key(corpus.utterances[k].text)
            for key in (corpus.audio_digests[k][:16], seen[:16], text):
                if key:
                    found.setdefault(key, set()).add(fold.index)
    return {key: sorted(numbers) for key, numbers in found.items()}


def folds_record(folds: tuple[Fold, ...], corpus: Corpus) -> list[dict[str, object]]:
    """What `folds.json` holds: per fold, the utterance ids of each part."""
    ids = np.array([row.utterance_id for row in corpus.utterances])
    return [
        {"fold": fold.index, **{part: ids[rows].tolist() for part, rows in fold.parts().items()}}
        for fold in folds
    ]
