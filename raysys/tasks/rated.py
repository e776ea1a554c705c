"""Ratings of a corpus as arrays over label formats, for the tasks that learn from them."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from raysys.corpus.folds import Fold
from raysys.corpus.formats import Format
from raysys.corpus.table import Corpus
from raysys.models.emotion_space import EmotionSpace, load_space
from raysys.similarity.prior import FoldPrior, SpacePrior
from raysys.storage import Folder
from raysys.tasks.baseline import Baseline, Pooled
from raysys.tasks.task import Task

WITHOUT_CLASSES: Mapping[str, Any] = {
    "loss.targets": "label",
    "loss.omega": 0.0,
    "loss.class_weights": False,
    "loss.mu1": 0.0,
    "balance.method": "off",
    "training.temperature": False,
}
"""Settings that would do nothing where no emotion is predicted; see `Task.fixed`."""


@dataclass(frozen=True)
class RatedTargets:
    """What is known of every item."""

    ratings: Float32[np.ndarray, "utterance variable"]
    """In 0..1; NaN where an item is not rated."""
    strata: Int64[np.ndarray, " utterance"]
    """Which formats an item is rated in, as a number, or its class."""


def space_of(prior: FoldPrior | None) -> EmotionSpace:
    """The emotion space that a fold rests on.

    Args:
        prior: of the fold, a `SpacePrior`.
    """
    assert isinstance(prior, SpacePrior)
    return load_space(Folder(prior.folder))


def folders_of(priors: Sequence[FoldPrior]) -> tuple[str, ...]:
    """Folders of the emotion spaces, fold by fold."""
    return tuple(one.folder for one in priors if isinstance(one, SpacePrior))


class RatedTask(Task):
    """A task over ratings, whose one baseline chooses nothing over the folds."""

    def baselines(
        self, pooled: Pooled, targets: Any, folds: Sequence[Fold], *, choose: str
    ) -> list[Baseline]:
        """`baseline` of every fold."""
        test = tuple(self.baseline(pooled.values, targets, fold) for fold in folds)
        return [Baseline(self.baseline_name, "", test)]

    @abstractmethod
    def baseline(self, pooled: np.ndarray, targets: RatedTargets, fold: Fold) -> dict[str, float]:
        """Test scores of the simple baseline, fitted on a fold's train part.

        Args:
            pooled: features over time of every utterance.
            targets: ratings of every utterance.
            fold: rows.
        """


def variable_names(formats: Sequence[Format]) -> tuple[str, ...]:
    """FORMAT.VARIABLE, format by format."""
    return tuple(f"{one.name}.{name}" for one in formats for name in one.variables)


def columns_of(formats: Sequence[Format]) -> list[slice]:
    """Where each format's variables are among those of all."""
    ends = np.cumsum([0, *(len(one.variables) for one in formats)]).tolist()
    return [slice(begin, end) for begin, end in pairwise(ends)]


def known_formats(
    ratings: Float32[np.ndarray, "utterance variable"], formats: Sequence[Format]
) -> Bool[np.ndarray, "utterance format"]:
    """Whether an item is rated in a format."""
    columns = [~np.isnan(ratings[:, own]).any(axis=1) for own in columns_of(formats)]
    return np.stack(columns, axis=1)


def format_strata(
    ratings: Float32[np.ndarray, "utterance variable"], formats: Sequence[Format]
) -> Int64[np.ndarray, " utterance"]:
    """Which formats an item is rated in, as a number."""
    known = known_formats(ratings, formats)
    return np.unique(known, axis=0, return_inverse=True)[1].astype(np.int64).reshape(-1)


def ratings_in(
    corpus: Corpus, formats: Sequence[Format]
) -> Float32[np.ndarray, "utterance variable"]:
    """A corpus' ratings in the order of some formats, its emotions as one of them; NaN where there are none."""
    place = {name: k for k, name in enumerate(corpus.targets)}
    classes = {f"{corpus.name}.{emotion}": k for k, emotion in enumerate(corpus.emotions)}
    columns = []
    for name in variable_names(formats):
        if name in place:
            columns.append(corpus.ratings[:, place[name]])
        elif name in classes:
            columns.append((corpus.labels == classes[name]).astype(np.float32))
        else:
            columns.append(np.full(len(corpus), np.nan, dtype=np.float32))
    return np.stack(columns, axis=1)
