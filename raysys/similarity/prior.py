"""Similarity matrices that the emotion-aware loss can start from: hand-written, or from a file.

The hand-written one places emotions on the circumplex (Russell 1980: valence, arousal) and takes
S = 1 - distance / largest possible distance. It is a placeholder until a study has measured its own.
"""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from raysys.errors import ConfigError, nearest

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


def read_similarity(path: Path, emotions: tuple[str, ...]) -> Float64[np.ndarray, "class class"]:
    """A matrix from a file.

    Args:
        path: `.npy` in the order of the emotions, or `.json` with `emotions` and `average` (what runs log).
        emotions: the classes wanted, in order.

    Raises:
        ConfigError: missing or unreadable file, wrong emotions, or no similarity matrix.
    """
    if not path.is_file():
        raise ConfigError(
            f"loss.similarity {path} is not a file: give preset, a file or mlflow:RUN_ID"
        )
    try:
        if path.suffix == ".npy":
            return check_similarity(np.load(path, allow_pickle=False), emotions, str(path))
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"loss.similarity {path} cannot be read: {error}") from error
    return similarity_from_record(content, emotions, str(path))


def similarity_from_record(
    record: object, emotions: tuple[str, ...], source: str
) -> Float64[np.ndarray, "class class"]:
    """A matrix from the JSON that runs log, brought into the order of `emotions`.

    Raises:
        ConfigError: the record has no matrix, or lacks one of the emotions.
    """
    if not isinstance(record, dict) or not {"emotions", "average"} <= record.keys():
        raise ConfigError(f"{source} must hold 'emotions' and 'average'")
    known = list(record["emotions"])
    for emotion in emotions:
        if emotion not in known:
            raise ConfigError(f"{source} has no emotion '{emotion}': {nearest(emotion, known)}")
    order = [known.index(emotion) for emotion in emotions]
    try:
        matrix = np.array(record["average"], dtype=np.float64)[np.ix_(order, order)]
    except (TypeError, ValueError, IndexError) as error:
        raise ConfigError(
            f"{source}: 'average' is not a square matrix of numbers: {error}"
        ) from error
    return check_similarity(matrix, emotions, source)


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
