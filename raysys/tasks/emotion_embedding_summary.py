"""What opened test predictions of content encoders say: scores by label format and variable."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysys.corpus.formats import Format
from raysys.tasks.class_scores import score_each_class
from raysys.tasks.exhibits import Table
from raysys.tasks.label_mapping_summary import score_ratings
from raysys.tasks.task import LOSS, Metric

METRICS = (
    Metric("pearson", "r", "number"),
    Metric("ua", "UA"),
    Metric("weighted_f1", "F1"),
    LOSS,
)
"""Pearson's correlation, mean over variables and formats; of classes the mean recall and the weighted F1."""
RIDGES = ("ridge", "mapped")
_SCORES = ("pearson", "ua", "weighted_f1")


@dataclass(frozen=True)
class EmotionEmbeddingSummary:
    """Means over folds and seeds, of the formats that people rated the corpus in."""

    formats: dict[str, dict[str, float | None]]
    """Format -> pearson, ua and weighted_f1 (None where they mean nothing), and VARIABLE: r, or a class' recall."""
    ridge: dict[str, dict[str, float | None]]
    """Format -> r or UA of ridge regression trained on it (ridge), or on what the space makes of ratings in another
    format (mapped)."""

    def variables(self, name: str) -> dict[str, float | None]:
        """Variable -> r or recall."""
        return {key: value for key, value in self.formats[name].items() if key not in _SCORES}

    def tables(self) -> list[Table]:
        """Tables by format, and by variable."""
        rows = [
            (
                name,
                _number(one["pearson"]),
                _number(one["ua"]),
                _number(one["weighted_f1"]),
                *(_number(self.ridge[name][kind]) for kind in RIDGES),
            )
            for name, one in self.formats.items()
        ]
        heads = (
            "format",
            "r",
            "UA",
            "F1",
            "ridge, trained on it",
            "ridge, trained on mapped labels",
        )
        each = [
            (f"{name}.{key}", _number(value))
            for name in self.formats
            for key, value in self.variables(name).items()
        ]
        return [
            Table("by format, held-out", heads, rows, strong=("r",)),
            Table("by variable, held-out", ("variable", "r, or recall of a class"), each),
        ]

    def scores(self) -> dict[str, float]:
        """r, or recall, by variable."""
        return {
            f"score/{name}.{key}": np.nan if value is None else value
            for name in self.formats
            for key, value in self.variables(name).items()
        }

    def figures(self) -> dict[str, float]:
        """None."""
        return {}


def score_format(one: Format, outputs: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Scores of one format, and r or recall of each of its variables.

    Args:
        one: the format.
        outputs: ratings in 0..1, or probabilities of classes: [item, variable].
        truth: of the same items.
    """
    if one.kind != "categorical":
        each = {
            name: score_ratings(outputs[:, [k]], truth[:, [k]])["pearson"]
            for k, name in enumerate(one.variables)
        }
        r = float(np.mean(list(each.values())))
        return {"pearson": r, "ua": np.nan, "weighted_f1": np.nan, **each}
    found = score_each_class(truth.argmax(axis=1), outputs.argmax(axis=1))
    recalls = zip(found.present, found.recall, strict=True)
    each = {one.variables[k]: float(value) for k, value in recalls}
    ua = float(np.mean(found.recall))
    return {"pearson": np.nan, "ua": ua, "weighted_f1": found.weighted_f1, **each}


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.3f}"


def mean_known(values: Sequence[float]) -> float:
    """Mean of the known values; NaN where none is known."""
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
