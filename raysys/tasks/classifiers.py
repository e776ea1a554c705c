"""The baselines of classification: a support vector machine and logistic regression, tuned on the folds' val parts.

Of both are chosen C and what is pooled over time, of the former also the kernel. With many utterances the choice is
made on a share of each train part; what is chosen is fitted on all of it.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float64, Int64

from raysys.corpus.folds import Fold
from raysys.models.fitted import make_machine, make_regression
from raysys.tasks.baseline import STATISTICS, Baseline, Pooled, chosen

_SVM_C = (0.01, 0.1, 1.0, 3.0, 10.0, 100.0)
_LOGISTIC_C = (0.001, 0.01, 0.1, 1.0)
_MOST_ROWS = 4000
"""Most rows of a train part that settings are chosen on: a kernel's time grows with their square."""


@dataclass(frozen=True)
class _Split:
    """Features, and the rows that a choice is made on."""

    pooled: Pooled
    labels: Int64[np.ndarray, " utterance"]
    train: Int64[np.ndarray, " _"]
    val: Int64[np.ndarray, " _"]

    def standardised(
        self, columns: Float[np.ndarray, "utterance column"]
    ) -> tuple[Float64[np.ndarray, "_ column"], Float64[np.ndarray, "_ column"]]:
        """Columns of train and val, by train's means and deviations."""
        from sklearn.preprocessing import StandardScaler  # a second, which workers are spared

        known, new = (columns[rows].astype(np.float64) for rows in (self.train, self.val))
        scaler = StandardScaler().fit(known)
        return scaler.transform(known), scaler.transform(new)


Score = Callable[[Int64[np.ndarray, " _"], Int64[np.ndarray, " _"]], dict[str, float]]
"""Truth and prediction -> scores."""


@dataclass(frozen=True)
class _Setting:
    statistics: str
    kernel: Literal["linear", "rbf", ""]
    """Empty: logistic regression."""
    c: float

    @property
    def title(self) -> str:
        kernel = f"{self.kernel}, " if self.kernel else ""
        return f"{kernel}C {self.c:g}, {self.statistics} over time"


def tuned_classifiers(
    pooled: Pooled,
    labels: Int64[np.ndarray, " utterance"],
    folds: Sequence[Fold],
    *,
    score: Score,
    choose: str,
) -> list[Baseline]:
    """The tuned SVM, the same fitted on train and val, and tuned logistic regression.

    Args:
        pooled: features of all utterances.
        labels: their classes.
        folds: rows; settings are chosen by the mean over their val parts, test parts are predicted once.
        score: truth and prediction -> scores, larger is better.
        choose: the score that chooses.
    """
    n_classes = int(labels.max()) + 1

    def tested(name: str, setting: _Setting, *, with_val: bool = False) -> Baseline:
        found, said = [], []
        for fold in folds:
            rows = np.concatenate([fold.train, fold.val]) if with_val else fold.train
            columns = pooled.of(setting.statistics)
            model = _model(setting, columns.shape[1]).fit(columns[rows], labels[rows])
            predicted = model.predict(columns[fold.test])
            found.append(score(labels[fold.test], predicted))
            said.append(np.eye(n_classes, dtype=np.float32)[predicted])
        fitted_on = "train and val" if with_val else "train"
        return Baseline(name, setting.title, tuple(found), fitted_on, tuple(said))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that lbfgs has not converged, where C is large
        common = (pooled, labels, folds, score, choose)
        machine = _chosen(*common, _svm_settings(), _kernel_scores)
        regression = _chosen(*common, _logistic_settings(), _logistic_scores)
        return [
            tested("SVM", machine),
            tested("SVM", machine, with_val=True),
            tested("Logistic", regression),
        ]


def _svm_settings() -> list[_Setting]:
    """The simplest first."""
    return [
        _Setting(s, kernel, c) for kernel in ("linear", "rbf") for s in STATISTICS for c in _SVM_C
    ]


def _logistic_settings() -> list[_Setting]:
    return [_Setting(s, "", c) for s in STATISTICS for c in _LOGISTIC_C]


def _chosen(
    pooled: Pooled,
    labels: Int64[np.ndarray, " utterance"],
    folds: Sequence[Fold],
    score: Score,
    choose: str,
    settings: Sequence[_Setting],
    predict: Callable[[_Split, Sequence[_Setting]], Iterator[tuple[_Setting, np.ndarray]]],
) -> _Setting:
    found: dict[_Setting, list[float]] = {setting: [] for setting in settings}
    for fold in folds:
        split = _Split(pooled, labels, _some(fold.train, labels, fold.index), fold.val)
        for setting, predicted in predict(split, settings):
            found[setting].append(score(labels[fold.val], predicted)[choose])
    return settings[chosen(list(found.values()))]


def _some(
    train: Int64[np.ndarray, " _"], labels: Int64[np.ndarray, " utterance"], seed: int
) -> Int64[np.ndarray, " _"]:
    """A train part, or a share of it in which every class has its part."""
    if len(train) <= _MOST_ROWS:
        return train
    random, kept = np.random.default_rng(seed), []
    for one in np.unique(labels[train]):
        own = train[labels[train] == one]
        count = max(1, round(len(own) * _MOST_ROWS / len(train)))
        kept.append(random.choice(own, size=count, replace=False))
    return np.sort(np.concatenate(kept))


def _kernel_scores(
    split: _Split, settings: Sequence[_Setting]
) -> Iterator[tuple[_Setting, np.ndarray]]:
    """Predictions of val. Inner products of the kinds of columns add up, so each is computed once."""
    from sklearn.svm import SVC

    pooled, labels = split.pooled, split.labels[split.train]
    own = np.zeros((len(split.train), len(split.train)))
    across, norms = np.zeros((len(split.val), len(split.train))), np.zeros(len(split.val))
    width = 0
    for kind, statistics in enumerate(STATISTICS):
        known, new = split.standardised(pooled.values[:, pooled.kinds == kind])
        own += known @ known.T
        across += new @ known.T
        norms += (new**2).sum(axis=1)
        width += known.shape[1]
        lengths = own.diagonal()
        kernels = {
            "linear": (own / width, across / width),
            "rbf": (
                np.exp(-(lengths[:, None] + lengths - 2 * own) / width),
                np.exp(-(norms[:, None] + lengths - 2 * across) / width),
            ),
        }
        for setting in settings:
            if setting.statistics == statistics:
                inner, outer = kernels[setting.kernel]
                model = SVC(kernel="precomputed", C=setting.c, class_weight="balanced")
                yield setting, model.fit(inner, labels).predict(outer)


def _logistic_scores(
    split: _Split, settings: Sequence[_Setting]
) -> Iterator[tuple[_Setting, np.ndarray]]:
    """Predictions of val; each C goes on from the one before."""
    for statistics in STATISTICS:
        known, new = split.standardised(split.pooled.of(statistics))
        model = make_regression(1.0, warm_start=True)
        for setting in settings:
            if setting.statistics == statistics:
                model.set_params(C=setting.c).fit(known, split.labels[split.train])
                yield setting, model.predict(new)


def _model(setting: _Setting, width: int) -> Any:
    """The classifier on standardised columns; its kernel is scaled as in `_kernel_scores`."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    own = (
        make_machine(setting.kernel, setting.c, width)
        if setting.kernel
        else make_regression(setting.c)
    )
    return make_pipeline(StandardScaler(), own)
