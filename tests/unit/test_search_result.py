"""What a study may say: the choice, the scores that it opens, and its pictures."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from raysys.config import Config
from raysys.config.running import Distribution, SearchConfig
from raysys.corpus.folds import Fold
from raysys.predictions import Predictions, write_predictions
from raysys.report.results import TrialRecord
from raysys.report.statistics import paired_difference
from raysys.report.statistics import test_share as share_of_test
from raysys.report.study_pictures import study_figures
from raysys.running.choice import (
    HonestResult,
    choose,
    choose_by_fold,
    open_choice,
    pareto_front,
)
from raysys.search.journal import trial_name
from raysys.search.searcher import importances
from raysys.search.space import make_space
from raysys.storage import Folder
from raysys.tasks.classification import Classification
from raysys.training.records import FoldResult
from raysys.trials.trial import Trial, TrialOutcome

FOLDS = tuple(
    Fold(k, np.arange(30), np.arange(30, 40), np.arange(40, 50)) for k in range(3)
)  # fmt: skip
UA, WA, WORST, LOSS = (
    next(m for m in Classification.metrics if m.name == name)
    for name in ("ua", "wa", "worst_recall", "loss")
)


def opened(candidates: list[TrialOutcome]) -> HonestResult:
    task = Classification(("calm", "joy"))
    plan: Any = SimpleNamespace(
        task=task, folds=FOLDS, tested_units=None
    )  # all that a choice asks of it
    return open_choice(plan, candidates, [UA])


def candidate(name: str, folder: Path, val: list[float], right: list[int]) -> TrialOutcome:
    """A configuration with given validation UA and, of ten test utterances, so many right in each fold."""
    folds = []
    for k, (ua, hits) in enumerate(zip(val, right, strict=True)):
        place = Folder(str(folder / name / f"fold_{k}"))
        labels = np.arange(10, dtype=np.int64) % 2
        predicted = np.where(np.arange(10) < hits, labels, 1 - labels)
        probabilities = np.eye(2, dtype=np.float32)[predicted]
        stored = Predictions(np.zeros((10, 2), dtype=np.float32), probabilities, labels)
        write_predictions(place, stored, Classification.stored)
        scores = {"ua": ua, "wa": ua, "weighted_f1": ua, "worst_recall": 1 - ua, "loss": 1 - ua}
        folds.append(FoldResult(name, k, 5, 3, scores, (), place.uri))
    return TrialOutcome(Trial(name, Config()), "COMPLETE", tuple(folds))


@pytest.fixture
def candidates(tmp_path: Path) -> list[TrialOutcome]:
    return [
        candidate("untuned", tmp_path, [0.5, 0.5, 0.5], [5, 6, 5]),
        candidate("best", tmp_path, [0.6, 0.9, 0.6], [7, 8, 6]),
        candidate("peaked", tmp_path, [0.9, 0.1, 0.7], [4, 10, 9]),
    ]


def test_the_choice_is_by_mean_validation_and_the_other_one_fold_by_fold(
    candidates: list[TrialOutcome],
):
    assert choose(candidates, UA).name == "best"
    assert choose(candidates, LOSS).name == "best"  # minimised
    assert choose(candidates, WORST).name == "untuned"
    assert [c.name for c in choose_by_fold(candidates, UA)] == ["peaked", "best", "peaked"]


def test_the_result_opens_the_chosen_those_by_fold_and_the_untuned_test_scores(
    candidates: list[TrialOutcome],
):
    result = opened(candidates)
    assert result.chosen.name == "best"
    assert [fold["wa"] for fold in result.test.folds] == [0.7, 0.8, 0.6]
    assert [fold["wa"] for fold in result.opened_by_fold.folds] == [0.4, 0.8, 0.9]
    assert [fold["wa"] for fold in result.untuned.folds] == [0.5, 0.6, 0.5]
    assert result.difference["wa"].mean == pytest.approx((0.2 + 0.2 + 0.1) / 3)


def test_test_predictions_of_other_trials_are_never_read(
    candidates: list[TrialOutcome], tmp_path: Path
):
    for file in (tmp_path / "peaked" / "fold_1").iterdir():  # "peaked" is not chosen there
        file.unlink()
    result = opened(candidates)
    assert [fold["wa"] for fold in result.opened_by_fold.folds] == [0.4, 0.8, 0.9]


def test_the_choice_does_not_depend_on_test_predictions(tmp_path: Path):
    makers = [
        [candidate("a", tmp_path / d, [0.6] * 3, hits), candidate("b", tmp_path / d, [0.5] * 3, [5] * 3)]
        for d, hits in (("x", [0, 0, 0]), ("y", [10, 10, 10]))
    ]  # fmt: skip
    results = [opened(pair) for pair in makers]
    assert results[0].chosen.name == results[1].chosen.name == "a"


def test_the_interval_is_the_corrected_resampled_t():
    chosen, untuned = [0.6, 0.7, 0.65], [0.5, 0.65, 0.6]
    difference = np.array(chosen) - untuned
    spread = difference.std(ddof=1) * np.sqrt(1 / 3 + 10 / 30)
    half = stats.t.ppf(0.975, 2) * spread
    found = paired_difference(chosen, untuned, shared=share_of_test(FOLDS))
    assert found.mean == pytest.approx(difference.mean())
    assert found.high - found.mean == pytest.approx(half)
    assert found.mean - found.low == pytest.approx(half)


def test_the_pareto_front_holds_what_nothing_beats(candidates: list[TrialOutcome], tmp_path: Path):
    beaten = candidate("beaten", tmp_path, [0.4, 0.4, 0.4], [5, 5, 5])
    worse = replace(
        beaten,
        folds=tuple(replace(f, val={**f.val, "worst_recall": 0.1}) for f in beaten.folds),
    )
    front = pareto_front([*candidates, worse], [UA, WORST])
    assert "beaten" not in [c.name for c in front]
    assert {"best", "untuned"} <= {c.name for c in front}


@pytest.mark.parametrize("complete", [0, 1, 2, 6])
def test_pictures_are_drawn_from_few_trials_too(complete: int, tmp_path: Path):
    lists = Distribution(choices=(("audio",), ("audio", "text")))
    weights = {name: Distribution(0.0, 1.0) for name in ("loss.mu1", "loss.mu2")}
    settings = SearchConfig(space={**weights, "model.modalities": lists})
    space = make_space(Config(search=settings))
    records = []
    for k in range(8):
        values = {
            "loss.mu1": 0.1 * k,
            "loss.mu2": 0.02 * k**2 % 0.2,
            "model.modalities": ("audio",),
        }
        state = "COMPLETE" if k < complete else "PRUNED"
        params = space.encode(values)
        scores = {"ua": 0.5 + 0.01 * k, "loss": 1.0}
        records.append(TrialRecord(trial_name(k), k, 1, values, params, state, (), scores))
    records.append(TrialRecord(trial_name(8), 8, 1, records[0].values, records[0].params, "FAILED"))
    shares = importances(space, records, UA)
    figures = study_figures(space.settings, records, [UA, LOSS], untuned=0.5, importances=shares)
    wanted = {"history", "parallel_coordinate", "pareto_front"} if complete else set()
    assert set(figures) == wanted | ({"importances", "contour"} if complete > 1 else set())
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 3000
