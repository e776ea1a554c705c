"""What annotators take for each other, and how far they agree: the ceiling for whoever is scored against them.

    votes [utterance, class] -> pairs of annotators of one utterance -> confusion, Krippendorff's alpha
                             -> one annotator against the majority of the others: WA, UA

Only whole votes of two or more annotators of an utterance say this; shares, and votes of one, do not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Num

OTHER = "other"
"""Whatever is none of the corpus' emotions."""


@dataclass(frozen=True)
class Annotators:
    """How annotators of the same utterances agree."""

    names: tuple[str, ...]
    """Emotions, and `OTHER` where somebody named another one."""
    pairs: list[list[int]]
    """Ordered pairs of annotators of one utterance, of whom one says the row, the other the column."""
    alpha: float
    """Krippendorff's, for names without an order; 1 where all agree, 0 for chance."""
    utterances: int
    """With votes of two or more."""
    wa: float | None
    """Share of the votes that are the majority of the others' votes; None where the others never have one."""
    ua: float | None
    """The same, mean over the emotions that are such majorities."""
    agree: float
    """Share of coincidences that are agreements, so that an utterance counts as it has annotators."""

    def line(self) -> str:
        """For people."""
        told = (
            f"annotators of {self.utterances} utterances: two of them agree in {100 * self.agree:.1f} %, "
            f"Krippendorff's alpha {self.alpha:.3f}"
        )
        if self.wa is None or self.ua is None:
            return told
        return f"{told}; one of them against the majority of the others: UA {100 * self.ua:.1f}, WA {100 * self.wa:.1f}"


def annotators_of(
    votes: Num[np.ndarray, "utterance class"],
    elsewhere: Num[np.ndarray, " utterance"],
    emotions: Sequence[str],
) -> Annotators | None:
    """How the annotators of some utterances agree; None where their votes cannot say.

    Args:
        votes: annotators by emotion, as counts.
        elsewhere: those who named an emotion that is no class.
        emotions: of the columns.
    """
    names = (*emotions, OTHER) if np.any(elsewhere > 0) else tuple(emotions)
    every = np.concatenate([votes, elsewhere[:, None]], axis=1)[:, : len(names)]
    counts = _whole(every)
    found = coincidences(every)
    alpha = krippendorff_alpha(found)
    if not len(counts) or math.isnan(alpha):
        return None
    pairs = np.rint(np.einsum("ui,uj->ij", counts, counts) - np.diag(counts.sum(axis=0)))
    wa, ua = _against_others(counts, len(emotions))
    agree = float(np.trace(found) / found.sum())
    return Annotators(names, pairs.astype(int).tolist(), alpha, len(counts), wa, ua, agree)


def coincidences(
    votes: Num[np.ndarray, "utterance class"],
) -> Float64[np.ndarray, "class class"]:
    """Coincidence matrix: pairs of values of one utterance, such that an utterance counts as it has annotators.

        o_ij = sum over utterances u of n_ui (n_uj - [i = j]) / (m_u - 1)

    Krippendorff 2004, "Content analysis", chapter 11; m_u is the annotators of an utterance, n_ui those who say i.
    """
    counts = _whole(votes)
    weights = 1 / (counts.sum(axis=1) - 1)
    found: np.ndarray = np.einsum("u,ui,uj->ij", weights, counts, counts)
    return found - np.diag(weights @ counts)


def krippendorff_alpha(found: Float64[np.ndarray, "class class"]) -> float:
    """Agreement beyond chance on names without an order; NaN where nothing varies.

        alpha = 1 - D_o / D_e,   D_o = sum_{i != j} o_ij,   D_e = sum_{i != j} n_i n_j / (n - 1),   n_i = sum_j o_ij

    Krippendorff 2004, "Content analysis", chapter 11.

    Args:
        found: see `coincidences`.
    """
    each = found.sum(axis=1)
    total = each.sum()
    expected = (total**2 - (each**2).sum()) / (total - 1) if total > 1 else 0.0
    if expected <= 0:
        return math.nan
    return float(1 - (total - np.trace(found)) / expected)


def annotator_similarity(
    votes: Num[np.ndarray, "utterance class"],
) -> Float64[np.ndarray, "class class"]:
    """How often two annotators of an utterance say i and j, relative to how often they agree on each.

        S_ij = o_ij / sqrt(o_ii o_jj),   o: see `coincidences`

    NaN where nobody agrees on a class.
    """
    found = coincidences(votes)
    own = np.sqrt(np.diag(found).clip(min=0))
    scale = own[:, None] * own
    return np.divide(found, scale, out=np.full_like(found, np.nan), where=scale > 0)


def _whole(votes: Num[np.ndarray, "utterance class"]) -> Float64[np.ndarray, "voted class"]:
    """Counts of utterances that two or more annotators named, without shares of votes."""
    counts = np.asarray(votes, dtype=np.float64)
    usable = (counts.sum(axis=1) >= 2) & (counts == np.round(counts)).all(axis=1)
    return counts[usable]


def _against_others(
    counts: Float64[np.ndarray, "voted class"], classes: int
) -> tuple[float | None, float | None]:
    """WA and UA of single votes, whose truth is what most of the others say, where that is one of the classes."""
    confusion = np.zeros((counts.shape[1],) * 2)
    for said in range(counts.shape[1]):
        rows = counts[counts[:, said] > 0]
        others = rows - np.eye(counts.shape[1])[said]
        ordered = np.sort(others, axis=1)
        clear = (ordered[:, -1] > ordered[:, -2]) & (others.sum(axis=1) >= 2)
        truth: Int64[np.ndarray, " clear"] = others[clear].argmax(axis=1)
        np.add.at(confusion[:, said], truth, rows[clear, said])
    judged = confusion[:classes]
    each = judged.sum(axis=1)
    if not each.any():
        return None, None
    right = np.diag(confusion)[:classes]
    known = each > 0
    return float(right.sum() / each.sum()), float((right[known] / each[known]).mean())
