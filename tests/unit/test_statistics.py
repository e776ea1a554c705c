"""How scores of folds and seeds become a mean, deviations, and a verdict on noise."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import bootstrap

from raysys.corpus.folds import Fold
from raysys.report.statistics import (
    bootstrap_difference,
    enough_to_tell,
    part_scores,
    seed_difference,
)
from raysys.tasks.classification import Classification
from raysys.tasks.resampling import units_of


def folds(count: int) -> list[Fold]:
    """40 utterances to train on, 10 for val, 10 for test."""
    return [Fold(k, np.arange(40), np.arange(40, 50), np.arange(50, 60)) for k in range(count)]


def test_deviations_over_folds_and_over_seeds_are_kept_apart():
    scores = {(s, k): {"ua": 0.5 + 0.1 * k + 0.02 * (s - 3)} for s in (3, 4) for k in range(3)}
    found = part_scores(scores, ["ua"])
    assert [fold["ua"] for fold in found.folds] == pytest.approx([0.51, 0.61, 0.71])
    assert found.mean["ua"] == pytest.approx(0.61)
    assert found.std["ua"] == pytest.approx(0.1)
    assert found.seed_std["ua"] == pytest.approx(np.std([0.6, 0.62], ddof=1))
    one = part_scores({key: value for key, value in scores.items() if key[0] == 3}, ["ua"])
    assert np.isnan(one.seed_std["ua"])


def test_the_interval_is_over_folds_and_over_seeds_where_there_is_one_fold():
    ours = np.array([[0.7, 0.6], [0.8, 0.6]])
    others = np.array([[0.6, 0.6], [0.6, 0.5]])
    found = seed_difference(ours, others, folds=folds(2))
    by_fold = np.array([0.15, 0.05])
    half = stats.t.ppf(0.975, 1) * by_fold.std(ddof=1) * np.sqrt(1 / 2 + 10 / 40)
    assert (found.mean, found.high) == (pytest.approx(0.1), pytest.approx(0.1 + half))
    alone = seed_difference(ours[:, :1], others[:, :1], folds=folds(1))
    half = stats.t.ppf(0.975, 1) * np.array([0.1, 0.2]).std(ddof=1) / np.sqrt(2)
    assert alone.low == pytest.approx(0.15 - half)


def test_enough_seeds_are_the_least_whose_interval_is_narrow_enough():
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.01, size=(400, 5))  # seeds differ, folds do not
    n_folds, n_seeds = enough_to_tell(noise, 0.01, folds=folds(5)) or (0, 0)
    assert n_folds == 5
    variance = noise.var(axis=0, ddof=1).mean()

    def half(seeds: int) -> float:
        return stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 10 / 40) * variance / seeds)

    assert half(n_seeds) <= 0.01 < half(n_seeds - 1)


def test_where_folds_disagree_more_folds_are_needed_and_one_seed_cannot_say():
    random = np.random.default_rng(0)
    apart = random.normal(0, 0.05, size=5) + random.normal(0, 0.001, size=(3, 5))
    n_folds, n_seeds = enough_to_tell(apart, 0.01, folds=folds(5)) or (0, 0)
    assert n_folds > 5
    assert n_seeds == 3
    assert enough_to_tell(apart[:1], 0.01, folds=folds(5)) is None
    one_fold = enough_to_tell(apart[:, :1], 0.01, folds=folds(1))
    assert one_fold is not None
    assert one_fold[0] == 1
    hopeless = random.normal(0, 5.0, size=(3, 5))
    assert enough_to_tell(hopeless, 0.0001, folds=folds(5)) is None


def test_a_paired_bootstrap_of_utterances_is_scipys():
    random = np.random.default_rng(3)
    task, truth = Classification(("a", "b", "c")), random.integers(3, size=400)
    ours, others = (
        np.eye(3)[np.where(random.random(400) < right, truth, (truth + 1) % 3)]
        for right in (0.8, 0.7)
    )
    alone = units_of([""] * 400, "dialogues")
    found = bootstrap_difference(task, [ours], [others], truth, alone, names=["wa", "ua"])
    right = [(one.argmax(axis=1) == truth).astype(float) for one in (ours, others)]
    interval = bootstrap(
        (right[0] - right[1],), np.mean, method="percentile", n_resamples=5000, rng=0
    ).confidence_interval
    assert found["wa"].mean == pytest.approx((right[0] - right[1]).mean(), abs=1e-12)
    assert found["wa"].low == pytest.approx(interval.low, abs=0.01)
    assert found["wa"].high == pytest.approx(interval.high, abs=0.01)
    assert found["ua"].low < found["ua"].mean < found["ua"].high


def test_utterances_that_are_alike_in_a_dialogue_count_as_one():
    random = np.random.default_rng(4)
    task, dialogue = Classification(("a", "b")), np.repeat(np.arange(40), 10)
    truth = random.integers(2, size=400)
    lucky = random.random(40) < 0.7  # whole dialogues are right, or wrong
    ours = np.eye(2)[np.where(lucky[dialogue], truth, 1 - truth)]
    others = np.eye(2)[np.where(random.random(400) < 0.5, truth, 1 - truth)]
    names = [f"d{k}" for k in dialogue]
    widths = []
    for units in (units_of(names, "dialogues"), units_of([""] * 400, "dialogues")):
        found = bootstrap_difference(task, [ours], [others], truth, units, names=["wa"])["wa"]
        widths.append(found.high - found.low)
    assert widths[0] > 2 * widths[1]
    both = [ours, 1 - ours]  # two seeds: their mean is 0.5 whatever is drawn
    half = bootstrap_difference(task, both, [others], truth, units, names=["wa"])["wa"]
    assert half.mean == pytest.approx(0.5 - (others.argmax(axis=1) == truth).mean(), abs=1e-12)
