"""PDDS against hand-made counts: who is clear, what smoothing wants, who is mixed with whom."""

import numpy as np
import pytest
import torch

from raysys.balance.counts import (
    CLEAR,
    ELSEWHERE,
    BalanceConfig,
    count_kinds,
    minor_emotions,
    smoothed_counts,
    topped_up,
    wanted_counts,
)
from raysys.balance.plan import plan_balance
from raysys.batches.batch import Part

COUNTS = np.array([[100, 20, 0], [5, 40, 3], [0, 0, 10]])


def labels_and_votes(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A train part with these counts of kinds, three annotators each."""
    labels, votes = [], []
    for (major, minor), count in np.ndenumerate(counts):
        for _ in range(count):
            row = np.zeros(len(counts), dtype=np.int64)
            row[major] += 2
            row[minor] += 1
            labels.append(major)
            votes.append(row)
    return np.array(labels), np.array(votes)


def test_clear_and_ambiguous_utterances_are_told_apart_by_their_votes():
    labels = np.array([0, 0, 1, 2, 1])
    votes = np.array([[3, 0, 0], [2, 1, 0], [1, 1, 1], [0, 0, 0], [0, 2, 2]])
    minors = minor_emotions(labels, votes)
    assert minors.tolist() == [-1, 1, 0, -1, 2]  # without votes: clear; of equals the first
    assert count_kinds(labels, minors, 3).tolist() == [[1, 1, 0], [1, 0, 1], [0, 0, 1]]


def test_small_clear_classes_are_raised_to_the_median():
    assert np.diag(topped_up(COUNTS)).tolist() == [100, 40, 40]
    assert topped_up(np.diag([5, 0, 9]))[1, 1] == 0  # nothing to mix it from


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_smoothing_is_the_unnormalised_convolution_of_the_four_bars(sigma: float):
    smoothed = smoothed_counts(COUNTS, sigma)
    near = np.exp(-1 / (2 * sigma**2))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        bars = [COUNTS[i, i], COUNTS[i, j], COUNTS[j, i], COUNTS[j, j]]
        assert smoothed[i, j] == pytest.approx(bars[1] + near * (bars[0] + bars[2]))
        assert smoothed[j, i] == pytest.approx(bars[2] + near * (bars[1] + bars[3]))
    assert np.diag(smoothed).tolist() == np.diag(COUNTS).tolist()


def test_every_method_keeps_what_there_is():
    for method in ("off", "smallest", "uniform", "pdds"):
        wanted = wanted_counts(COUNTS, BalanceConfig(method=method, n=50))
        assert (wanted >= COUNTS).all()
    assert wanted_counts(COUNTS, BalanceConfig()).tolist() == COUNTS.tolist()
    smallest = wanted_counts(COUNTS, BalanceConfig(method="smallest"))
    assert (smallest - COUNTS).tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 30]]
    uniform = wanted_counts(COUNTS, BalanceConfig(method="uniform", n=50))
    assert uniform.tolist() == [[100, 50, 50], [50, 50, 50], [50, 50, 50]]
    pdds = wanted_counts(COUNTS, BalanceConfig(method="pdds", sigma=1.0))
    near = np.exp(-0.5)
    assert pdds[0, 1] == round(20 + near * (100 + 5))
    assert pdds[2, 1] == round(0 + near * (40 + 3))  # the topped-up count of class 2


def test_pairs_that_nobody_gave_together_can_be_left_alone():
    config = BalanceConfig(method="pdds", sigma=1.0, pairs="observed")
    observed = wanted_counts(COUNTS, config)
    everything = wanted_counts(COUNTS, BalanceConfig(method="pdds", sigma=1.0))
    assert observed[0, 2] == observed[2, 0] == 0 < everything[0, 2]
    assert observed[2, 1] == everything[2, 1]  # 1 over 2 occurs, so 2 over 1 is smoothed too
    assert np.diag(observed).tolist() == np.diag(everything).tolist()


def test_smoothing_without_votes_creates_the_ambiguous_kinds():
    pdds = wanted_counts(np.diag([30, 20, 10]), BalanceConfig(method="pdds", sigma=1.0))
    assert (pdds[~np.eye(3, dtype=bool)] > 0).all()


def test_the_plan_mixes_clear_utterances_of_the_two_emotions_and_fills_the_counts():
    labels, votes = labels_and_votes(COUNTS)
    config = BalanceConfig(method="pdds", sigma=0.8, p=0.7)
    plan = plan_balance(labels, votes, config, seed=3, fold=1)
    minors = minor_emotions(labels, votes)
    assert (minors[plan.major] < 0).all()
    assert (minors[plan.minor] < 0).all()
    made = np.zeros_like(COUNTS)
    np.add.at(made, (labels[plan.major], labels[plan.minor]), 1)
    assert (made == plan.after - plan.before).all()
    within = labels[plan.major] == labels[plan.minor]
    assert set(plan.share[within]) == {0.5}
    assert set(plan.share[~within]) == {0.7}
    assert (plan.major[within] != plan.minor[within]).all()
    pairs = set(zip(plan.major[~within], plan.minor[~within], strict=True))
    assert len(pairs) == (~within).sum()  # no pair twice while there are others


def test_the_plan_depends_on_seed_and_fold_and_on_nothing_else():
    labels, votes = labels_and_votes(COUNTS)
    config = BalanceConfig(method="pdds")
    plans = [
        plan_balance(labels, votes, config, seed=seed, fold=fold)
        for seed, fold in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    drawn = [plan.minor.tolist() for plan in plans]
    assert drawn[0] == drawn[1]
    assert len({tuple(one) for one in drawn}) == 3


def test_a_single_clear_utterance_is_mixed_with_itself_and_none_is_left_alone():
    labels, votes = labels_and_votes(np.diag([9, 1, 0]))
    plan = plan_balance(labels, votes, BalanceConfig(method="uniform", n=4), seed=0, fold=0)
    assert plan.after.tolist() == [[9, 4, 0], [4, 4, 0], [0, 0, 0]]


def part() -> Part:
    """Three utterances of 2, 4 and 1 frames."""
    frames = torch.arange(14, dtype=torch.float32).reshape(7, 2) + 1
    return Part(
        {"audio": frames},
        {"audio": torch.tensor([0, 2, 6, 7])},
        targets=torch.eye(3),
        labels=torch.arange(3),
    )


def test_mixtures_are_the_papers_sums_over_frames_and_targets():
    own = part()
    mixed = own.with_mixtures(torch.tensor([0, 2]), torch.tensor([1, 0]), torch.tensor([0.8, 0.3]))
    assert len(mixed) == 5
    batch = mixed.batch(torch.tensor([3, 1, 4]))
    values, mask = batch.modalities["audio"].values, batch.modalities["audio"].mask
    one, two, three = (own.batch(torch.tensor([k])).modalities["audio"].values[0] for k in range(3))
    expected = 0.2 * two
    expected[:2] += 0.8 * one
    torch.testing.assert_close(values[0], expected)
    assert torch.equal(values[1], two)  # its own frames, to the bit
    short = 0.7 * one
    short[:1] += 0.3 * three
    torch.testing.assert_close(values[2, :2], short)
    assert mask.sum(dim=1).tolist() == [4, 4, 2]
    assert not values[2, 2:].any()
    torch.testing.assert_close(batch.targets[0], torch.tensor([0.8, 0.2, 0.0]))
    assert batch.labels.tolist() == [0, 1, 0]  # of the larger share
    assert mixed.longest.tolist() == [2, 4, 1, 4, 2]


def test_a_mixture_does_not_depend_on_its_batch():
    mixed = part().with_mixtures(torch.tensor([0]), torch.tensor([2]), torch.tensor([0.6]))
    alone = mixed.batch(torch.tensor([3])).modalities["audio"].values[0]
    among = mixed.batch(torch.tensor([1, 3])).modalities["audio"].values[1]
    assert torch.equal(among[: len(alone)], alone)
    assert not among[len(alone) :].any()


def test_votes_for_no_class_make_an_utterance_unclear_and_of_no_pair():
    labels, votes = np.array([0, 0, 1, 1]), np.array([[2, 0], [3, 0], [1, 2], [0, 3]])
    elsewhere = np.array([True, False, True, False])
    minors = minor_emotions(labels, votes, elsewhere)
    assert minors.tolist() == [ELSEWHERE, CLEAR, 0, CLEAR]  # a vote for a class comes first
    assert count_kinds(labels, minors, 2).tolist() == [[1, 0], [1, 1]]
    config = BalanceConfig(method="uniform", n=3)
    plan = plan_balance(labels, votes, config, seed=0, fold=0, elsewhere=elsewhere)
    assert {*plan.major.tolist(), *plan.minor.tolist()} == {1, 3}  # mixed from clear ones alone


def test_named_emotions_alone_are_topped_up_to_their_counts():
    labels, votes = labels_and_votes(np.diag([50, 40, 10]))
    names = ("anger", "joy", "happiness")
    for method in ("smallest", "pdds"):
        config = BalanceConfig(method=method, top_up={"happiness": 25})
        plan = plan_balance(labels, votes, config, seed=0, fold=0, emotions=names)
        assert np.diag(plan.after).tolist() == [50, 40, 25]
        added = (labels[plan.major] == 2) & (labels[plan.minor] == 2)
        assert added.sum() == 15
        assert np.all(plan.share[added] == 0.5)
    fewer = BalanceConfig(method="smallest", top_up={"anger": 5})
    assert len(plan_balance(labels, votes, fewer, seed=0, fold=0, emotions=names)) == 0
