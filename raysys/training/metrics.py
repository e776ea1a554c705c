"""The three scores of a classifier, computed by scikit-learn."""

import numpy as np
from jaxtyping import Int64
from sklearn.metrics import accuracy_score, f1_score, recall_score

METRICS = ("wa", "ua", "weighted_f1")
"""WA is accuracy, UA the mean recall over the classes that occur, weighted F1 the mean F1 weighted by count."""


def score(
    labels: Int64[np.ndarray, " utterance"], predicted: Int64[np.ndarray, " utterance"]
) -> dict[str, float]:
    """WA, UA and weighted F1, each in 0..1, under their names in `METRICS`."""
    present = np.unique(labels)
    options = {"labels": present, "zero_division": 0}
    return {
        "wa": float(accuracy_score(labels, predicted)),
        "ua": float(recall_score(labels, predicted, average="macro", **options)),
        "weighted_f1": float(f1_score(labels, predicted, average="weighted", **options)),
    }
