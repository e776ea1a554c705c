"""Accounting of time, and run folders."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from raysys.cluster.run_folder import RunRecord, choose_folder, write_record
from raysys.errors import StorageError
from raysys.report import best_makespan, confusion_counts
from raysys.storage import Folder
from raysys.training.predictions import Predictions


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
