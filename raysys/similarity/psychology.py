"""What people's ratings of emotion words say about the similarity of emotions, and whether a measured matrix agrees.

words -> valence, arousal, dominance (1 to 9) -> S = 1 - distance / largest possible distance
measured matrix, S -> Mantel's r over the pairs of classes, p by permuting the classes of one of them
"""

import itertools
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Float64, Int64, Num

from raysys.errors import ConfigError, nearest
from raysys.similarity.annotators import annotator_similarity

VAD = {
    "anger": (2.50, 5.93, 5.14),
    "annoyance": (2.95, 4.10, 3.45),
    "anticipation": (5.26, 5.39, 5.53),
    "anxiety": (2.38, 4.78, 3.39),
    "boredom": (2.77, 2.58, 5.04),
    "calm": (6.89, 1.67, 7.44),
    "confusion": (3.32, 4.64, 3.08),
    "contempt": (3.22, 4.61, 4.45),
    "disappointment": (2.79, 4.90, 4.08),
    "disgust": (3.32, 5.00, 4.84),
    "excitement": (7.62, 6.21, 6.33),
    "fear": (2.93, 6.14, 3.32),
    "frustration": (2.45, 5.94, 3.27),
    "happiness": (8.48, 6.50, 7.05),
    "joy": (8.21, 5.55, 7.00),
    "neutral": (5.50, 3.45, 5.81),
    "pride": (6.50, 5.54, 5.83),
    "sadness": (2.40, 2.81, 3.84),
    "surprise": (7.44, 6.57, 5.17),
    "trust": (7.24, 4.30, 6.95),
}
"""Mean ratings of the words by people (Warriner, Kuperman & Brysbaert 2013, Behavior Research Methods 45)."""

_FEWEST = 4
"""Classes: three can be permuted in six ways, which distinguishes nothing from chance."""
_EXACT = 7
"""Most classes of which all permutations are tried: 5,040."""
_DRAWN = 9_999


@dataclass(frozen=True)
class Agreement:
    """Mantel's test of a measured matrix against what people say."""

    r: float
    """Pearson's correlation of the two over all pairs of classes."""
    p: float
    """Share of the permutations whose correlation is at least as high; the given order is one of them."""
    classes: tuple[str, ...]
    """Those that both know."""
    permutations: int
    of: str = "people's VAD ratings of the {n} words"
    """What the matrix is compared with, in words."""

    def line(self) -> str:
        """For people."""
        n = len(self.classes)
        how = "all" if self.permutations == math.factorial(n) else "random"
        return (
            f"agreement with {self.of.format(n=n)}: Mantel r {self.r:.2f}, p {self.p:.3f} (one-sided, "
            f"{how} {self.permutations} permutations)"
        )


def vad_similarity(emotions: tuple[str, ...]) -> Float64[np.ndarray, "class class"]:
    """S of emotion words by their ratings: symmetric, in 0..1, unit diagonal.

    Raises:
        ConfigError: an emotion that the table does not hold.
    """
    for emotion in emotions:
        if emotion not in VAD:
            raise ConfigError(
                f"no VAD ratings are known of '{emotion}' ({nearest(emotion, VAD)}): set --loss.similarity to a file"
            )
    points = np.array([VAD[emotion] for emotion in emotions])
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    similarity: np.ndarray = 1 - distance / np.linalg.norm([8.0, 8.0, 8.0])
    return similarity


@cache
def vad_distance(emotions: tuple[str, ...]) -> Float64[np.ndarray, "class class"] | None:
    """1 - S of emotion words by their ratings; None where the table lacks one of them."""
    known = all(name in VAD for name in emotions)
    return 1 - vad_similarity(emotions) if known else None


def agreement_with_vad(
    matrix: Float[np.ndarray, "class class"], emotions: tuple[str, ...]
) -> Agreement | None:
    """Whether a measured matrix resembles S of the VAD ratings; None where fewer than four classes are known.

    Args:
        matrix: symmetric; NaN for classes that were not there.
        emotions: of its rows.
    """
    theirs = np.full((len(emotions),) * 2, np.nan)
    known = [k for k, name in enumerate(emotions) if name in VAD]
    theirs[np.ix_(known, known)] = vad_similarity(tuple(emotions[k] for k in known))
    return _agreement(matrix, theirs, emotions, of=Agreement.of)


def agreement_with_annotators(
    matrix: Float[np.ndarray, "class class"],
    votes: Num[np.ndarray, "utterance class"],
    emotions: tuple[str, ...],
) -> Agreement | None:
    """Whether a measured matrix resembles what annotators take for each other; None where votes do not say.

    Args:
        matrix: symmetric; NaN for classes that were not there.
        votes: annotators by emotion, as counts.
        emotions: of rows and columns.
    """
    theirs = annotator_similarity(votes)
    return _agreement(matrix, theirs, emotions, of="the annotators' confusions of {n} emotions")


def _agreement(
    matrix: Float[np.ndarray, "class class"],
    theirs: Float64[np.ndarray, "class class"],
    emotions: tuple[str, ...],
    *,
    of: str,
) -> Agreement | None:
    """Mantel's test over the classes that both know; None where these are fewer than four."""
    both = ~np.isnan(np.diag(matrix)) & ~np.isnan(np.diag(theirs))
    there = np.flatnonzero(both)
    ours, others = (
        np.asarray(one, dtype=np.float64)[np.ix_(there, there)] for one in (matrix, theirs)
    )
    if len(there) < _FEWEST or np.isnan(ours).any() or np.isnan(others).any():
        return None
    r, p, count = mantel(ours, others)
    known = tuple(emotions[k] for k in there)
    return None if math.isnan(r) else Agreement(r, p, known, count, of)


def mantel(
    ours: Float64[np.ndarray, "class class"], theirs: Float64[np.ndarray, "class class"]
) -> tuple[float, float, int]:
    """Mantel's test (Mantel 1967, Cancer Research 27), one-sided, with Pearson's r.

    Args:
        ours: symmetric.
        theirs: symmetric, over the same classes in the same order.

    Returns:
        r over the pairs above the diagonal (NaN where a matrix has equal cells alone), p, and the number of
        permutations: all of up to 7 classes, else 9,999 random ones and the given order.
    """
    size = len(ours)
    above = np.triu_indices(size, k=1)
    wanted = _standard(theirs[above])
    orders = _orders(size)
    cells = ours[orders[:, above[0]], orders[:, above[1]]]
    found = _standard(cells) @ wanted / len(wanted)
    r = float(found[0])
    if math.isnan(r):
        return r, math.nan, len(orders)
    return r, float((found >= r - 1e-12).mean()), len(orders)


def _orders(size: int) -> Int64[np.ndarray, "permutation class"]:
    """Permutations, the given order first."""
    if size <= _EXACT:
        return np.array(list(itertools.permutations(range(size))), dtype=np.int64)
    random = np.random.default_rng(0)
    drawn = random.permuted(np.tile(np.arange(size), (_DRAWN, 1)), axis=1)
    return np.concatenate([np.arange(size)[None], drawn])


def _standard(values: Float64[np.ndarray, "*rows pair"]) -> Float64[np.ndarray, "*rows pair"]:
    """Mean 0 and deviation 1 along the last axis; NaN where nothing varies."""
    centred = values - values.mean(axis=-1, keepdims=True)
    std = centred.std(axis=-1, keepdims=True)
    return np.divide(centred, std, out=np.full_like(centred, np.nan), where=std > 1e-12)
