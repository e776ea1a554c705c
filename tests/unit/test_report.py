"""Accounting of time, and run folders."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raysys
from raysys.config import Config
from raysys.corpus.finding import Finding
from raysys.errors import StorageError
from raysys.predictions import Predictions
from raysys.report.results import (
    RunIds,
    TrialResult,
    read_result,
    write_result,
)
from raysys.report.scores import FoldScores
from raysys.report.seconds import account_seconds, schedule_seconds
from raysys.running.code import DECIDING_ROOMS, deciding_code
from raysys.running.plan import deciding
from raysys.running.run_folder import RunRecord, choose_folder, write_record
from raysys.settings import replaced
from raysys.similarity.summary import SimilaritySummary
from raysys.storage import Folder
from raysys.tasks.classification import Classification


def test_a_schedule_takes_the_longest_first():
    assert schedule_seconds([10.0, 10.0, 10.0, 10.0, 20.0], 2) == 30
    assert schedule_seconds([3.0, 3.0, 2.0, 2.0, 2.0], 2) == 7  # 6 is possible: within 4/3
    assert schedule_seconds([5.0, 1.0], 8) == 5
    assert schedule_seconds([1.0] * 40, 4) == 10
    assert schedule_seconds([], 2) == 0


def aggregate(n_classes: int) -> SimilaritySummary:
    square = np.eye(n_classes)
    counts = np.ones((n_classes, n_classes), dtype=np.int64)
    return SimilaritySummary(
        square[None], square, square, square, square, "folds", counts, counts[:1]
    )


def summary_of(parts: list[Predictions], emotions: tuple[str, ...], who: list[str]) -> Any:
    return Classification(emotions).summary(parts, who, aggregate(len(emotions)))


def test_confusions_are_counted_by_true_row_and_predicted_column():
    part = Predictions(
        np.zeros((3, 1), np.float32), np.eye(3, dtype=np.float32)[[0, 2, 2]], np.array([0, 1, 2])
    )
    found = summary_of([part, part], ("calm", "joy", "rage"), [""] * 6)
    assert found.confusion == [[2, 0, 0], [0, 0, 2], [0, 0, 2]]


def test_scores_by_emotion_and_speaker_are_of_all_folds_together():
    generator = np.random.default_rng(0)
    parts, who = [], []
    for size in (40, 25):
        labels = generator.integers(0, 3, size)
        guesses = np.where(generator.random(size) < 0.6, labels, generator.integers(0, 3, size))
        probabilities = np.eye(4, dtype=np.float32)[guesses]
        parts.append(Predictions(np.zeros((size, 1), np.float32), probabilities, labels))
        who += [("ann", "bob", "")[k % 3] for k in range(size)]
    found = summary_of(parts, ("calm", "fear", "joy", "rage"), who)
    truth = np.concatenate([part.truth for part in parts])
    guess = np.concatenate([part.outputs.argmax(axis=1) for part in parts])
    for k, emotion in enumerate(("calm", "fear", "joy")):
        hits, row = ((truth == k) & (guess == k)).sum(), found.per_class[emotion]
        assert row["recall"] == pytest.approx(hits / (truth == k).sum())
        assert row["precision"] == pytest.approx(hits / (guess == k).sum())
        assert row["f1"] == pytest.approx(2 * hits / ((truth == k).sum() + (guess == k).sum()))
    assert found.per_class["rage"] == {"precision": 0, "recall": 0, "f1": 0, "utterances": 0}
    weights = [row["utterances"] for row in found.per_class.values()]
    f1s = [row["f1"] for row in found.per_class.values()]
    assert found.pooled["weighted_f1"] == pytest.approx(np.average(f1s, weights=weights))
    assert np.trace(found.confusion) == (truth == guess).sum()
    names = np.array(who)
    assert list(found.speakers) == ["ann", "bob"]
    bob = found.speakers["bob"]
    assert bob["utterances"] == (names == "bob").sum()
    assert bob["wa"] == pytest.approx((truth == guess)[names == "bob"].mean())


def test_a_result_is_read_back_as_its_type_and_another_version_is_refused(tmp_path: Path):
    part = Predictions(np.zeros((2, 1), np.float32), np.eye(2, dtype=np.float32), np.array([0, 1]))
    scores = {"wa": 1.0, "ua": float("nan"), "weighted_f1": 0.5}
    parts = {"val": scores, "test": scores, "baseline": scores}
    result = TrialResult(
        kind="trial",
        task="classification",
        corpus="demo",
        model="cltnet",
        select="ua",
        seeds=(0,),
        folds=(FoldScores(0, 0, 5, 3, scores, scores, scores),),
        mean=parts,
        std=parts,
        seed_std=parts,
        ensemble=None,
        summary=summary_of([part], ("calm", "joy"), ["ann", "bob"]),
        seconds={"total": 1.5},
        audit=(Finding("note", "synthetic", "generated"),),
        mlflow=RunIds("1", "abc"),
    )
    folder = Folder(str(tmp_path))
    write_result(folder, result)
    again, content = read_result(folder), folder.read_json("result.json")
    assert isinstance(again, TrialResult)
    assert again.summary.speakers == result.summary.speakers
    assert np.isnan(again.mean["val"]["ua"])
    write_result(folder / "again", again)
    assert (folder / "again").read_json("result.json") == content
    assert content["mean"]["val"]["ua"] is None
    folder.write_json("result.json", {**content, "version": 1})
    with pytest.raises(StorageError, match="of version 1, not 4: read it with the raysys"):
        read_result(folder)
    folder.write_json("result.json", {**content, "folds": "none"})
    with pytest.raises(StorageError, match=r"result\.json is damaged"):
        read_result(folder)


def test_a_resumed_run_counts_its_own_seconds_alone():
    """Four folds were done before; the last one takes 4 of the 5 seconds that workers were there."""
    found = account_seconds([0, 0, 0, 0, 4.0], total=9.0, startup=3.0, wall=5.0, workers=2)
    assert found["efficiency"] == pytest.approx(0.8)
    assert found["overhead"] == pytest.approx(1.0)
    nothing = account_seconds([0.0] * 5, total=4.0, startup=3.0, wall=0.2, workers=2)
    assert np.isnan(nothing["efficiency"])
    assert nothing["overhead"] == pytest.approx(0.2)


def test_a_new_run_never_takes_an_old_folder_and_resume_takes_the_latest_of_its_identity(
    tmp_path: Path,
):
    runs = Folder(str(tmp_path))
    for number, identity in enumerate(["x", "y", "x"], start=1):
        folder, _ = choose_folder(runs, "demo", identity, resume=False)
        assert folder.name == ("demo" if number == 1 else f"demo-{number}")
        write_record(folder, RunRecord(identity, "1", str(number), "KILLED"))
    assert choose_folder(runs, "demo", "x", resume=True)[0].name == "demo-3"
    assert choose_folder(runs, "demo", "y", resume=True)[0].name == "demo-2"
    assert choose_folder(runs, "demo", "y", resume=None) == (runs / "demo-2", True)
    assert choose_folder(runs, "demo", "new", resume=None) == (runs / "demo-4", False)
    assert choose_folder(runs, "demo-2", "z", resume=False)[0].name == "demo-2-2"
    with pytest.raises(StorageError, match="nothing to resume"):
        choose_folder(runs, "demo", "z", resume=True)


def test_two_commands_that_start_together_get_folders_of_their_own(tmp_path: Path):
    runs = Folder(str(tmp_path))
    names = [choose_folder(runs, "demo", "same", resume=False)[0].name for _ in range(3)]
    assert names == ["demo", "demo-2", "demo-3"]


def test_what_keeps_a_run_from_being_resumed_is_named(tmp_path: Path):
    runs, parts = Folder(str(tmp_path)), {"data": "d", "prior": "p", "code": "c"}
    folder, _ = choose_folder(runs, "demo", "x", resume=False)
    write_record(folder, RunRecord("x", "1", "1", "KILLED", parts, commit="0123456789abcdef"))
    folder.write_json("config.json", {"seed": 0, "loss": {"mu1": 0.1}})
    settings = {"seed": 0, "loss.mu1": 0.1}

    def refusal(settings: dict[str, float], **changed: str) -> str:
        with pytest.raises(StorageError) as caught:
            choose_folder(runs, "demo", "y", resume=True, settings=settings, parts=parts | changed)
        return str(caught.value)

    assert "(the code has changed since commit 012345678, this is " in refusal(settings, code="e")
    assert "(the corpus or its features have changed)" in refusal(settings, data="e")
    both = refusal({"seed": 1, "loss.mu1": 0.1}, prior="e")
    assert "(seed is 1 here and 0 there; the similarity matrix or emotion space that" in both


def test_a_comment_is_no_other_code(tmp_path: Path):
    package = tmp_path / "raysys"
    shutil.copytree(Path(raysys.__file__).parent, package)
    before = deciding_code(package)
    assert before == deciding_code(Path(raysys.__file__).parent)

    def changed(file: str, old: str, new: str) -> bool:
        text = (package / file).read_text()
        assert old in text
        (package / file).write_text(text.replace(old, new, 1))
        digest = deciding_code(package)
        (package / file).write_text(text)
        return digest != before

    assert not changed("losses/objective.py", "rest = 1.0", "rest = 1.0  # all of it")
    assert not changed("losses/objective.py", "The loss of one batch", "A batch has a loss")
    assert changed("losses/objective.py", "rest = 1.0", "rest = 1.5")
    assert changed("settings.py", "sort_keys=True", "sort_keys=False")
    for room in ("benchmarks/swfc.py", "report/pictures.py", "tracking/runs.py", "help.py"):
        assert not changed(room, "import ", "import sys, ")


def test_every_room_either_can_change_a_number_or_cannot():
    """A new room is put into DECIDING_ROOMS, or here."""
    cannot = {
        "__init__.py", "api.py", "aside.py", "background.py", "benchmarks", "catalogue.py", "cluster", "commandline.py",
        "contracts.py",
        "errors.py", "help.py", "object_storage.py", "plugins.py", "predicting", "presets.py",
        "report", "sealed.py", "storage.py", "tracking",
    }  # fmt: skip
    package = Path(raysys.__file__).parent
    rooms = {p.name for p in package.iterdir() if p.suffix == ".py" or list(p.glob("*.py"))}
    assert rooms == {*DECIDING_ROOMS} | cannot
    assert not {*DECIDING_ROOMS} & cannot


def test_where_a_run_is_done_is_no_part_of_what_it_is(small: Config):
    elsewhere = {
        "cluster.address": "elsewhere:6379",
        "cluster.workers": 64,
        "storage.runs": "s3://bucket/runs",
        "corpus.root": "/elsewhere",
        "tracking.patience_seconds": 9.0,
        "tracking.uri": "http://elsewhere:5000",
        "search.seconds": 10.0,
        "search.num_trials": 500,
    }
    assert deciding(replaced(small, elsewhere)) == deciding(small)
    for name, value in {"cluster.cpus_per_fold": 2.0, "seed": 1, "loss.mu1": 0.1}.items():
        assert deciding(replaced(small, {name: value})) == deciding(small) | {name: value}
