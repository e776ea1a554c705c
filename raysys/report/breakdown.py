"""Scores by emotion and by speaker, over the test utterances of all folds together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64
from sklearn.metrics import precision_recall_fscore_support

from raysys.training.metrics import METRICS, score
from raysys.training.predictions import Predictions


def confusion_counts(
    predictions: Sequence[Predictions], n_classes: int
) -> Int64[np.ndarray, "class class"]:
    """Utterances by true (row) and predicted (column) emotion, over all folds."""
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    for part in predictions:
        np.add.at(counts, (part.labels, part.predicted), 1)
    return counts


def break_down(
    predictions: Sequence[Predictions],
    emotions: Sequence[str],
    speakers: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """What the mean over folds hides.

    Args:
        predictions: of each fold's test part.
        emotions: the classes, in order.
        speakers: of each fold's test utterances, in the order of the predictions; empty text where unknown.

    Returns:
        Plain types. `pooled`: WA, UA and weighted F1 over the utterances of all folds. `per_class`: emotion ->
        precision, recall, f1, and utterances. `confusion`: utterances by true (row) and predicted (column) emotion.
        `speakers`: speaker -> the three scores and utterances, the most frequent speaker first.
    """
    labels = np.concatenate([part.labels for part in predictions])
    predicted = np.concatenate([part.predicted for part in predictions])
    who = np.array([speaker for fold in speakers for speaker in fold])
    columns = precision_recall_fscore_support(
        labels, predicted, labels=range(len(emotions)), zero_division=0
    )
    names, counts = np.unique(who[who != ""], return_counts=True)
    by_count = sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda n: -n[1])
    return {
        "pooled": _three(labels, predicted),
        "per_class": {
            emotion: {
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
                "utterances": int(count),
            }
            for emotion, precision, recall, f1, count in zip(emotions, *columns, strict=True)
        },
        "confusion": confusion_counts(predictions, len(emotions)).tolist(),
        "speakers": {
            name: {**_three(labels[who == name], predicted[who == name]), "utterances": count}
            for name, count in by_count
        },
    }


def _three(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    found = score(labels, predicted)
    return {name: found[name] for name in METRICS}
