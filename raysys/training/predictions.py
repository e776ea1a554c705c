"""What a model says of the test part of a fold, and its files. NumPy only: whoever reads it needs no torch."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from raysys.storage import Folder


@dataclass(frozen=True)
class Predictions:
    """Embeddings, probabilities and true classes of one part, in the part's order."""

    embeddings: Float32[np.ndarray, "utterance dim"]
    probabilities: Float32[np.ndarray, "utterance class"]
    labels: Int64[np.ndarray, " utterance"]

    @property
    def predicted(self) -> Int64[np.ndarray, " utterance"]:
        """The most probable class."""
        return self.probabilities.argmax(axis=1).astype(np.int64)


def write_predictions(folder: Folder, test: Predictions) -> None:
    """Store a fold's test predictions, unscored: test_embeddings.npy, test_probabilities.npy, test_labels.npy."""
    folder.write_npy("test_embeddings.npy", test.embeddings)
    folder.write_npy("test_probabilities.npy", test.probabilities)
    folder.write_npy("test_labels.npy", test.labels)


def read_predictions(folder: Folder) -> Predictions:
    """Stored test predictions of a finished fold.

    Raises:
        StorageError: they are missing or damaged.
    """
    return Predictions(
        np.asarray(folder.read_npy("test_embeddings.npy")),
        np.asarray(folder.read_npy("test_probabilities.npy")),
        np.asarray(folder.read_npy("test_labels.npy")),
    )
