"""The simple rival: a support vector machine on features pooled over time, fitted inside each fold.

    frames [time, dim] -> mean, std, 10 % and 90 % quantile over time -> standardise -> SVC(RBF, C=3, balanced)

It has no settings to tune and sees the same features and folds as the model. It is fitted on train alone, so it has
seen a little less than an SVM that also fits on val would.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from raysys.corpus.folds import Fold
from raysys.features.store import Ragged
from raysys.training.fold import CorpusArrays
from raysys.training.metrics import score


def baseline_scores(arrays: CorpusArrays, folds: tuple[Fold, ...]) -> list[dict[str, float]]:
    """Test scores of the baseline, one dict a fold (see `raysys.training.metrics`)."""
    pooled = pool_over_time(arrays.features)
    scores = []
    for fold in folds:
        classifier = make_pipeline(StandardScaler(), SVC(C=3.0, class_weight="balanced"))
        classifier.fit(pooled[fold.train], arrays.labels[fold.train])
        predicted = classifier.predict(pooled[fold.test])
        scores.append(score(arrays.labels[fold.test], predicted))
    return scores


def pool_over_time(features: Mapping[str, Ragged]) -> Float32[np.ndarray, "utterance dim"]:
    """Mean, standard deviation and the 10 % and 90 % quantiles over time, all modalities side by side."""
    columns = []
    for ragged in features.values():
        for_each = [ragged[k].astype(np.float32) for k in range(len(ragged))]
        columns.append(np.stack([_statistics(frames) for frames in for_each]))
    return np.concatenate(columns, axis=1)


def _statistics(frames: Float32[np.ndarray, "time dim"]) -> Float32[np.ndarray, " statistic"]:
    low, high = np.quantile(frames, [0.1, 0.9], axis=0)
    return np.concatenate([frames.mean(axis=0), frames.std(axis=0), low, high]).astype(np.float32)
