"""Calibration and groups, against independent computations; a planted gap is found, and none where there is none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from sklearn.metrics import recall_score

from raysys.corpus.table import Corpus, Utterance
from raysys.errors import ConfigError
from raysys.predictions import Predictions
from raysys.report.groups import by_group, check_groups, group_figures, group_tables
from raysys.similarity.psychology import vad_similarity
from raysys.tasks.calibration import calibration, fit_temperature
from raysys.tasks.classification import Classification
from raysys.tasks.resampling import Units, units_of
from raysys.tasks.votes import score_votes

TASK = Classification(("a", "b", "c", "d"))


def said(count: int, sharpness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are `sharpness` times too sure in their logits, and truth."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(count, 4))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (true.cumsum(axis=1) < random.random((count, 1))).sum(axis=1)
    sharp = np.exp(sharpness * logits)
    return (sharp / sharp.sum(axis=1, keepdims=True)).astype(np.float32), truth


def alone(count: int) -> Units:
    return Units(np.arange(count), "utterances")


def test_ece_brier_and_nll_are_what_their_definitions_say():
    p, truth = said(500, 2.0)
    found = calibration(p, truth, alone(500))
    p = p.astype(np.float64) / p.astype(np.float64).sum(axis=1, keepdims=True)
    ece = brier = nll = 0.0
    for low in np.arange(15) / 15:
        own = [k for k in range(500) if low < p[k].max() <= low + 1 / 15]
        if own:
            right = np.mean([p[k].argmax() == truth[k] for k in own])
            ece += len(own) / 500 * abs(right - np.mean([p[k].max() for k in own]))
    for k in range(500):
        brier += sum((p[k, c] - (c == truth[k])) ** 2 for c in range(4)) / 500
        nll -= np.log(p[k, truth[k]]) / 500
    assert found.ece == pytest.approx(ece, abs=1e-12)
    assert found.brier == pytest.approx(brier, abs=1e-12)
    assert found.nll == pytest.approx(nll, abs=1e-12)
    assert sum(one.utterances for one in found.bins) == 500
    assert found.low < found.ece < found.high


@pytest.mark.parametrize(("sharpness", "true"), [(1.0, 0.0), (1.5, 0.09), (3.0, 0.197)])
def test_the_interval_of_the_ece_covers_what_many_utterances_have(sharpness: float, true: float):
    """Of 60 samples of 400; a plain percentile interval holds 0 in none."""
    hits = 0
    for seed in range(60):
        p, truth = said(400, sharpness, seed)
        found = calibration(p, truth, alone(400))
        hits += found.low <= true <= found.high
    assert hits >= 0.85 * 60


def test_a_temperature_undoes_what_was_too_sure_and_leaves_the_choice():
    p, truth = said(4000, 2.5)
    assert fit_temperature(p, truth) == pytest.approx(2.5, rel=0.1)
    fitted = {"temperature": torch.tensor(2.5)}
    logits = torch.from_numpy(p).log()
    cooled = TASK.read(logits, fitted).numpy()
    np.testing.assert_allclose(cooled, said(4000, 1.0)[0], atol=1e-5)
    assert (cooled.argmax(axis=1) == p.argmax(axis=1)).all()
    assert TASK.calibrate(Predictions(p, p, truth)).keys() == {"temperature"}


def test_a_val_part_without_a_mistake_gives_a_temperature_that_can_be_used():
    p = np.tile(np.array([[0.7, 0.1, 0.1, 0.1]], np.float32), (20, 1))
    assert 0.04 < fit_temperature(p, np.zeros(20, np.int64)) < 0.1


def people(gap: float, *, speakers: int, seed: int = 0) -> tuple[Corpus, np.ndarray, np.ndarray]:
    """A corpus of women and men, of whom the latter are recognised less often by `gap`, and what is said of it."""
    random = np.random.default_rng(seed)
    rows = [
        Utterance(
            f"s{k:02d}_{n}",
            label,
            speaker=f"s{k:02d}",
            metadata={"gender": ("male", "female")[k % 2], "age": str(20 + k)},
        )
        for k in range(speakers)
        for n, label in enumerate("aabbccdd" * 6)
    ]
    corpus = Corpus("made_up", Path(), TASK.outputs, tuple(rows), ("",) * len(rows))
    genders = np.array([(row.metadata or {})["gender"] for row in rows])
    truth = corpus.labels
    chance = 0.8 - gap * (genders == "male")
    right = random.random(len(rows)) < chance
    predicted = np.where(right, truth, (truth + random.integers(1, 4, len(rows))) % 4)
    return corpus, np.eye(4, dtype=np.float32)[predicted], truth


def test_a_planted_gap_is_found_and_its_scores_are_scikit_learns():
    corpus, outputs, truth = people(0.2, speakers=20)
    found = {
        one.column: one for one in by_group(TASK, corpus, np.arange(len(truth)), outputs, truth)
    }
    one = found["gender"]
    assert (one.best, one.worst, one.over) == ("female", "male", "speakers")
    women = np.array([int(row.speaker[1:]) % 2 == 1 for row in corpus.utterances])
    expected = {
        name: recall_score(truth[own], outputs[own].argmax(axis=1), average="macro")
        for name, own in (("female", women), ("male", ~women))
    }
    for name, score in expected.items():
        assert one.scores[name]["ua"] == pytest.approx(score, abs=1e-12)
        assert (one.scores[name]["utterances"], one.scores[name]["speakers"]) == (480, 10)
    assert one.gap.mean == pytest.approx(expected["female"] - expected["male"], abs=1e-12)
    assert 0 < one.gap.low < 0.2 < one.gap.high
    assert len(found["age"].scores) == 4  # bands of a quarter each
    assert found["age"].over == "utterances"  # five speakers a band


def test_no_gap_is_told_from_noise_where_there_is_none():
    told = 0
    for seed in range(20):
        corpus, outputs, truth = people(0.0, speakers=20, seed=seed)
        (one,) = by_group(TASK, corpus, np.arange(len(truth)), outputs, truth, columns=("gender",))
        told += not one.gap.low <= 0 <= one.gap.high
    assert told <= 3


def test_a_column_that_is_not_there_is_refused_with_the_nearest():
    corpus, *_ = people(0.0, speakers=4)
    with pytest.raises(ConfigError, match="did you mean 'gender'"):
        check_groups(["gendr"], corpus)


def test_few_speakers_are_no_units():
    assert units_of(["a"] * 5 + ["b"] * 5, "speakers").over == "utterances"
    assert units_of([f"s{k}" for k in range(8)] * 2, "speakers").count == 8
    assert units_of([""] * 6, "speakers", rows=np.array([4, 5, 9, 4, 5, 9])).count == 3


def test_distance_from_the_votes_is_scipys():
    random = np.random.default_rng(1)
    votes = random.integers(0, 4, size=(200, 4))
    votes[:20] = 0  # not voted
    votes[20:60] = 3 * np.eye(4, dtype=int)[random.integers(4, size=40)]
    p = said(200, 1.0)[0]
    found = score_votes(p, votes)
    there = votes.sum(axis=1) > 0
    q, told = votes[there] / votes[there].sum(axis=1, keepdims=True), p[there].astype(np.float64)
    js, kl = jensenshannon(q, told, axis=1, base=2) ** 2, entropy(q, told, axis=1)
    most = q.max(axis=1)
    groups = {
        "all": most > 0,
        "unanimous": most == 1,
        "majority": (most < 1) & (most > 0.5),
        "none": most <= 0.5,
    }
    assert list(found) == list(groups)
    for name, own in groups.items():
        assert found[name]["utterances"] == own.sum()
        assert found[name]["js"] == pytest.approx(js[own].mean(), abs=1e-7)
        assert found[name]["kl"] == pytest.approx(kl[own].mean(), abs=1e-6)
        cross = -(q * np.log(told)).sum(axis=1)[own].mean()
        assert found[name]["cross_entropy"] == pytest.approx(cross, abs=1e-6)
    assert score_votes(p, np.zeros((200, 4))) == {}


def test_a_mistake_counts_by_how_alike_the_emotions_are():
    task = Classification(("anger", "frustration", "joy"))
    s = vad_similarity(task.outputs)
    truth = np.array([0, 0, 0, 2])
    outputs = np.eye(3)[[0, 1, 2, 2]]
    expected = (0 + (1 - s[0, 1]) + (1 - s[0, 2]) + 0) / 4
    assert task.score(outputs, truth)["vad_distance"] == pytest.approx(expected, abs=1e-12)
    assert 1 - s[0, 1] < 1 - s[0, 2]
    unrated = Classification(("anger", "mirth"))
    assert "vad_distance" not in unrated.score(np.eye(2), np.array([0, 1]))


def test_the_brier_score_of_two_classes_goes_to_two_as_that_of_more():
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    truth = np.array([0, 0, 1])
    expected = np.mean(((p - np.eye(2)[truth]) ** 2).sum(axis=1))
    assert calibration(p, truth, alone(3)).brier == pytest.approx(expected, abs=1e-7)


def test_names_of_groups_become_names_of_metrics_that_differ():
    corpus, outputs, truth = people(0.2, speakers=20)
    odd = {"female": "a/b %", "male": "a?b %"}
    rows = tuple(
        replace(row, metadata={"mic/type": odd[(row.metadata or {})["gender"]]})
        for row in corpus.utterances
    )
    corpus = replace(corpus, utterances=rows)
    found = group_figures(by_group(TASK, corpus, np.arange(len(truth)), outputs, truth))
    names = [name for name in found if name.startswith("ua/")]
    assert names == ["ua/mic_type a_b _", "ua/mic_type a_b _ 2"]
    assert "gap_ua/mic_type" in found


def test_what_was_asked_for_and_cannot_be_shown_is_said():
    corpus, outputs, truth = people(0.0, speakers=4)
    rows = [replace(r, metadata={"take": f"t{k}"}) for k, r in enumerate(corpus.utterances)]
    corpus, rowwise = replace(corpus, utterances=tuple(rows)), np.arange(len(truth))
    assert not by_group(TASK, corpus, rowwise, outputs, truth)  # nobody has asked
    found = by_group(TASK, corpus, rowwise, outputs, truth, columns=("take",))
    (told,) = group_tables(found, TASK.metrics)
    assert told.title == "by take: no two values have 10 test utterances"
    assert group_figures(found) == {}
