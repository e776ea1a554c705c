"""Baselines: chosen on validation parts among all settings of a grid, as scikit-learn alone would do it."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from raysys.corpus.folds import Fold
from raysys.tasks import classifiers
from raysys.tasks.baseline import STATISTICS, Pooled
from raysys.tasks.class_targets import ClassTargets
from raysys.tasks.classification import Classification, score_classes
from raysys.tasks.regression import Regression, ValueTargets

N, WIDTH = 240, 6
TASK = Classification(("a", "b", "c"))


def corpus(seed: int = 0) -> tuple[Pooled, np.ndarray, list[Fold]]:
    """Classes that differ in their means, and more in the spread; three folds."""
    random = np.random.default_rng(seed)
    labels = random.integers(3, size=N)
    means = random.normal(size=(N, WIDTH)) + 0.4 * np.eye(3, WIDTH)[labels]
    spreads = random.normal(size=(N, WIDTH)) + 1.5 * np.eye(3, WIDTH)[labels]
    values = np.concatenate([means, spreads, random.normal(size=(N, 2 * WIDTH))], axis=1)
    kinds = np.repeat([0, 1, 2, 2], WIDTH)
    rows = random.permutation(N)
    parts = [np.sort(part) for part in np.array_split(rows, 6)]
    folds = []
    for k in range(3):
        val, test, *train = [parts[(i + 2 * k) % 6] for i in range(6)]
        folds.append(Fold(k, np.sort(np.concatenate(train)), val, test))
    return Pooled(values, kinds), labels, folds


def best(
    candidates: list[Any], fold_score: Callable[[Any, Fold], float], folds: list[Fold]
) -> tuple[Any, float]:
    scores = [np.mean([fold_score(one, fold) for fold in folds]) for one in candidates]
    return candidates[int(np.argmax(np.round(scores, 12)))], max(scores)


def svm(kernel: str, c: float, width: int) -> Any:
    c = c / width if kernel == "linear" else c
    model = SVC(kernel=kernel, C=c, gamma=1 / width, class_weight="balanced")
    return make_pipeline(StandardScaler(), model)


def test_the_svm_is_the_best_of_the_grid_on_val_and_its_twin_sees_val_too():
    pooled, labels, folds = corpus()

    def model(setting: tuple[str, str, float]) -> tuple[Any, np.ndarray]:
        kernel, statistics, c = setting
        columns = pooled.values[:, pooled.kinds < STATISTICS[statistics]]
        return svm(kernel, c, columns.shape[1]), columns

    def val(setting: tuple[str, str, float], fold: Fold) -> float:
        fitted, columns = model(setting)
        fitted.fit(columns[fold.train], labels[fold.train])
        return score_classes(labels[fold.val], fitted.predict(columns[fold.val]))["ua"]

    grid = list(product(("linear", "rbf"), STATISTICS, classifiers._SVM_C))
    setting, _ = best(grid, val, folds)
    targets = ClassTargets(labels, np.zeros((N, 3)), np.zeros(N))
    found = TASK.baselines(pooled, targets, folds, choose="ua")
    assert [one.fitted_on for one in found] == ["train", "train and val", "train"]
    kernel, statistics, c = setting
    assert found[0].settings == f"{kernel}, C {c:g}, {statistics} over time"
    assert statistics != "mean"  # where the classes differ most
    for one, with_val in zip(found[:2], (False, True), strict=True):
        for fold, scores in zip(folds, one.test, strict=True):
            rows = np.concatenate([fold.train, fold.val]) if with_val else fold.train
            fitted, columns = model(setting)
            predicted = fitted.fit(columns[rows], labels[rows]).predict(columns[fold.test])
            assert scores == score_classes(labels[fold.test], predicted)


def test_logistic_regression_is_the_best_of_its_grid():
    pooled, labels, folds = corpus(1)

    def val(setting: tuple[str, float], fold: Fold) -> float:
        columns = pooled.of(setting[0])
        model = LogisticRegression(C=setting[1], class_weight="balanced", max_iter=300)
        fitted = make_pipeline(StandardScaler(), model).fit(columns[fold.train], labels[fold.train])
        return score_classes(labels[fold.val], fitted.predict(columns[fold.val]))["weighted_f1"]

    setting, _ = best(list(product(STATISTICS, classifiers._LOGISTIC_C)), val, folds)
    targets = ClassTargets(labels, np.zeros((N, 3)), np.zeros(N))
    found = TASK.baselines(pooled, targets, folds, choose="weighted_f1")[2]
    assert found.settings == f"C {setting[1]:g}, {setting[0]} over time"


def test_the_choice_is_made_on_a_share_of_many_utterances(monkeypatch: pytest.MonkeyPatch):
    pooled, labels, folds = corpus()
    monkeypatch.setattr(classifiers, "_MOST_ROWS", 60)
    rows = classifiers._some(folds[0].train, labels, 0)
    assert 55 <= len(rows) <= 65
    assert set(rows) <= set(folds[0].train)
    share = np.bincount(labels[folds[0].train]) / len(folds[0].train)
    np.testing.assert_allclose(np.bincount(labels[rows]) / len(rows), share, atol=0.03)
    targets = ClassTargets(labels, np.zeros((N, 3)), np.zeros(N))
    assert TASK.baselines(pooled, targets, folds, choose="loss") == TASK.baselines(
        pooled, targets, folds, choose="ua"
    )


def test_ridge_is_the_best_of_its_grid_on_val():
    pooled, _, folds = corpus()
    random = np.random.default_rng(2)
    values = pooled.values[:, :2] + random.normal(size=(N, 2))
    task = Regression(("valence", "arousal"))

    def val(setting: tuple[str, float], fold: Fold) -> float:
        columns = pooled.of(setting[0])
        model = make_pipeline(StandardScaler(), Ridge(setting[1]))
        predicted = model.fit(columns[fold.train], values[fold.train]).predict(columns[fold.val])
        return task.score(predicted, values[fold.val])["ccc"]

    grid = [(s, 10.0**k) for s in STATISTICS for k in range(5, -2, -1)]
    setting, _ = best(grid, val, folds)
    targets = ValueTargets(values.astype(np.float32), np.zeros(N, dtype=np.int64))
    found = task.baselines(pooled, targets, folds, choose="ccc")
    assert {one.settings for one in found} == {f"alpha {setting[1]:g}, {setting[0]} over time"}
