"""Similarity matrices that the emotion-aware loss can start from: hand-written, from a file, or from a run's record.

The hand-written one places emotions on the circumplex (Russell 1980: valence, arousal) and takes
S = 1 - distance / largest possible distance. It is a placeholder until a study has measured its own.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from raysys.errors import ConfigError, StorageError, nearest
from raysys.similarity.matrix import average_matrix
from raysys.similarity.summary import SimilaritySummary
from raysys.storage import Folder


@dataclass(frozen=True)
class SimilarityPrior:
    """S of the emotion-aware term, as one fold takes it."""

    matrix: list[list[float]]
    """[class class]; plain, so that it can be sent anywhere."""


@dataclass(frozen=True)
class SpacePrior:
    """The emotion space that a fold rests on."""

    folder: str
    """Path or URI of the space."""
    digest: str
    """Digest of the space."""


FoldPrior = SimilarityPrior | SpacePrior
"""What a fold's objective knows beforehand."""
SAW_TEST_LABELS = "saw_test_labels"
"""Kind of the finding that marks a result whose S did, or may have."""
_CIRCUMPLEX = {
    # valence, arousal in -1..1, written by hand after Russell 1980, Fig. 2
    "anger": (-0.6, 0.7),
    "boredom": (-0.4, -0.7),
    "calm": (0.5, -0.7),
    "contempt": (-0.6, 0.2),
    "disgust": (-0.7, 0.3),
    "excitement": (0.7, 0.7),
    "fear": (-0.5, 0.8),
    "frustration": (-0.6, 0.4),
    "happiness": (0.8, 0.3),
    "joy": (0.9, 0.4),
    "neutral": (0.0, -0.1),
    "sadness": (-0.7, -0.4),
    "surprise": (0.2, 0.8),
}


@dataclass(frozen=True)
class Origin:
    """What a measured matrix rests on."""

    corpus: str
    """Name of the corpus."""
    tests: tuple[tuple[str, ...], ...]
    """Ids of the test utterances of every fold."""
    keys: tuple[tuple[str, ...], ...] = ()
    """The same, by what they are (`Corpus.keys`), whatever the corpus is called."""
    known: tuple[str, ...] = ()
    """Keys (`Corpus.keys`) of all utterances of the corpus."""


def preset_similarity(emotions: tuple[str, ...]) -> Float64[np.ndarray, "class class"]:
    """The hand-written matrix of these emotions: symmetric, in 0..1, unit diagonal.

    Raises:
        ConfigError: an emotion that the table does not hold.
    """
    for emotion in emotions:
        if emotion not in _CIRCUMPLEX:
            raise ConfigError(
                f"the preset similarity does not know '{emotion}' ({nearest(emotion, _CIRCUMPLEX)}): set "
                "--loss.similarity to a file"
            )
    points = np.array([_CIRCUMPLEX[emotion] for emotion in emotions])
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    similarity: np.ndarray = 1 - distance / np.linalg.norm([2.0, 2.0])
    return similarity


def read_similarity(
    folder: Folder, name: str, emotions: tuple[str, ...]
) -> Float64[np.ndarray, "class class"] | dict[str, Any]:
    """A matrix, or the record of a run, from a file.

    Args:
        folder: of the file.
        name: `.npy` in the order of the emotions, or `.json` with `emotions` and `average` (what runs log).
        emotions: the classes wanted, in order.

    Returns:
        The matrix of an `.npy`, the content of a `.json`.

    Raises:
        ConfigError: missing or unreadable file, or an `.npy` that is no similarity matrix of these emotions.
    """
    path = folder.path(name)
    if not folder.exists(name):
        raise ConfigError(
            f"loss.similarity {path} is not a file: give preset, vad, a file or mlflow:RUN_ID"
        )
    try:
        if name.endswith(".npy"):
            return check_similarity(np.array(folder.read_npy(name)), emotions, path)
        content = json.loads(folder.read_bytes(name))
    except (StorageError, ValueError) as error:
        raise ConfigError(f"loss.similarity {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold 'emotions' and 'average'")
    return content


def similarity_record(
    summary: SimilaritySummary, emotions: tuple[str, ...], origin: Origin
) -> dict[str, Any]:
    """The matrices of a run as JSON, NaN as null; `similarity_from_record` reads it back."""
    names = ("average", "unbiased", "low", "high", "per_fold", "fold_counts", "utterance_counts")
    arrays = {name: with_null(getattr(summary, name).tolist()) for name in names}
    val = summary.val_per_fold
    return {
        "emotions": list(emotions),
        **asdict(origin),
        "over": summary.over,
        **arrays,
        "val_per_fold": None if val is None else with_null(val.tolist()),
    }


def similarity_from_record(
    record: Mapping[str, Any],
    emotions: tuple[str, ...],
    source: str,
    *,
    of: Literal["val", "test"],
    tests: Collection[str] = (),
) -> Float64[np.ndarray, "class class"]:
    """A matrix from the JSON that runs log, brought into the order of `emotions`.

    Args:
        record: see `similarity_record`.
        emotions: the classes wanted, in order.
        source: what the record is, for messages.
        of: the matrices of val parts, of folds that trained on none of `tests`; or those of test parts, of folds that
            tested none of them.
        tests: keys (`Corpus.keys`) of the test utterances of the fold that is going to use it.

    Raises:
        ConfigError: the record has no matrix, lacks one of the emotions, or no fold is left.
    """
    if not {"emotions", "average"} <= record.keys():
        raise ConfigError(f"{source} must hold 'emotions' and 'average'")
    known, wanted = list(record["emotions"]), set(tests)
    for emotion in emotions:
        if emotion not in known:
            raise ConfigError(f"{source} has no emotion '{emotion}': {nearest(emotion, known)}")
    order = [known.index(emotion) for emotion in emotions]
    try:
        if "per_fold" in record:
            kept = _kept(record, source, of, wanted)
            name = "val_per_fold" if of == "val" else "per_fold"
            matrices = np.array(record[name], dtype=np.float64)
            matrix = _filled(average_matrix(matrices[kept])[0])
        else:  # somebody's own
            matrix = np.array(record["average"], dtype=np.float64)
        matrix = matrix[np.ix_(order, order)]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ConfigError(
            f"{source}: 'average' is not a square matrix of numbers: {error}"
        ) from error
    return check_similarity(matrix, emotions, source)


def _kept(
    record: Mapping[str, Any], source: str, of: Literal["val", "test"], wanted: set[str]
) -> list[int]:
    """Folds of the record whose matrix the fold may use.

    A fold's model and its val part know the labels of every utterance but its own test part.
    """
    if of == "val" and not record.get("val_per_fold"):
        raise ConfigError(
            f"{source} has no matrices of val parts, as an earlier raysys wrote it: run it again, or set "
            "--loss.measured_on test, which marks the result"
        )
    keys, known = [set(one) for one in record.get("keys") or ()], set(record.get("known") or ())
    if not keys:  # what it rests on is not known
        return list(range(len(record.get("per_fold") or ())))
    if of == "val":
        kept = [k for k, own in enumerate(keys) if not wanted & (known - own)]
    else:
        kept = [k for k, own in enumerate(keys) if not wanted & own]
    if not kept:
        learnt = "learnt from" if of == "val" else "tested"
        raise ConfigError(
            f"{source}: every fold of it has {learnt} test utterances of a fold that would use it, whose labels it "
            "would carry into training: use the folds of that run, or set --loss.similarity to preset or to a matrix "
            "of another corpus"
        )
    return kept


def _filled(matrix: Float64[np.ndarray, "class class"]) -> Float64[np.ndarray, "class class"]:
    """Cells of a class that the part lacks become the mean of the known ones, the diagonal 1."""
    unknown, diagonal = np.isnan(matrix), np.eye(len(matrix), dtype=bool)
    known = matrix[~diagonal & ~unknown]
    usual = np.where(diagonal, 1.0, known.mean() if len(known) else 0.0)
    filled: np.ndarray = np.where(unknown, usual, matrix)
    return filled


def check_similarity(
    matrix: np.ndarray, emotions: tuple[str, ...], source: str
) -> Float64[np.ndarray, "class class"]:
    """The matrix itself when it can be a similarity matrix of these emotions.

    Raises:
        ConfigError: wrong shape, values outside -1..1 or not finite, not symmetric, or a diagonal that is not 1.
    """
    size = len(emotions)
    if matrix.shape != (size, size):
        raise ConfigError(f"{source} is {matrix.shape}, but {size} emotions need ({size}, {size})")
    wide: np.ndarray = matrix.astype(np.float64)
    rules = {
        "finite": bool(np.isfinite(wide).all()),
        "within -1..1": bool((np.abs(np.nan_to_num(wide)) <= 1 + 1e-6).all()),
        "symmetric": bool(np.allclose(wide, wide.T, atol=1e-6, equal_nan=True)),
        "1 on the diagonal": bool(np.allclose(np.diag(wide), 1, atol=1e-6, equal_nan=True)),
    }
    for rule, holds in rules.items():
        if not holds:
            raise ConfigError(f"{source}: a similarity matrix must be {rule}")
    return wide


def with_null(values: Any) -> Any:
    """Nested lists with None for NaN."""
    if isinstance(values, list):
        return [with_null(value) for value in values]
    return None if values != values else values
