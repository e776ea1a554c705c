"""Similarity by people's ratings of emotion words, and Mantel's test."""

import itertools

import numpy as np
import pytest

from raysys.errors import ConfigError
from raysys.similarity.annotators import annotator_similarity
from raysys.similarity.prior import check_similarity
from raysys.similarity.psychology import (
    VAD,
    agreement_with_annotators,
    agreement_with_vad,
    mantel,
    vad_similarity,
)

SEVEN = ("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness")


def test_the_matrix_is_a_similarity_matrix_in_which_joy_is_nearer_to_happiness_than_to_fear():
    names = ("joy", "happiness", "fear", "calm")
    found = check_similarity(vad_similarity(names), names, "test")
    assert found[0, 1] > found[0, 3] > found[0, 2]
    distance = np.linalg.norm(np.subtract(VAD["joy"], VAD["fear"]))
    assert found[0, 2] == pytest.approx(1 - distance / (8 * 3**0.5))


def test_an_emotion_that_nobody_rated_is_an_error():
    with pytest.raises(
        ConfigError, match=r"no VAD ratings are known of 'angr' \(did you mean 'anger'"
    ):
        vad_similarity(("joy", "angr"))


def slow_mantel(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """By its definition, one permutation after the other."""
    pairs = list(itertools.combinations(range(len(ours)), 2))

    def r(order: tuple[int, ...]) -> float:
        x = [ours[order[i], order[j]] for i, j in pairs]
        return float(np.corrcoef(x, [theirs[i, j] for i, j in pairs])[0, 1])

    given = r(tuple(range(len(ours))))
    every = [r(order) for order in itertools.permutations(range(len(ours)))]
    return given, float(np.mean([one >= given - 1e-12 for one in every]))


def test_mantel_is_its_definition_over_all_permutations():
    random = np.random.default_rng(0)
    noise = random.uniform(-0.4, 0.4, (6, 6))
    theirs = vad_similarity(SEVEN[:6])
    ours = np.clip(theirs + (noise + noise.T) / 2, -1, 1)
    r, p, count = mantel(ours, theirs)
    assert count == 720
    assert (r, p) == pytest.approx(slow_mantel(ours, theirs))


def test_the_same_matrix_agrees_as_only_its_own_order_can():
    theirs = vad_similarity(SEVEN)
    r, p, count = mantel(theirs, theirs)
    assert (r, p, count) == (pytest.approx(1), pytest.approx(1 / 5040), 5040)


def test_many_classes_are_permuted_at_random_and_alike_every_time():
    names = tuple(VAD)[:12]
    noise = np.random.default_rng(1).uniform(-1, 1, (12, 12))
    ours = (noise + noise.T) / 2
    found = mantel(ours, vad_similarity(names))
    assert found == mantel(ours, vad_similarity(names))
    assert found[2] == 10_000
    assert found[1] > 0.01  # noise


def test_agreement_leaves_out_unknown_and_missing_classes():
    names = (*SEVEN[:4], "bewilderment", "joy")
    matrix = np.eye(6)
    matrix[:4, :4] = vad_similarity(SEVEN[:4])
    matrix[5] = matrix[:, 5] = np.nan
    found = agreement_with_vad(matrix, names)
    assert found is not None
    assert found.classes == SEVEN[:4]
    assert found.r == pytest.approx(1)
    assert "Mantel r 1.00, p 0.042" in found.line()
    assert agreement_with_vad(matrix[:3, :3], SEVEN[:3]) is None
    assert agreement_with_vad(np.ones((4, 4)), SEVEN[:4]) is None


def test_annotators_similarity_is_their_coincidences():
    # u1: a a b; u2: a a; u3: b b c c; u4: one annotator; u5: shares
    votes = np.array([[2, 1, 0], [2, 0, 0], [0, 2, 2], [1, 0, 0], [0.5, 0.5, 0]])
    o = np.zeros((3, 3))
    for sayings in ("aab", "aa", "bbcc"):
        for i, one in enumerate(sayings):
            for j, other in enumerate(sayings):
                if i != j:
                    o["abc".index(one), "abc".index(other)] += 1 / (len(sayings) - 1)
    own = np.sqrt(np.diag(o))
    np.testing.assert_allclose(annotator_similarity(votes), o / np.outer(own, own))
    alone = annotator_similarity(np.array([[3, 0], [2, 1]]))
    assert np.isnan(alone[1]).all()


def test_a_matrix_is_compared_with_annotators_confusions():
    random = np.random.default_rng(0)
    names = SEVEN[:5]
    truth = random.integers(0, 5, size=400)
    votes = np.zeros((400, 5), dtype=np.int64)
    for k, one in enumerate(truth):
        near = (one + random.integers(-1, 2, size=5)) % 5
        np.add.at(votes[k], near, 1)
    theirs = annotator_similarity(votes)
    found = agreement_with_annotators(theirs**2, votes, names)
    assert found is not None
    assert found.r > 0.9
    assert found.line().startswith("agreement with the annotators' confusions of 5 emotions")
    assert agreement_with_annotators(theirs, np.zeros((3, 5), dtype=np.int64), names) is None
