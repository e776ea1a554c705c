"""A run folder that an earlier raysys wrote (`tests/kept/`): later code reads it, or says in one line why not.

It is the run of 150 demo utterances with a tiny CLTNet, and a bundle of the version before (3, no digests). Never
write them anew to make a test pass: people have the old ones. A new version gets a folder of its own beside them.
"""

import json
import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import raysys
from raysys.encoders.ragged import Ragged
from raysys.errors import StorageError
from raysys.predictions import read_predictions
from raysys.report.results import TrialResult, read_result
from raysys.report.terminal import print_result
from raysys.running.run_folder import choose_folder, read_record
from raysys.storage import Folder
from raysys.tasks.classification import Classification, score_classes
from raysys.training.fold import read_result as read_fold

KEPT = Path(__file__).parents[1] / "kept" / "cross_validation"


def features(dims: dict[str, int]) -> dict[str, Ragged]:
    """Made of sines, which are the same in every version of NumPy."""
    lengths = np.array([3, 7, 5])
    places = np.arange(lengths.sum())[:, None]
    return {
        modality: Ragged.of(np.sin(places * (1 + np.arange(dim))).astype(np.float32), lengths)
        for modality, dim in dims.items()
    }


def test_a_kept_bundle_predicts_what_it_predicted():
    for fold in range(5):
        predictor = raysys.load(KEPT / f"fold_{fold}")
        found = predictor.predict(features(dict(predictor.bundle.dims)))
        expected = np.load(KEPT.parent / "predicted.npy")[fold]
        np.testing.assert_allclose(found.outputs, expected, atol=1e-5)


def test_a_bundle_of_the_version_before_predicts_what_it_predicted():
    predictor = raysys.load(KEPT.parent / "bundle_3")
    found = predictor.predict(features(dict(predictor.bundle.dims)))
    np.testing.assert_allclose(found.outputs, np.load(KEPT.parent / "bundle_3.npy"), atol=1e-5)


def test_a_kept_result_is_read_and_shown():
    result = read_result(Folder(str(KEPT)))
    assert isinstance(result, TrialResult)
    for scores in result.folds:
        folder = Folder(str(KEPT)) / f"fold_{scores.fold}"
        stored = read_predictions(folder, Classification.stored)
        predicted = stored.outputs.argmax(axis=1)
        known = score_classes(stored.truth, predicted)  # and perhaps a later score
        assert dict(scores.test) == {name: known[name] for name in scores.test}
        fold = read_fold(folder)
        assert fold is not None
        assert fold.val["ua"] == scores.val["ua"]
    console = Console(file=StringIO(), width=100)
    print_result(console, result, folder="kept", ui="")
    assert f"{100 * result.mean['test']['ua']:.1f}" in console.file.getvalue()


def test_a_kept_run_that_cannot_be_resumed_says_why(tmp_path: Path):
    shutil.copytree(KEPT, tmp_path / "kept")
    runs, record = Folder(str(tmp_path)), read_record(Folder(str(KEPT)))
    assert record.status == "FINISHED"
    assert choose_folder(runs, "kept", record.identity, resume=True) == (runs / "kept", True)
    parts = {**record.parts, "code": "of later"}
    with pytest.raises(StorageError, match=r"\(the code has changed since commit \w{9}"):
        choose_folder(runs, "kept", "other", resume=True, parts=parts)


def test_a_setting_that_is_not_known_is_not_dropped(tmp_path: Path):
    shutil.copytree(KEPT.parent / "bundle_3", tmp_path / "fold_0")
    file = tmp_path / "fold_0" / "bundle.json"
    content = json.loads(file.read_text())
    content["config"]["features"]["normalize"] = content["config"]["features"].pop("normalise")
    file.write_text(json.dumps(content))
    with pytest.raises(
        StorageError, match="unknown setting 'features.normalize': did you mean"
    ) as told:
        raysys.load(tmp_path / "fold_0")
    assert "\n" not in str(told.value)
