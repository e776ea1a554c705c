"""The scores of a classifier, computed by scikit-learn."""

import numpy as np
from jaxtyping import Int64
from sklearn.metrics import accuracy_score, f1_score, recall_score

METRICS = ("wa", "ua", "weighted_f1")
"""WA is accuracy, UA the mean recall over the classes that occur, weighted F1 the mean F1 weighted by count."""


def score(
    labels: Int64[np.ndarray, " utterance"], predicted: Int64[np.ndarray, " utterance"]
) -> dict[str, float]:
    """WA, UA and weighted F1 under their names in `METRICS`, and the worst class' recall as `worst_recall`, in 0..1."""
    present = np.unique(labels)
    options = {"labels": present, "zero_division": 0}
    recalls = recall_score(labels, predicted, average=None, **options)
    return {
        "wa": float(accuracy_score(labels, predicted)),
        "ua": float(recalls.mean()),
        "weighted_f1": float(f1_score(labels, predicted, average="weighted", **options)),
        "worst_recall": float(recalls.min()),
    }
