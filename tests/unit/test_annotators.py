"""How annotators agree, against published examples and against counting vote by vote."""

import itertools
import math

import numpy as np
import pytest

from raysys.similarity.annotators import annotators_of, coincidences, krippendorff_alpha
from raysys.tasks.classification_summary import annotators_table

NONE = math.nan
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
    ]
)
"""Four observers of twelve units (Krippendorff 2011, "Computing Krippendorff's alpha-reliability", example C)."""


def counts_of(values: np.ndarray, classes: int) -> np.ndarray:
    return np.stack([(values == k + 1).sum(axis=0) for k in range(classes)], axis=1)


def test_alpha_is_that_of_krippendorffs_own_example():
    votes = counts_of(KRIPPENDORFF, 5)
    assert krippendorff_alpha(coincidences(votes)) == pytest.approx(0.743, abs=5e-4)
    found = annotators_of(votes, np.zeros(12), "abcde")
    assert found is not None
    assert found.alpha == pytest.approx(0.743, abs=5e-4)
    assert found.utterances == 11  # one unit has a single value


def test_alpha_is_1_where_all_agree_and_about_0_for_chance():
    agree = np.array([[3, 0], [0, 3], [3, 0]])
    assert krippendorff_alpha(coincidences(agree)) == pytest.approx(1)
    random = np.random.default_rng(0)
    chance = counts_of(random.integers(1, 4, (3, 4000)).astype(float), 3)
    assert krippendorff_alpha(coincidences(chance)) == pytest.approx(0, abs=0.02)
    assert math.isnan(krippendorff_alpha(coincidences(np.array([[3, 0], [2, 0]]))))


def by_counting(votes: np.ndarray, classes: int) -> tuple[np.ndarray, float, float]:
    """Pairs, WA and UA, annotator by annotator."""
    pairs = np.zeros((votes.shape[1],) * 2, dtype=int)
    right: list[tuple[int, bool]] = []
    for row in votes.astype(int):
        said = [k for k, count in enumerate(row) for _ in range(count)]
        for one, other in itertools.permutations(range(len(said)), 2):
            pairs[said[one], said[other]] += 1
        for k, own in enumerate(said):
            others = np.bincount([s for j, s in enumerate(said) if j != k], minlength=len(row))
            top = np.flatnonzero(others == others.max())
            if len(said) >= 3 and len(top) == 1 and top[0] < classes:
                right.append((int(top[0]), own == top[0]))
    truth = np.array([t for t, _ in right])
    hit = np.array([h for _, h in right])
    return pairs, float(hit.mean()), float(np.mean([hit[truth == k].mean() for k in set(truth)]))


def test_confusion_and_one_against_the_others_are_those_of_counting():
    random = np.random.default_rng(1)
    votes = np.stack([random.multinomial(5, random.dirichlet([0.6] * 4)) for _ in range(60)])
    pairs, wa, ua = by_counting(votes, 3)
    found = annotators_of(votes[:, :3], votes[:, 3], ("joy", "fear", "anger"))
    assert found is not None
    assert found.names == ("joy", "fear", "anger", "other")
    assert found.pairs == pairs.tolist()
    assert (found.wa, found.ua) == pytest.approx((wa, ua))
    assert found.agree == pytest.approx(np.trace(pairs) / pairs.sum())  # each has five votes
    table = annotators_table(found)
    assert table.rows[0][0] == "joy"
    assert sum(map(float, table.rows[0][2:])) == pytest.approx(100, abs=0.2)
    assert "Krippendorff's alpha" in table.note


def test_two_annotators_have_no_majority_of_others():
    found = annotators_of(np.array([[2, 0], [1, 1], [0, 2]]), np.zeros(3), ("joy", "fear"))
    assert found is not None
    assert (found.wa, found.ua) == (None, None)
    assert "majority" not in found.line()


@pytest.mark.parametrize("votes", [[[1, 0], [0, 1]], [[0.5, 0.5], [1.5, 0.5]], [[0, 0], [0, 0]]])
def test_single_votes_and_shares_say_nothing(votes: list):
    assert annotators_of(np.array(votes), np.zeros(2), ("joy", "fear")) is None
