"""What a model says of the test part of a fold, and its files. NumPy only: whoever reads it needs no torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from raysys.sealed import check_files, read_sealed
from raysys.storage import Folder


@dataclass(frozen=True)
class Predictions:
    """Embeddings, outputs and truth of one part, in the part's order."""

    embeddings: Float32[np.ndarray, "utterance dim"]
    outputs: Float32[np.ndarray, "utterance output"]
    """Class probabilities, or values, as the task says."""
    truth: Shaped[np.ndarray, "utterance *output"]
    """Classes, or values."""


@dataclass(frozen=True)
class Aggregation:
    """What the aggregation actor does with the test embeddings of a trial."""

    read: Callable[[str], Any]
    """Fold folder (URI) -> what is needed of a fold."""
    summarise: Callable[[Mapping[Any, Any]], Any]
    """What `read` gives for all folds, by seed and fold -> the aggregate."""


def prediction_files(names: tuple[str, str]) -> list[str]:
    """Names of the files of a fold's test predictions.

    Args:
        names: what the task calls outputs and truth.
    """
    return [f"test_{part}.npy" for part in ("embeddings", *names)]


def write_predictions(folder: Folder, test: Predictions, names: tuple[str, str]) -> None:
    """Store a fold's test predictions, unscored, as .npy files.

    Args:
        folder: of the fold.
        test: what the model said.
        names: what the task calls outputs and truth; the files are test_embeddings, test_NAME and test_NAME.
    """
    outputs, truth = names
    folder.write_npy("test_embeddings.npy", test.embeddings)
    folder.write_npy(f"test_{outputs}.npy", test.outputs)
    folder.write_npy(f"test_{truth}.npy", test.truth)


def read_predictions(folder: Folder, names: tuple[str, str]) -> Predictions:
    """Stored test predictions of a finished fold; see `write_predictions`.

    Raises:
        StorageError: they are missing or damaged.
    """
    _check(folder, prediction_files(names))
    return Predictions(*(np.asarray(folder.read_npy(file)) for file in prediction_files(names)))


def read_embeddings(place: str, *, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and truth of a finished fold, given by its folder's URI.

    Raises:
        StorageError: they are missing or damaged.
    """
    folder, (_, truth) = Folder(place), names
    _check(folder, ["test_embeddings.npy", f"test_{truth}.npy"])
    stored = [folder.read_npy(f"test_{part}.npy") for part in ("embeddings", truth)]
    return np.asarray(stored[0]), np.asarray(stored[1])


def _check(folder: Folder, files: list[str]) -> None:
    """Compare files with what the fold's record says of them, where it has one."""
    if folder.exists("fold.json"):
        known = read_sealed(folder, "fold.json")["files"]
        check_files(folder, {file: known[file] for file in files})
