"""The aggregation actor: folds send it their test embeddings, it answers with similarity matrices.

    worker -> add(trial, fold, embeddings, labels) -> class sums, counts, cosine matrix of the fold
    driver -> summary(trial) -> per fold, average, interval

Folds store the same embeddings before they send them, so the actor's state can be rebuilt at any time: when it has
died, Ray starts it again, and `summary` reads what is missing from the folds' folders.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
from jaxtyping import Float, Int64

from raysys.config import SimilarityConfig
from raysys.similarity import SimilaritySummary, summarise
from raysys.storage import Folder
from raysys.training.predictions import read_predictions
from raysys.training.task import FoldResult, FoldTask


class SimilarityAggregator:
    """See the module; made into an actor by `running_aggregator`.

    Args:
        config: resamples and confidence of the interval.
        n_classes: number of emotions.
        seed: of the bootstrap.
    """

    def __init__(self, config: SimilarityConfig, n_classes: int, seed: int) -> None:
        self._config = config
        self._n_classes = n_classes
        self._seed = seed
        self._embeddings: dict[tuple[str, int], np.ndarray] = {}
        self._labels: dict[tuple[str, int], np.ndarray] = {}

    def add(
        self,
        trial: str,
        fold: int,
        embeddings: Float[np.ndarray, "utterance dim"],
        labels: Int64[np.ndarray, " utterance"],
    ) -> None:
        """Take a fold's test embeddings; a second delivery of the same fold changes nothing."""
        self._embeddings.setdefault((trial, fold), embeddings)
        self._labels.setdefault((trial, fold), labels)

    def summary(self, trial: str, folders: dict[int, str]) -> SimilaritySummary:
        """Matrices of a finished trial; its embeddings are dropped afterwards.

        Args:
            trial: name.
            folders: fold -> its folder, from which embeddings are read that the actor does not hold.

        Raises:
            StorageError: neither here nor there.
        """
        for fold, folder in sorted(folders.items()):
            if (trial, fold) not in self._embeddings:
                stored = read_predictions(Folder(folder))
                self.add(trial, fold, stored.embeddings, stored.labels)
        keys = [(trial, fold) for fold in sorted(folders)]
        summary = summarise(
            [self._embeddings[key] for key in keys],
            [self._labels[key] for key in keys],
            self._n_classes,
            resamples=self._config.resamples,
            confidence=self._config.confidence,
            seed=self._seed,
        )
        self.drop(trial)
        return summary

    def drop(self, trial: str) -> None:
        """Forget a trial's embeddings; its folds have stored them."""
        for key in [key for key in self._embeddings if key[0] == trial]:
            del self._embeddings[key], self._labels[key]


class DeliverEmbeddings:
    """Runs in a worker: sends a finished fold's embeddings to the actor, which may be starting again."""

    def __init__(self, aggregator: Any) -> None:
        self._aggregator = aggregator

    def __call__(self, task: FoldTask, result: FoldResult) -> None:
        """Send what the fold has stored."""
        stored = read_predictions(Folder(task.folder))
        call = self._aggregator.add.remote(task.trial, task.fold, stored.embeddings, stored.labels)
        ray.get(call)


@contextmanager
def running_aggregator(config: SimilarityConfig, n_classes: int, seed: int) -> Iterator[Any]:
    """The actor, for as long as it is needed; when it dies it restarts, and calls are repeated until it answers."""
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    actor = ray.remote(SimilarityAggregator).options(**options).remote(config, n_classes, seed)
    try:
        yield actor
    finally:
        ray.kill(actor)
