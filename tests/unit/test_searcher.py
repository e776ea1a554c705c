"""What proposes and what stops trials, without Ray: curve, searcher, journal, rungs of ASHA."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState
from raysys.search.curve import MeanCurve
from raysys.search.trial import FIRST
from raysys.search.tuner import milestones
from raysys.training.task import EpochRecord

from raysys.config import Config, Distribution, SearchConfig
from raysys.search.journal import CurvePoint, Journal, TrialRecord, trial_name
from raysys.search.searcher import StudySearcher
from raysys.search.space import make_space
from raysys.storage import Folder

MU = {"loss.mu1": Distribution(0.0, 1.0), "loss.mu2": Distribution(0.0, 1.0)}


def record(epoch: int, ua: float) -> EpochRecord:
    return EpochRecord(epoch, 0.0, {"ua": ua, "loss": 1 - ua}, 1.0)


def test_the_curve_is_the_mean_of_epochs_that_all_folds_have_reached():
    curve = MeanCurve(2, "ua")
    for epoch, ua in enumerate((0.2, 0.6, 0.4), start=1):
        curve.add(0, record(epoch, ua))
    assert curve.fresh(before=9) == []
    curve.add(1, record(1, 0.4))
    (point,) = curve.fresh(before=9)
    assert (point.epoch, point.val["ua"]) == (1, pytest.approx(0.3))
    curve.add(1, record(2, 0.2))
    (point,) = curve.fresh(before=9)
    assert point.val["ua"] == pytest.approx(0.4)
    assert point.best["ua"] == pytest.approx((0.6 + 0.4) / 2)  # of each fold's best epoch
    assert curve.fresh(before=9) == []


def test_a_fold_that_ended_early_counts_with_its_last_and_best_epoch():
    curve = MeanCurve(2, "ua")
    curve.add(0, record(1, 0.8))
    curve.add(0, record(2, 0.6))
    curve.end(0)
    for epoch in (1, 2, 3):
        curve.add(1, record(epoch, 0.1 * epoch))
    points = curve.fresh(before=3)
    assert [p.epoch for p in points] == [1, 2]  # the last epoch is held back
    last = curve.last()
    assert last.epoch == 3
    assert last.val["ua"] == pytest.approx((0.6 + 0.3) / 2)
    assert last.best["ua"] == pytest.approx((0.8 + 0.3) / 2)


def point(epoch: int, ua: float, *, final: bool = False, failure: str = "") -> dict[str, Any]:
    """A result as Tune hands it on: flat."""
    return {
        "epoch": epoch, "final": final, "failure": failure, FIRST: ua, "objectives/ua": ua,
    }  # fmt: skip


def searcher(number: int = 8, records: Any = (), seed: int = 3) -> StudySearcher:
    space = make_space(Config(search=SearchConfig(space=MU)))
    return StudySearcher(
        space, ["ua"], seed=seed, numbers=range(number), records=records,
        points=space.published_points(),
    )  # fmt: skip


def score_of(values: dict[str, Any]) -> float:
    return 1 - (values["loss.mu1"] - 0.2) ** 2 - (values["loss.mu2"] - 0.5) ** 2


def run(search: StudySearcher, stop: int | None = None) -> list[TrialRecord]:
    """Do what Tune does with concurrency 1: odd trials are stopped, trial 4 fails."""
    records = []
    while search.left and (stop is None or len(records) < stop):
        proposal = search.suggest("id")
        number, score = proposal["number"], score_of(proposal["values"])
        curve = [CurvePoint(epoch, {"ua": score * epoch / 3}, {}) for epoch in (1, 2)]
        search.on_trial_result("id", point(1, curve[0].objectives["ua"]))
        if number == 4:
            state, last = "FAILED", point(0, 0.0, failure="NaN")
        elif number % 2:
            state, last = "PRUNED", point(2, curve[1].objectives["ua"])
        else:
            search.on_trial_result("id", point(2, curve[1].objectives["ua"]))
            state, last = "COMPLETE", point(3, score, final=True)
        search.on_trial_complete("id", last)
        records.append(
            TrialRecord(
                trial_name(number), number, 1, proposal["values"], proposal["params"], state,
                curve, {"ua": score},
            )
        )  # fmt: skip
    return records


def test_stopped_trials_reach_optuna_as_pruned_and_failed_ones_as_failed():
    search = searcher()
    run(search)
    states = [trial.state for trial in search.study.trials]
    expected = {1: TrialState.PRUNED, 3: TrialState.PRUNED, 5: TrialState.PRUNED}
    expected |= {7: TrialState.PRUNED, 4: TrialState.FAIL}
    assert states == [expected.get(k, TrialState.COMPLETE) for k in range(8)]
    assert search.study.trials[1].intermediate_values.keys() == {1, 2}
    assert search.study.trials[0].user_attrs["name"] == "trial_000"
    assert search.suggest("id") == "FINISHED"


@pytest.mark.parametrize("ended", [0, 1, 3, 6])
def test_a_resumed_study_proposes_what_an_undisturbed_one_would(ended: int):
    whole = run(searcher(12))
    before = run(searcher(12), stop=ended + 1)
    before[-1] = replace(before[-1], state="RUNNING", curve=[], scores={})
    after = run(searcher(12, records=before))
    assert [r.params for r in before[:-1] + after] == [r.params for r in whole]
    assert [r.values for r in before[:-1] + after] == [r.values for r in whole]


def test_another_seed_proposes_other_trials_after_the_published_ones():
    first, second = run(searcher(5, seed=3)), run(searcher(5, seed=4))
    assert first[0].values == second[0].values
    assert first[2].values != second[2].values


def test_a_score_that_is_no_number_fails_the_trial():
    search = searcher()
    search.suggest("id")
    search.on_trial_complete("id", point(3, float("nan"), final=True))
    assert search.study.trials[0].state == TrialState.FAIL


def test_the_journal_gives_back_what_was_written(tmp_path: Path):
    journal = Journal(Folder(str(tmp_path)))
    values = {"model.modalities": ("audio", "text"), "loss.mu1": 0.1 + 0.2}
    records = [
        TrialRecord(trial_name(k), k, 1, values, {"loss.mu1": 0.1 + 0.2}, curve=[
            CurvePoint(1, {"ua": 1 / 3}, {"ua": 0.25})
        ])
        for k in (10, 2)
    ]  # fmt: skip
    for one in records:
        journal.write(one)
    (tmp_path / "trials" / "untuned").mkdir()
    assert journal.read() == [records[1], records[0]]


def test_milestones_are_ashas_rungs():
    from ray.tune.schedulers import ASHAScheduler

    for grace, factor, most in ((5, 3, 60), (1, 2, 9), (4, 4, 16), (3, 3, 81)):
        config = SearchConfig(grace_epochs=grace, reduction_factor=factor)
        scheduler = ASHAScheduler(
            metric="m", mode="max", max_t=most, grace_period=grace, reduction_factor=factor
        )
        rungs = {int(epoch) for epoch, _ in scheduler._brackets[0]._rungs}
        assert set(milestones(config, most)) == {epoch for epoch in rungs if epoch < most}
    assert milestones(SearchConfig(scheduler="none"), 60) == ()


def test_asha_is_told_of_the_trials_that_had_ended():
    from raysys.search.tuner import _scheduler

    config = SearchConfig(space=MU, grace_epochs=2, reduction_factor=2)
    before = [
        TrialRecord(trial_name(k), k, 1, {}, {}, "COMPLETE",
                    [CurvePoint(e, {"ua": 0.9}, {}) for e in (1, 2)], {"ua": 0.9})
        for k in range(3)
    ]  # fmt: skip
    for records, decision in (([], "CONTINUE"), (before, "STOP")):
        scheduler = _scheduler(config, 8, records)
        bad = SimpleNamespace(trial_id="new")
        scheduler.on_trial_add(None, bad)
        assert scheduler.on_trial_result(None, bad, {"epoch": 2, FIRST: 0.1}) == decision
