"""Counts of clear and ambiguous utterances, before and after smoothing.

    votes -> (major, minor) of every utterance -> counts [major, minor] -> wanted counts [major, minor]

One matrix holds them all: the diagonal counts the clear utterances of an emotion, on which all annotators agree; cell
[i, j] the ambiguous ones with major emotion i and minor emotion j. An utterance whose only other votes are for emotions
that are no classes is neither. Liang et al. 2023 (arXiv:2302.08650), section 2.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, Num

from raysys.settings import require


@dataclass(frozen=True)
class BalanceConfig:
    """Utterances that mixup adds to the train part, and how many (Liang et al. 2023, arXiv:2302.08650)."""

    idle: ClassVar[Mapping[str, Mapping[str, tuple[Any, ...]]]] = {
        "sigma": {"method": ("off", "smallest", "uniform")},
        "pairs": {"method": ("off", "smallest", "uniform")},
        "p": {"method": ("off", "smallest")},
        "n": {"method": ("off", "smallest", "pdds")},
        "top_up": {"method": ("off", "uniform")},
    }
    method: Literal["off", "smallest", "uniform", "pdds"] = "off"
    """off; smallest (clear utterances of the rarest emotion, or of those in top_up, alone); uniform (every kind up to
    n); pdds (small clear classes topped up, then counts smoothed between the two emotions of every pair)."""
    top_up: Mapping[str, int] = field(default_factory=dict)
    """smallest, pdds: emotion -> clear utterances up to which it is mixed with itself, {happiness: 215} in the paper.
    Empty: small classes up to the median of all."""
    sigma: float = 1.0
    """PDDS: width of the Gaussian kernel of Eq. 1, in steps of the clear-ambiguous-ambiguous-clear distribution."""
    pairs: Literal["all", "observed"] = "all"
    """PDDS: smooth every pair of emotions, as the paper does, or only pairs that annotators gave together."""
    p: float = 0.8
    """Mixup coefficient of Eq. 2-3: share of the major emotion's utterance in a mixed one."""
    n: int = 400
    """uniform: utterances of every kind (clear by emotion, ambiguous by major and minor emotion)."""

    def __post_init__(self) -> None:
        require(self.sigma > 0, "balance.sigma", self.sigma, "above 0")
        require(0 <= self.p <= 1, "balance.p", self.p, "in [0, 1]")
        require(1 <= self.n <= 100_000, "balance.n", self.n, "1 to 100000")
        for emotion, count in self.top_up.items():
            require(1 <= count <= 100_000, f"balance.top_up: {emotion}", count, "1 to 100000")


CLEAR, ELSEWHERE = -1, -2
"""Instead of a minor emotion: there is none; there is one, but it is no class."""


def minor_emotions(
    labels: Int64[np.ndarray, " utterance"],
    votes: Num[np.ndarray, "utterance class"],
    elsewhere: Bool[np.ndarray, " utterance"] | None = None,
) -> Int64[np.ndarray, " utterance"]:
    """The minor emotion of every utterance; `CLEAR` without one, `ELSEWHERE` where it is no class.

    It is the emotion with the most votes after the label, the first of equals in the order of the classes. An utterance
    without votes is clear.

    Args:
        labels: the major emotions.
        votes: annotators by emotion.
        elsewhere: whether annotators also named emotions that are no classes; None: none did.
    """
    others = votes.copy()
    others[np.arange(len(labels)), labels] = 0
    without = CLEAR if elsewhere is None else np.where(elsewhere, ELSEWHERE, CLEAR)
    found = np.where(others.max(axis=1, initial=0) > 0, others.argmax(axis=1), without)
    return found.astype(np.int64)


def count_kinds(
    labels: Int64[np.ndarray, " utterance"],
    minors: Int64[np.ndarray, " utterance"],
    n_classes: int,
) -> Int64[np.ndarray, "class class"]:
    """Utterances by major (row) and minor (column) emotion; the diagonal holds the clear ones."""
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    known = minors != ELSEWHERE
    columns = np.where(minors == CLEAR, labels, minors)
    np.add.at(counts, (labels[known], columns[known]), 1)
    return counts


def topped_up(
    counts: Int64[np.ndarray, "class class"], named: Mapping[int, int] | None = None
) -> Int64[np.ndarray, "class class"]:
    """Counts after small clear classes are raised.

    The paper raises a class whose "quantity ... is too small" until it "reaches that in other categories" and gives
    one example (happiness, 43 to 215). Where no classes are named, all are raised to the median, which is our reading.
    A class without any clear utterance has nothing to mix and stays.

    Args:
        counts: see `count_kinds`.
        named: class -> wanted clear utterances; the other classes stay.
    """
    clear = np.diag(counts)
    middle = int(np.median(clear[clear > 0])) if (clear > 0).any() else 0
    wanted = np.full(len(clear), middle)
    if named:
        wanted = np.array([named.get(k, 0) for k in range(len(clear))])
    raised = counts.copy()
    np.fill_diagonal(raised, np.where(clear > 0, np.maximum(clear, wanted), clear))
    return raised


def smoothed_counts(
    counts: Float64[np.ndarray, "class class"] | Int64[np.ndarray, "class class"], sigma: float
) -> Float64[np.ndarray, "class class"]:
    """Counts of the ambiguous kinds after Gaussian smoothing between the clear kinds of every pair.

        the pair {i, j} has four bars:  I, I_j, J_i, J            (clear i, i over j, j over i, clear j)
        n'_k = sum_{k' in {k - 1, k, k + 1}} exp(-(k - k')^2 / (2 sigma^2)) n_k'   for k = I_j and k = J_i

    Liang et al. 2023 (arXiv:2302.08650), Eq. 1: the kernel is not normalised, so n' is never below n.
    Clear counts stay.
    """
    clear = np.diag(counts).astype(np.float64)
    beside = np.exp(-1 / (2 * sigma**2))
    smoothed = counts + beside * (clear[:, None] + counts.T)
    np.fill_diagonal(smoothed, clear)
    return smoothed


def wanted_counts(
    counts: Int64[np.ndarray, "class class"],
    config: BalanceConfig,
    named: Mapping[int, int] | None = None,
) -> Int64[np.ndarray, "class class"]:
    """How many utterances of each kind the balanced train part has; never fewer than before.

    off: as they are. smallest: the rarest clear class raised to the median of the clear classes, or the named ones.
    uniform: every kind raised to n. pdds: small clear classes topped up, then ambiguous kinds smoothed. The three
    ablations of the paper and its
    method (section 3.4, Table 2). With `pairs: observed`, pdds leaves alone the pairs of emotions that no annotators
    ever gave together: our restriction, since a mixture of two such emotions may resemble a third. A kind whose
    emotions lack clear utterances cannot be mixed and stays.

    Args:
        counts: see `count_kinds`.
        config: method, sigma, pairs, n.
        named: see `topped_up`.
    """
    clear = np.diag(counts)
    wanted = counts.copy()
    if config.method == "smallest" and named:
        wanted = topped_up(counts, named)
    elif config.method == "smallest" and (clear > 0).any():
        rarest = int(np.where(clear > 0, clear, clear.max() + 1).argmin())
        wanted[rarest, rarest] = topped_up(counts)[rarest, rarest]
    elif config.method == "uniform":
        wanted = np.maximum(counts, config.n)
    elif config.method == "pdds":
        raised = topped_up(counts, named)
        wanted = np.rint(smoothed_counts(raised, config.sigma)).astype(np.int64)
        if config.pairs == "observed":
            seen = (counts + counts.T > 0) | np.eye(len(counts), dtype=bool)
            wanted = np.where(seen, wanted, counts)
    can_mix = (clear[:, None] > 0) & (clear[None, :] > 0)
    return np.where(can_mix, np.maximum(wanted, counts), counts)
