"""Accounting of time, and run folders."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from raysys.cluster.run_folder import RunRecord, choose_folder, write_record
from raysys.training.predictions import Predictions

from raysys.errors import StorageError
from raysys.report import best_makespan, break_down, confusion_counts
from raysys.storage import Folder


def test_the_best_schedule_is_the_best_of_all_assignments():
    assert best_makespan([10.0, 10.0, 10.0, 10.0, 20.0], 2) == 30
    assert best_makespan([3.0, 3.0, 2.0, 2.0, 2.0], 2) == 6
    assert best_makespan([5.0, 1.0], 8) == 5
    durations = [7.0, 5.0, 4.0, 3.0, 3.0]
    brute = min(
        max(sum(d for d, w in zip(durations, who, strict=True) if w == k) for k in range(3))
        for who in itertools.product(range(3), repeat=5)
    )
    assert best_makespan(durations, 3) == brute
    assert best_makespan([1.0] * 40, 4) == 10  # the bound, where there are too many assignments


def test_confusions_are_counted_by_true_row_and_predicted_column():
    part = Predictions(
        np.zeros((3, 1), np.float32), np.eye(3, dtype=np.float32)[[0, 2, 2]], np.array([0, 1, 2])
    )
    counts = confusion_counts([part, part], 3)
    assert counts.tolist() == [[2, 0, 0], [0, 0, 2], [0, 0, 2]]


def test_scores_by_emotion_and_speaker_are_of_all_folds_together():
    generator = np.random.default_rng(0)
    parts, speakers = [], []
    for size in (40, 25):
        labels = generator.integers(0, 3, size)
        guesses = np.where(generator.random(size) < 0.6, labels, generator.integers(0, 3, size))
        probabilities = np.eye(4, dtype=np.float32)[guesses]
        parts.append(Predictions(np.zeros((size, 1), np.float32), probabilities, labels))
        speakers.append([("ann", "bob", "")[k % 3] for k in range(size)])
    found = break_down(parts, ("calm", "fear", "joy", "rage"), speakers)
    truth = np.concatenate([part.labels for part in parts])
    guess = np.concatenate([part.predicted for part in parts])
    for k, emotion in enumerate(("calm", "fear", "joy")):
        hits, row = ((truth == k) & (guess == k)).sum(), found["per_class"][emotion]
        assert row["recall"] == pytest.approx(hits / (truth == k).sum())
        assert row["precision"] == pytest.approx(hits / (guess == k).sum())
        assert row["f1"] == pytest.approx(2 * hits / ((truth == k).sum() + (guess == k).sum()))
    assert found["per_class"]["rage"] == {"precision": 0, "recall": 0, "f1": 0, "utterances": 0}
    weights = [row["utterances"] for row in found["per_class"].values()]
    f1s = [row["f1"] for row in found["per_class"].values()]
    assert found["pooled"]["weighted_f1"] == pytest.approx(np.average(f1s, weights=weights))
    assert np.trace(found["confusion"]) == (truth == guess).sum()
    who = np.array([name for fold in speakers for name in fold])
    assert list(found["speakers"]) == ["ann", "bob"]
    bob = found["speakers"]["bob"]
    assert bob["utterances"] == (who == "bob").sum()
    assert bob["wa"] == pytest.approx((truth == guess)[who == "bob"].mean())


def test_a_new_run_never_takes_an_old_folder_and_resume_takes_the_latest_of_its_identity(
    tmp_path: Path,
):
    runs = Folder(str(tmp_path))
    for number, identity in enumerate(["x", "y", "x"], start=1):
        folder = choose_folder(runs, "demo", identity, resume=False)
        assert folder.name == ("demo" if number == 1 else f"demo-{number}")
        write_record(folder, RunRecord(identity, "1", str(number), "KILLED"))
    assert choose_folder(runs, "demo", "x", resume=True).name == "demo-3"
    assert choose_folder(runs, "demo", "y", resume=True).name == "demo-2"
    assert choose_folder(runs, "demo-2", "z", resume=False).name == "demo-2-2"
    with pytest.raises(StorageError, match="nothing to resume"):
        choose_folder(runs, "demo", "z", resume=True)


def test_two_commands_that_start_together_get_folders_of_their_own(tmp_path: Path):
    runs = Folder(str(tmp_path))
    names = [choose_folder(runs, "demo", "same", resume=False).name for _ in range(3)]
    assert names == ["demo", "demo-2", "demo-3"]
