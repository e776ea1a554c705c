"""What opened test predictions of a classification say, besides their scores."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raysys.similarity.annotators import Annotators
from raysys.similarity.psychology import Agreement
from raysys.storage import Number
from raysys.tasks.calibration import Calibration
from raysys.tasks.exhibits import Table
from raysys.tasks.task import LOSS, Metric, speaker_table

METRICS = (
    Metric("wa", "WA"),
    Metric("ua", "UA"),
    Metric("weighted_f1", "F1"),
    Metric("macro_f1", "macro F1", in_tables=False),
    Metric("worst_recall", "worst recall", in_tables=False),
    Metric("vad_distance", "VAD distance", "number", higher_is_better=False, in_tables=False),
    LOSS,
)
"""WA is accuracy, UA the mean recall over the classes that occur, weighted F1 the mean F1 weighted by count, macro F1
the mean F1 of all classes; then the worst class' recall, and the mean of 1 - S[truth, predicted] with S of people's
VAD ratings, where each emotion has one: what is taken for a similar emotion counts less. Those that stand in
no table choose as the others do, and are in result.json and MLflow."""

_OVER = {
    "folds": "Intervals (heat map): Student's, over the folds.",
    "speakers": "Intervals (heat map): bootstrap of speakers.",
    "utterances": "Intervals (heat map): bootstrap of utterances; with so few speakers, what others would change "
    "cannot be known.",
}
"""What the interval of the matrix covers."""


@dataclass(frozen=True)
class ClassificationSummary:
    """What the mean over folds hides, over the test utterances of all folds, and the similarity matrices."""

    emotions: tuple[str, ...]
    pooled: dict[str, Number]
    """Every score over the utterances of all folds."""
    per_class: dict[str, dict[str, int | float]]
    """Emotion -> precision, recall, f1, utterances."""
    confusion: list[list[int]]
    """Utterances by true (row) and predicted (column) emotion."""
    speakers: dict[str, dict[str, int | float]]
    """Speaker -> the three scores and utterances, the most frequent speaker first."""
    similarity: dict[str, Any]
    """average, unbiased, low, high [class][class], per_fold [fold][class][class] (null where unknown), fold_counts;
    over: what the interval from low to high, which is that of `unbiased`, varies (folds, speakers or utterances)."""
    agreement: Agreement | None = None
    """Agreement of the averaged matrix with that of people's ratings; None where too few of its classes are known."""
    calibration: Calibration | None = None
    """Calibration of the probabilities; None in results of an earlier raysys."""
    votes: dict[str, dict[str, int | float]] = field(default_factory=dict)
    """How clear the annotators' votes are -> js, kl, cross_entropy, utterances; nothing without votes."""
    val_distance: float | None = None
    """Mean of 1 - S[truth, predicted] with S as each fold's model measured it on its val part."""

    annotators: Agreement | None = None
    """Agreement of the averaged matrix with what annotators take for each other; None without their votes."""
    people: Annotators | None = None
    """How the annotators of the test utterances agree; None without their votes."""

    @property
    def chance(self) -> dict[str, float]:
        """Score -> what guessing gives, where that does not depend on the counts."""
        return {"ua": 1 / len(self.emotions)}

    def tables(self) -> list[Table]:
        """Tables by emotion with confusions, by speaker, and the averaged matrix."""
        heads = ("", "utterances", "precision", "recall", "F1")
        rows = [
            (
                emotion,
                f"{row['utterances']:.0f}",
                *(f"{100 * row[name]:.1f}" for name in ("precision", "recall", "f1")),
            )
            for emotion, row in self.per_class.items()
        ]
        score = f"{100 * self.pooled['weighted_f1']:.1f}"
        title = f"by emotion in %, all test utterances together: weighted F1 {score}"
        mistaken = [
            (emotion, *map(str, counts))
            for emotion, counts in zip(self.emotions, self.confusion, strict=True)
        ]
        return [
            Table(title, heads, rows, strong=("F1",)),
            Table(
                "confusions: utterances by true (row) and predicted emotion",
                ("", *self.emotions),
                mistaken,
                note=self._distance(),
            ),
            *speaker_table(METRICS, self.speakers),
            *([calibration_table(self.calibration)] if self.calibration else []),
            *([votes_table(self.votes)] if self.votes else []),
            *([annotators_table(self.people)] if self.people else []),
            self._matrix(),
        ]

    def scores(self) -> dict[str, float]:
        """F1 by emotion."""
        return {f"f1/{emotion}": row["f1"] for emotion, row in self.per_class.items()}

    def figures(self) -> dict[str, float]:
        """Calibration, distance from the votes, and how the averaged matrix agrees with people's ratings."""
        found = {}
        if known := self.calibration:
            found = {"ece": known.ece, "ece_low": known.low, "ece_high": known.high}
            found |= {"brier": known.brier, "nll": known.nll}
        if self.votes:
            found |= {"votes_js": self.votes["all"]["js"], "votes_kl": self.votes["all"]["kl"]}
            if "cross_entropy" in self.votes["all"]:  # of a raysys before this one
                found["votes_cross_entropy"] = self.votes["all"]["cross_entropy"]
        if self.val_distance is not None:
            found["val_distance"] = self.val_distance
        if self.agreement:
            found |= {"vad_mantel_r": self.agreement.r, "vad_mantel_p": self.agreement.p}
        if self.annotators:
            found["annotators_mantel_r"] = self.annotators.r
            found["annotators_mantel_p"] = self.annotators.p
        if self.people:
            found["annotators_alpha"] = self.people.alpha
        if self.people and self.people.ua is not None and self.people.wa is not None:
            found |= {"annotators_ua": self.people.ua, "annotators_wa": self.people.wa}
        return found

    def _distance(self) -> str:
        """How far the predicted emotions are from the true ones."""
        vad = self.pooled.get("vad_distance", float("nan"))
        told = [f"{vad:.3f} with S of people's VAD ratings"] if vad == vad else []
        if self.val_distance is not None:
            told.append(f"{self.val_distance:.3f} with that of the val parts")
        return f"Mean 1 - S[true, predicted]: {', '.join(told)} (0 is all right)." if told else ""

    def _matrix(self) -> Table:
        rows = [
            (emotion, *("-" if v is None else f"{v:.2f}" for v in row))
            for emotion, row in zip(self.emotions, self.similarity["average"], strict=True)
        ]
        title = "class similarity (cosine of class representatives), mean of the folds"
        note = " ".join(
            [
                *(one.line() for one in (self.agreement, self.annotators) if one),
                _OVER[self.similarity.get("over", "folds")],
            ]
        )
        return Table(title, ("", *self.emotions), rows, note=note)


def calibration_table(found: Calibration) -> Table:
    """ECE with its interval, Brier score and NLL, in a line."""
    ece, low, high = (f"{100 * value:.1f}" for value in (found.ece, found.low, found.high))
    gap = found.confidence - found.accuracy
    how = (
        ": too sure" if gap > found.ece / 2 else ": not sure enough" if -gap > found.ece / 2 else ""
    )
    told = f"they say {100 * found.confidence:.1f} % and are right in {100 * found.accuracy:.1f} %"
    note = f"On average {told}{how if found.low > 0 else ''}."
    heads = ("", "ECE %", "95 %", "Brier", "NLL")
    row = ("probabilities", ece, f"[{low}, {high}]", f"{found.brier:.3f}", f"{found.nll:.3f}")
    return Table("calibration, all test utterances", heads, [row], note=note)


def votes_table(votes: Mapping[str, Mapping[str, float]]) -> Table:
    """Distance from the annotators' votes, by how clear these are."""
    titles = {"none": "no majority"}
    rows = [
        (
            titles.get(name, name),
            f"{row['utterances']:.0f}",
            f"{row['js']:.3f}",
            f"{row['kl']:.3f}",
            f"{row.get('cross_entropy', math.nan):.3f}",
        )
        for name, row in votes.items()
    ]
    title = "probabilities against the annotators' votes"
    return Table(title, ("votes", "n", "JS, bits", "KL, nats", "cross-entropy, nats"), rows)


def annotators_table(found: Annotators) -> Table:
    """When one annotator says the row's emotion: how often, in %, another of the same utterance says the column's."""
    counts = np.array(found.pairs)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [
        (name, str(total), *(f"{share:.1f}" for share in row))
        for name, total, row in zip(found.names, counts.sum(axis=1), shares, strict=True)
    ]
    title = "annotators' confusion in %: where one says the row, another says the column"
    return Table(title, ("", "pairs", *found.names), rows, note=f"{found.line()}.")
