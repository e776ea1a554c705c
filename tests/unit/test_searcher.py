"""What proposes and what stops trials, without Ray: curve, searcher, journal, rungs of ASHA."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from raysys.config import Config
from raysys.config.running import Distribution, SearchConfig
from raysys.report.results import TrialRecord
from raysys.search.dashboard import Dashboard
from raysys.search.journal import Journal, trial_name
from raysys.search.scheduler import Scheduler, make_scheduler, rungs
from raysys.search.searcher import StudySearcher, importances
from raysys.search.space import make_space
from raysys.storage import Folder
from raysys.tasks.task import Metric
from raysys.training.records import EpochRecord, FoldResult
from raysys.trials.curve import MeanCurve, Point
from raysys.trials.trial import Trial, TrialOutcome

UA = Metric("ua", "UA")
FIRST, SECOND = (0, 0), (0, 1)
MU = {"loss.mu1": Distribution(0.0, 1.0), "loss.mu2": Distribution(0.0, 1.0)}


def record(epoch: int, ua: float) -> EpochRecord:
    return EpochRecord(epoch, 0.0, {"ua": ua, "loss": 1 - ua}, 1.0)


def test_the_curve_is_the_mean_of_epochs_that_all_folds_have_reached():
    curve = MeanCurve([FIRST, SECOND], UA)
    for epoch, ua in enumerate((0.2, 0.6, 0.4), start=1):
        curve.add(FIRST, record(epoch, ua))
    assert curve.fresh(before=9) == []
    curve.add(SECOND, record(1, 0.4))
    (point,) = curve.fresh(before=9)
    assert (point.epoch, point.val["ua"]) == (1, pytest.approx(0.3))
    curve.add(SECOND, record(2, 0.2))
    (point,) = curve.fresh(before=9)
    assert point.val["ua"] == pytest.approx(0.4)
    assert point.best["ua"] == pytest.approx((0.6 + 0.4) / 2)  # of each fold's best epoch
    assert curve.fresh(before=9) == []


def test_a_fold_that_ended_early_counts_with_its_last_and_best_epoch():
    curve = MeanCurve([FIRST, SECOND], UA)
    curve.add(FIRST, record(1, 0.8))
    curve.add(FIRST, record(2, 0.6))
    curve.end(FIRST)
    for epoch in (1, 2, 3):
        curve.add(SECOND, record(epoch, 0.1 * epoch))
    points = curve.fresh(before=3)
    assert [p.epoch for p in points] == [1, 2]  # the last epoch is held back
    last = curve.last()
    assert last.epoch == 3
    assert last.val["ua"] == pytest.approx((0.6 + 0.3) / 2)
    assert last.best["ua"] == pytest.approx((0.8 + 0.3) / 2)


def test_a_trial_that_keeps_last_epochs_scores_as_they_do():
    curve = MeanCurve([FIRST, SECOND], None)
    for epoch, ua in enumerate((0.2, 0.6, 0.4), start=1):
        curve.add(FIRST, record(epoch, ua))
        curve.add(SECOND, record(epoch, 0.1))
    assert curve.last().best["ua"] == curve.so_far()["ua"] == pytest.approx((0.4 + 0.1) / 2)


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


def proposals(search: StudySearcher) -> list[dict[str, Any]]:
    found = []
    while isinstance(proposal := search.suggest("id"), dict):
        found.append(proposal)
        score = float(proposal["values"]["training.batch_size"])
        search.on_trial_complete("id", point(1, score, done=True))
    return found


def small_space(records: Sequence[TrialRecord] = ()) -> StudySearcher:
    sizes = {"training.batch_size": Distribution(choices=(8, 16, 32, 64))}
    both = {**sizes, "model.modalities": Distribution(choices=(("audio",), ("audio", "text")))}
    space = make_space(Config(search=SearchConfig(space=both)))
    return StudySearcher(space, [UA], seed=3, numbers=range(20), records=records)


def test_a_configuration_is_proposed_once_until_there_is_no_other(tmp_path: Path):
    search = small_space()
    found = proposals(search)
    assert len({repr(one["values"]) for one in found}) == len(found) == 8
    assert search.is_exhausted
    journal = Journal(Folder(str(tmp_path)))
    for number, one in enumerate(found[:5]):
        score = {"ua": float(one["values"]["training.batch_size"])}
        name, values, params = trial_name(number), one["values"], one["params"]
        journal.write(TrialRecord(name, number, 1, values, params, "COMPLETE", (), score))
    again = proposals(small_space(journal.read()))
    assert [one["values"] for one in again] == [one["values"] for one in found[5:]]


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


def test_folds_wait_for_each_other_at_ashas_rungs():
    from ray.tune.schedulers import ASHAScheduler

    for grace, factor, most in ((5, 3, 60), (1, 2, 9), (4, 4, 16), (3, 3, 81)):
        config = SearchConfig(grace_epochs=grace, reduction_factor=factor)
        scheduler = ASHAScheduler(
            metric="m", mode="max", max_t=most, grace_period=grace, reduction_factor=factor
        )
        theirs = {int(epoch) for epoch, _ in scheduler._brackets[0]._rungs}
        assert set(rungs(config, most)) == {epoch for epoch in theirs if epoch < most}
        assert make_scheduler(config, UA, max_epochs=most, chooser=UA).milestones == rungs(
            config, most
        )
    none = SearchConfig(scheduler="none")
    assert make_scheduler(none, UA, max_epochs=60, chooser=UA).milestones == ()


def test_asha_is_told_of_the_trials_that_had_ended():
    config = SearchConfig(space=MU, grace_epochs=2, reduction_factor=2)
    good = tuple(Point(epoch, {}, {"ua": 0.9}, 0.0) for epoch in (1, 2))
    before = [
        TrialOutcome(Trial(trial_name(k), Config()), "COMPLETE", (), {"ua": 0.9}, good)
        for k in range(3)
    ]
    for ended, stops in (([], False), (before, True)):
        scheduler = make_scheduler(config, UA, max_epochs=8, chooser=UA, ended=ended)
        scheduler.add("new")
        assert scheduler.stops_at("new", 2, {"ua": 0.1}) is stops


def test_asha_turns_a_score_of_which_less_is_better():
    config = SearchConfig(space=MU, grace_epochs=1, reduction_factor=2)
    loss = Metric("loss", "loss", higher_is_better=False)
    scheduler = make_scheduler(config, loss, max_epochs=8, chooser=loss)
    for trial, loss, stops in (("a", 0.1, False), ("b", 0.9, True), ("c", 0.05, False)):
        scheduler.add(trial)
        assert scheduler.stops_at(trial, 1, {"loss": loss}) is stops


def histories(*folds: list[float]) -> dict[tuple[int, int], list[EpochRecord]]:
    """A trial's epochs, a list a fold."""
    return {
        (0, k): [record(epoch, ua) for epoch, ua in enumerate(fold, start=1)]
        for k, fold in enumerate(folds)
    }


def racing(complete: Any, *, chooser: Metric | None = UA, **search: Any) -> Scheduler:
    config = SearchConfig(space=MU, scheduler="race", grace_epochs=2, **search)
    ended = [
        TrialOutcome(
            Trial("t", Config()),
            "COMPLETE",
            tuple(FoldResult("t", k, 4, 4, h[-1].val, tuple(h), "") for (_, k), h in one.items()),
        )
        for one in complete
    ]
    return make_scheduler(config, UA, max_epochs=4, chooser=chooser, ended=ended)


BEST = histories([0.3, 0.5, 0.6, 0.8], [0.1, 0.3, 0.4, 0.6], [0.2, 0.4, 0.5, 0.7])
OTHER = histories([0.3, 0.4, 0.5, 0.7], [0.1, 0.2, 0.3, 0.48], [0.2, 0.3, 0.4, 0.57])
"""Behind by 0.1, 0.12 and 0.13 at the end: the folds agree to 0.015."""


def test_a_race_stops_what_is_behind_the_best_on_the_same_folds():
    race = racing([OTHER, BEST])
    first = (0, 0)
    assert race.in_turn
    behind = histories([0.2, 0.4, 0.5, 0.75], [], [])
    assert race.stops_after(behind, {first})  # 0.05 behind on the fold where the best has 0.8
    level = histories([0.2, 0.4, 0.5, 0.79], [], [])
    assert not race.stops_after(level, {first})
    # A hard fold is no reason: 0.59 is below the best's mean, but level with it there.
    hard = histories([0.3, 0.5, 0.6, 0.8], [0.1, 0.3, 0.4, 0.59], [])
    assert not race.stops_after(hard, {first, (0, 1)})


def test_a_race_counts_the_epochs_that_are_kept():
    lucky = histories([0.3, 0.79, 0.5, 0.6], [], [])  # the best has 0.8 there
    assert not racing([OTHER, BEST]).stops_after(lucky, {(0, 0)})
    assert racing([OTHER, BEST], chooser=None).stops_after(lucky, {(0, 0)})


def test_a_race_looks_at_rungs_and_ends_only_and_needs_two_complete_trials():
    bad = histories([0.1, 0.1, 0.1], [], [])
    assert not racing([BEST]).stops_after(bad, {(0, 0)})
    race = racing([OTHER, BEST])
    assert not race.stops_after(histories([0.1], [], []), set())  # before the first rung
    assert race.stops_after(histories([0.1, 0.1], [], []), set())  # at it
    assert not race.stops_after(bad, set())  # between rungs
    assert race.stops_after(bad, {(0, 0)})  # ended early
    assert not racing([OTHER, BEST], race_p=0.0001).stops_after(
        histories([0.2, 0.45, 0.5, 0.77], [], []), {(0, 0)}
    )


def test_a_study_on_steps_is_told_again_and_has_importances():
    """A journal may hold what Optuna counted to, which its own range refuses."""
    item = Distribution(0.0, 0.3, step=0.1)
    space = make_space(Config(search=SearchConfig(space={"loss.mu1": item})))
    records = [
        TrialRecord(
            trial_name(k), k, 1, {"loss.mu1": v}, {"loss.mu1": v}, "COMPLETE", scores={"ua": v}
        )
        for k, v in enumerate((0.0, 0.1, 0.2, 0.1 * 3))
    ]
    assert set(importances(space, records, UA)) == {"loss.mu1"}
    searcher = StudySearcher(space, [UA], seed=0, numbers=range(5), records=records)
    assert [trial.value for trial in searcher.study.trials] == [0.0, 0.1, 0.2, 0.1 * 3]


def opened(file: Path) -> optuna.Study:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(file)))
    return optuna.load_study(study_name="study", storage=storage)


def test_ended_trials_are_in_optunas_own_journal_each_once(tmp_path: Path):
    file = tmp_path / "optuna.log"
    space = make_space(Config(search=SearchConfig(space=MU)))

    def search(records: Sequence[TrialRecord] = ()) -> StudySearcher:
        return StudySearcher(
            space, [UA], seed=3, numbers=range(6), records=records, dashboard=Dashboard(file)
        )

    first = search()
    for k in range(3):
        proposal = first.suggest(str(k))
        assert isinstance(proposal, dict)
        first.on_trial_complete(str(k), point(4, 0.1 * k, done=True))
    first.suggest("open")
    trials = opened(file).trials
    assert [one.user_attrs["name"] for one in trials] == [trial_name(k) for k in range(3)]
    assert [one.value for one in trials] == pytest.approx([0.0, 0.1, 0.2])
    again = search()  # a resumed command
    again.suggest("0")
    again.on_trial_complete("0", point(4, 0.0, done=True))
    assert len(opened(file).trials) == 3
    file.write_bytes(b"damaged")
    again.suggest("1")
    again.on_trial_complete("1", point(4, 0.5, done=True))  # the study goes on
    again.suggest("2")
    again.on_trial_complete("2", point(4, 0.6, done=True))
    assert len(opened(file).trials) == 3
