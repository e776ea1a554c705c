"""Class-similarity matrices against hand computation."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from raysys.errors import ConfigError
from raysys.similarity.matrix import average_matrix, class_representatives, cosine_matrix
from raysys.similarity.prior import preset_similarity, read_similarity, similarity_from_record
from raysys.similarity.summary import summarise
from raysys.storage import Folder


def test_the_worked_example_of_source_000_gives_the_true_cosines():
    embeddings = np.array(
        [
            [0.2, 0.5, 0.1, 0.3],
            [0.3, 0.6, 0.0, 0.2],
            [0.9, 0.1, 0.3, 0.4],
            [0.0, 0.1, 0.9, 0.7],
            [0.5] * 4,
        ]
    )
    representatives = class_representatives(embeddings, np.array([0, 0, 1, 2, 3]), 4)
    np.testing.assert_allclose(representatives[0], [0.25, 0.55, 0.05, 0.25])
    matrix = cosine_matrix(representatives)
    # The source prints 0.81, 0.59 and 0.96, which are not the cosines of its own means.
    np.testing.assert_allclose(matrix[0, 1:], [0.582, 0.366, 0.839], atol=5e-4)
    np.testing.assert_allclose(matrix, cosine_similarity(representatives), atol=1e-12)
    assert (np.diag(matrix) == 1).all()


def test_a_class_missing_in_a_fold_is_averaged_over_the_folds_that_have_it():
    random = np.random.default_rng(0)
    full = cosine_matrix(class_representatives(random.normal(size=(9, 4)), np.arange(9) % 3, 3))
    lacking = cosine_matrix(class_representatives(random.normal(size=(6, 4)), np.arange(6) % 2, 3))
    assert np.isnan(lacking[2]).all()
    average, counts = average_matrix(np.stack([full, lacking]))
    np.testing.assert_allclose(average[2], full[2])
    np.testing.assert_allclose(average[0, 1], (full[0, 1] + lacking[0, 1]) / 2)
    assert counts.tolist() == [[2, 2, 1], [2, 2, 1], [1, 1, 1]]
    nowhere, counts = average_matrix(np.stack([lacking]))
    assert np.isnan(nowhere[2, 0])
    assert counts[2, 2] == 0


def test_the_interval_holds_the_estimate_and_shrinks_with_more_utterances():
    def width(size: int) -> float:
        random = np.random.default_rng(1)
        labels = np.arange(size) % 3
        centres = np.eye(3, 5)
        folds = [centres[labels] + random.normal(scale=0.8, size=(size, 5)) for _ in range(3)]
        summary = summarise(
            [[(one, labels)] for one in folds], n_classes=3, resamples=200, confidence=0.95, seed=0
        )
        off = ~np.eye(3, dtype=bool)
        assert summary.over == "folds"
        assert ((summary.low <= summary.unbiased) & (summary.unbiased <= summary.high)).all()
        return float((summary.high - summary.low)[off].mean())

    assert width(900) < 0.5 * width(90)


def covered(
    *, folds: int, utterances: int, noise: float, speakers: int = 0, runs: int = 60
) -> tuple[float, str]:
    """How often intervals hold the true cosine of four classes in 32 dimensions, and over what they are.

    Args:
        folds: of each run.
        utterances: of a class and fold.
        noise: standard deviation around the class means, which have that of 1.
        speakers: of a fold, each of whom shifts the classes by 0.7 of a standard deviation; 0: nobody does.
        runs: simulated.
    """
    random, held, over = np.random.default_rng(7), [], ""
    labels = np.repeat(np.arange(4), utterances)
    who = np.tile(np.arange(utterances) % max(1, speakers), 4)
    for _ in range(runs):
        centres = random.normal(size=(4, 32))
        truth = cosine_matrix(centres)
        delivered = []
        for _ in range(folds):
            own = 0.7 * random.normal(size=(max(1, speakers), 4, 32)) if speakers else np.zeros(1)
            shift = own[who, labels] if speakers else 0.0
            vectors = centres[labels] + noise * random.normal(size=(len(labels), 32)) + shift
            delivered.append([(vectors, labels)])
        found = summarise(
            delivered,
            n_classes=4,
            resamples=200,
            confidence=0.95,
            seed=0,
            speakers=[[str(k) for k in who]] * folds if speakers else None,
        )
        pairs = np.triu_indices(4, 1)
        held.append(((found.low <= truth) & (truth <= found.high))[pairs].mean())
        over = found.over
    return float(np.mean(held)), over


@pytest.mark.parametrize("noise", [1.0, 2.0])
@pytest.mark.parametrize("utterances", [5, 15, 60])
def test_intervals_over_folds_cover_the_true_cosine(utterances: int, noise: float):
    share, over = covered(folds=5, utterances=utterances, noise=noise)
    assert over == "folds"
    assert share >= 0.88


@pytest.mark.parametrize("speakers", [2, 4, 8])
def test_they_do_where_speakers_differ(speakers: int):
    assert covered(folds=5, utterances=24, noise=1.0, speakers=speakers)[0] >= 0.88


@pytest.mark.parametrize("folds", [1, 2])
def test_with_fewer_folds_speakers_are_drawn_where_there_are_enough(folds: int):
    share, over = covered(folds=folds, utterances=48, noise=1.0, speakers=12)
    assert (over, share >= 0.88) == ("speakers", True)
    share, over = covered(folds=folds, utterances=48, noise=1.0, speakers=2)
    assert (over, share < 0.8) == ("utterances", True)  # what the report says that it cannot know
    assert covered(folds=folds, utterances=15, noise=2.0)[0] >= 0.88


def test_seeds_are_averaged_within_a_fold_and_widen_the_interval_where_they_disagree():
    random = np.random.default_rng(3)
    labels = np.arange(300) % 3

    def fold(centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return centres[labels] + random.normal(scale=0.1, size=(300, centres.shape[1])), labels

    apart, close = np.eye(3, 5), np.eye(3, 5) + 1.0
    options = {"n_classes": 3, "resamples": 100, "confidence": 0.95, "seed": 0}
    one = summarise([[fold(apart)], [fold(apart)]], **options)
    both = summarise([[fold(apart), fold(close)], [fold(apart), fold(close)]], **options)
    np.testing.assert_array_equal(both.utterance_counts, [[100] * 3] * 2)
    alone = [cosine_matrix(centres)[0, 1] for centres in (apart, close)]
    assert both.average[0, 1] == pytest.approx(np.mean(alone), abs=0.02)
    assert both.fold_counts[0, 1] == 2
    assert (both.high - both.low)[0, 1] > 5 * (one.high - one.low)[0, 1]


def without_noise(vectors: np.ndarray, labels: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    """Cosines of the class means of some rows, from the formula: |m|^2 - s^2 / n, in a resample with its own noise."""
    matrix, norms, means = np.full((3, 3), np.nan), np.full(3, np.nan), np.full((3, 4), np.nan)
    for k in range(3):
        own = vectors[labels == k]
        chosen = own if rows is None else vectors[rows[labels[rows] == k]]
        if len(own) < 2 or not len(chosen):
            continue
        means[k] = chosen.mean(axis=0)
        noise = own.var(axis=0, ddof=1).sum() / len(own)
        noise *= 1 if rows is None else 1 + (len(own) - 1) / len(own)
        square = means[k] @ means[k]
        norms[k] = max(square - noise, 0.02 * square) ** 0.5
    for i, k in np.ndindex(3, 3):
        cosine = means[i] @ means[k] / (norms[i] * norms[k])
        matrix[i, k] = np.clip(cosine, -1, 1) if i != k else cosine / cosine
    return matrix


def test_the_interval_is_that_of_resamples_made_one_by_one():
    """A class is rare, so that it is missing in some resamples, and in one fold altogether."""
    random, n_classes, resamples = np.random.default_rng(4), 3, 300
    labels = [np.array([0, 1, 2, 1, 0, 1, 0, 2]), np.array([1, 0, 0, 1, 1])]
    folds = [(random.normal(size=(len(own), 4)) + np.eye(3, 4)[own], own) for own in labels]
    found = summarise(
        [[one] for one in folds], n_classes=n_classes, resamples=resamples, confidence=0.9, seed=6
    )
    draw, per_fold = np.random.default_rng(6), []
    for vectors, own in folds:
        chosen = draw.integers(len(own), size=(resamples, len(own)))
        per_fold.append([without_noise(vectors, own, rows) for rows in chosen])
    means, _ = average_matrix(np.array(per_fold))
    assert np.isnan(means[:, 0, 2]).any()
    low, high = np.nanpercentile(means, [5, 95], axis=0)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(found.low[off], low[off], atol=1e-12)
    np.testing.assert_allclose(found.high[off], high[off], atol=1e-12)
    estimate, _ = average_matrix(np.array([without_noise(*one, None) for one in folds]))
    np.testing.assert_allclose(found.unbiased[off], estimate[off], atol=1e-12)


def test_the_summary_is_the_same_for_the_same_seed_and_folds_may_differ_in_dimension():
    random = np.random.default_rng(2)
    embeddings = [random.normal(size=(12, 4)), random.normal(size=(8, 7))]
    labels = [np.arange(12) % 3, np.arange(8) % 3]
    options = {"resamples": 20, "confidence": 0.9, "seed": 5}
    first = summarise(
        [[one] for one in zip(embeddings, labels, strict=True)], n_classes=3, **options
    )
    second = summarise(
        [[one] for one in zip(embeddings, labels, strict=True)], n_classes=3, **options
    )
    np.testing.assert_array_equal(first.low, second.low)
    assert first.per_fold.shape == (2, 3, 3)
    assert first.utterance_counts.tolist() == [[4, 4, 4], [3, 3, 2]]


def test_the_preset_is_a_similarity_matrix_in_which_near_emotions_are_near():
    emotions = ("anger", "frustration", "happiness", "sadness")
    matrix = preset_similarity(emotions)
    np.testing.assert_allclose(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), 1)
    assert matrix[0, 1] > matrix[0, 2]
    with pytest.raises(ConfigError, match="did you mean 'anger'"):
        preset_similarity(("angr", "fear"))


def test_a_stored_matrix_is_brought_into_the_order_of_the_emotions(tmp_path):
    stored = {"emotions": ["a", "b", "c"], "average": [[1, 0.2, 0.3], [0.2, 1, 0.4], [0.3, 0.4, 1]]}
    matrix = similarity_from_record(stored, ("c", "a"), "x", of="val")
    np.testing.assert_allclose(matrix, [[1, 0.3], [0.3, 1]])
    np.save(tmp_path / "s.npy", np.array(stored["average"]))
    np.testing.assert_allclose(
        read_similarity(Folder(str(tmp_path)), "s.npy", ("a", "b", "c")), stored["average"]
    )


@pytest.mark.parametrize(
    "matrix, rule",
    [
        ([[1, 0.5], [0.4, 1]], "symmetric"),
        ([[1, 2], [2, 1]], "within -1..1"),
        ([[0.9, 0], [0, 1]], "1 on the diagonal"),
        ([[1, None], [None, 1]], "finite"),
        ([[1]], "not a square matrix"),
    ],
)
def test_what_is_no_similarity_matrix_is_refused(matrix, rule):
    record = {"emotions": ["a", "b"], "average": matrix}
    with pytest.raises(ConfigError, match=rule):
        similarity_from_record(record, ("a", "b"), "source", of="val")


def test_a_fold_takes_no_matrix_that_knows_labels_of_its_test_utterances():
    def matrix(value: float | None) -> list[list[float | None]]:
        return [[1.0, value], [value, 1.0]]

    record = {
        "emotions": ["calm", "joy"],
        "average": matrix(0.4),
        "per_fold": [matrix(0.2), matrix(0.4), matrix(0.6)],
        "val_per_fold": [matrix(0.1), matrix(0.3), matrix(None)],
        "keys": [["a", "b"], ["c"], ["d", "e"]],
        "known": ["a", "b", "c", "d", "e", "f"],
    }

    def value(*tests: str, of: str = "val") -> float:
        found = similarity_from_record(record, ("calm", "joy"), "run", of=of, tests=tests)
        return float(found[0, 1])

    # On val: the fold's own, whose model and val part are free of its test part.
    assert value("a", "b") == 0.1
    assert value("b") == 0.1  # part of it
    assert value("c", "elsewhere") == 0.3
    assert value("elsewhere") == pytest.approx(0.2)  # of another corpus: all of them
    assert value("d") == 0.0  # its val part lacks a class
    with pytest.raises(ConfigError, match="every fold of it has learnt from test utterances"):
        value("a", "c")  # folds of another division
    with pytest.raises(ConfigError, match="every fold of it has learnt from"):
        value("f")  # which no fold tested
    assert value("b", of="test") == pytest.approx(0.5)
    assert value("a", "e", of="test") == pytest.approx(0.4)
    with pytest.raises(ConfigError, match="every fold of it has tested"):
        value("a", "c", "d", of="test")
    del record["val_per_fold"]
    with pytest.raises(ConfigError, match=r"set --loss\.measured_on test"):
        value("a")
