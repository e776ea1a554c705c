"""What proposes and what stops trials, without Ray: curve, searcher, journal, rungs of ASHA."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from raysys.config import Config
from raysys.config.running import Distribution, SearchConfig
from raysys.report.results import TrialRecord
from raysys.search.journal import Journal, trial_name
from raysys.search.scheduler import Scheduler, milestones
from raysys.search.searcher import StudySearcher
from raysys.search.space import make_space
from raysys.storage import Folder
from raysys.tasks.task import Metric
from raysys.training.records import EpochRecord
from raysys.trials.curve import MeanCurve, Point

UA = Metric("ua", "UA")
MU = {"loss.mu1": Distribution(0.0, 1.0), "loss.mu2": Distribution(0.0, 1.0)}


def record(epoch: int, ua: float) -> EpochRecord:
    return EpochRecord(epoch, 0.0, {"ua": ua, "loss": 1 - ua}, 1.0)


def test_the_curve_is_the_mean_of_epochs_that_all_folds_have_reached():
    curve = MeanCurve(2, UA)
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
    curve = MeanCurve(2, UA)
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


def point(epoch: int, ua: float, *, done: bool = False) -> dict[str, Any]:
    """A result as the searcher hears it."""
    return {"epoch": epoch, "done": done, "ua": ua}


def searcher(number: int = 8, records: Any = (), seed: int = 3) -> StudySearcher:
    space = make_space(Config(search=SearchConfig(space=MU)))
    return StudySearcher(
        space, [UA], seed=seed, numbers=range(number), records=records,
        points=space.published_points(),
    )  # fmt: skip


def score_of(values: dict[str, Any]) -> float:
    return 1 - (values["loss.mu1"] - 0.2) ** 2 - (values["loss.mu2"] - 0.5) ** 2


def run(search: StudySearcher, stop: int | None = None) -> list[TrialRecord]:
    """Do what a study does with one trial in flight: odd trials are stopped, trial 4 fails."""
    records = []
    while stop is None or len(records) < stop:
        proposal = search.suggest("id")
        if not isinstance(proposal, dict):
            break
        number, score = proposal["number"], score_of(proposal["values"])
        curve = tuple(Point(epoch, {}, {"ua": score * epoch / 3}, 0.0) for epoch in (1, 2))
        search.on_trial_result("id", point(1, curve[0].best["ua"]))
        state = "FAILED" if number == 4 else "PRUNED" if number % 2 else "COMPLETE"
        if state == "COMPLETE":
            search.on_trial_result("id", point(2, curve[1].best["ua"]))
        last = {
            "FAILED": None,
            "PRUNED": point(2, curve[1].best["ua"]),
            "COMPLETE": point(3, score, done=True),
        }[state]
        search.on_trial_complete("id", last, error=state == "FAILED")
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
    before[-1] = replace(before[-1], state="RUNNING", curve=(), scores={})
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
    search.on_trial_complete("id", point(3, float("nan"), done=True))
    assert search.study.trials[0].state == TrialState.FAIL


def test_the_journal_gives_back_what_was_written(tmp_path: Path):
    journal = Journal(Folder(str(tmp_path)))
    values = {"model.modalities": ("audio", "text"), "loss.mu1": 0.1 + 0.2}
    records = [
        TrialRecord(trial_name(k), k, 1, values, {"loss.mu1": 0.1 + 0.2}, curve=(
            Point(1, {"ua": 0.25}, {"ua": 1 / 3}, 0.5),
        ))
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
    config = SearchConfig(space=MU, grace_epochs=2, reduction_factor=2)
    good = tuple(Point(epoch, {}, {"ua": 0.9}, 0.0) for epoch in (1, 2))
    before = [
        TrialRecord(trial_name(k), k, 1, {}, {}, "COMPLETE", good, {"ua": 0.9}) for k in range(3)
    ]
    for records, stops in (([], False), (before, True)):
        scheduler = Scheduler(config, UA, max_epochs=8, records=records)
        scheduler.add("new")
        assert scheduler.stops("new", 2, {"ua": 0.1}) is stops


def test_asha_turns_a_score_of_which_less_is_better():
    config = SearchConfig(space=MU, grace_epochs=1, reduction_factor=2)
    scheduler = Scheduler(config, Metric("loss", "loss", higher_is_better=False), max_epochs=8)
    for trial, loss, stops in (("a", 0.1, False), ("b", 0.9, True), ("c", 0.05, False)):
        scheduler.add(trial)
        assert scheduler.stops(trial, 1, {"loss": loss}) is stops
