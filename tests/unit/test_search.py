"""The parts of a study that need no Ray: space, curve, searcher, and what a result may say."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState
from scipy import stats

from raysys.config import Config, Distribution, LossConfig, SearchConfig, replaced
from raysys.corpus.folds import Fold
from raysys.errors import ConfigError
from raysys.search.curve import MeanCurve
from raysys.search.figures import study_figures
from raysys.search.journal import CurvePoint, Journal, TrialRecord, trial_name
from raysys.search.result import (
    Candidate,
    choose,
    choose_by_fold,
    honest_result,
    paired_difference,
    pareto_front,
)
from raysys.search.searcher import StudySearcher
from raysys.search.space import make_space
from raysys.search.trial import FIRST
from raysys.search.tuner import milestones
from raysys.storage import Folder
from raysys.training.predictions import Predictions, write_predictions
from raysys.training.task import EpochRecord, FoldResult

MU = {"loss.mu1": Distribution(0.0, 1.0), "loss.mu2": Distribution(0.0, 1.0)}


def study(space: dict[str, Distribution], **loss: float) -> Config:
    return Config(loss=LossConfig(**loss), search=SearchConfig(space=space))


def ranges(**settings: tuple[float, float]) -> dict[str, Distribution]:
    return {name.replace("__", "."): Distribution(*ends) for name, ends in settings.items()}


BAD = {
    "no space": ({}, "search.space is empty"),
    "unknown field": (ranges(loss__mu3=(0, 1)), "did you mean 'loss.mu2'"),
    "group": (ranges(loss=(0, 1)), "is a group"),
    "fixed": (ranges(folds__n_splits=(2, 5)), "the same for all trials"),
    "empty range": (ranges(loss__mu1=(0.4, 0.4)), "low 0.4 must be below high 0.4"),
    "outside": (ranges(loss__mu1=(-0.5, 0.4)), "loss.mu1 is -0.5, but must be in [0, 1]"),
    "no room": (ranges(loss__mu1=(0.6, 0.9), loss__mu2=(0.5, 0.8)), "1.4, but mu1 + mu2"),
    "half a range": ({"loss.mu1": Distribution(low=0.1)}, "needs low and high"),
    "both": ({"loss.mu1": Distribution(0, 1, choices=(0.5,))}, "choices and a range"),
    "log of 0": ({"loss.tau": Distribution(0, 1, log=True)}, "low 0 must be above 0"),
    "not whole": (ranges(training__batch_size=(1.5, 8)), "holds whole numbers"),
    "no number": (ranges(training__lr_schedule=(0, 1)), "give choices"),
    "wrong word": ({"training.lr_schedule": Distribution(choices=("cosin",))}, "mean 'cosine'"),
    "wrong type": ({"loss.mu1": Distribution(choices=("a",))}, "it is of type float"),
    "step of 0": ({"loss.mu1": Distribution(0, 1, step=0.0)}, "step 0 must be above 0"),
    "no step": ({"loss.mu1": Distribution(0, 1, step=float("nan"))}, "step nan must be above 0"),
    "long step": ({"loss.mu1": Distribution(0, 1, step=3.0)}, "at most high - low"),
    "uneven": ({"training.batch_size": Distribution(16, 65, step=16)}, "plus whole steps of 16"),
    "endless": ({"loss.gamma": Distribution(0, float("inf"))}, "must have an end"),
    "twice": ({"loss.mu1": Distribution(choices=(0.1, 0.1))}, "has a choice twice"),
    "stepped share": (
        {"loss.mu1": Distribution(0, 0.5), "loss.mu2": Distribution(0, 0.5, step=0.25)},
        "leave out its log and step",
    ),
    "no effect": (ranges(balance__sigma=(0.5, 1)), "does nothing while balance.method is 'off'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_space_is_refused_in_one_line(case: str):
    space, message = BAD[case]
    mu1 = 0.2 if {"loss.tau", "loss.gamma"} & set(space) else 0.0
    with pytest.raises(ConfigError) as caught:
        make_space(study(space, mu1=mu1))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mu2_beside_a_fixed_mu1_must_fit():
    with pytest.raises(ConfigError, match=r"the largest mu1 \+ mu2 is 1.3"):
        make_space(study(ranges(loss__mu2=(0.0, 0.6)), mu1=0.7))


@pytest.mark.parametrize("low", [0.0, 0.2])
def test_every_proposal_keeps_mu1_and_mu2_on_the_simplex(low: float):
    space = make_space(study(ranges(loss__mu1=(0.0, 1 - low), loss__mu2=(low, 1.0))))
    assert set(space.distributions) == {"loss.mu1", "loss.mu2_share"}
    random = np.random.default_rng(0)
    for mu1, share in random.uniform(size=(200, 2)):
        values = space.decode({"loss.mu1": mu1 * (1 - low), "loss.mu2_share": share})
        assert values["loss.mu1"] + values["loss.mu2"] <= 1 + 1e-9
        assert values["loss.mu2"] >= low
        space.config(values)  # the config accepts it
        assert space.decode(space.encode(values)) == pytest.approx(values)


def test_published_settings_are_the_first_points_where_they_lie_in_the_space():
    config = replaced(study({**MU, **ranges(balance__p=(0.5, 0.95))}), {"balance.method": "pdds"})
    first, second = make_space(config).published_points()
    assert first == {"loss.mu1": 0.4, "loss.mu2": 0.4, "balance.p": 0.8}
    assert second == {"loss.mu1": 0.3, "loss.mu2": 0.3, "balance.p": 0.5}
    assert not make_space(study(ranges(training__learning_rate=(1e-4, 1e-2)))).published_points()


def test_the_first_points_lie_on_the_grid():
    config = replaced(
        study(
            {
                "balance.p": Distribution(0.5, 0.9, step=0.1),
                "loss.mu1": Distribution(0, 1, step=0.25),
            }
        ),
        {"balance.method": "pdds"},
    )
    space = make_space(config)
    for point in space.published_points():
        for name, params in space.encode(point).items():
            assert space.distributions[name]._contains(params)
        assert space.decode(space.encode(point)) == point


def test_choices_of_lists_and_whole_numbers_survive_optuna():
    lists = Distribution(choices=(("audio",), ("audio", "text")))
    space = make_space(
        study({"model.modalities": lists, "training.batch_size": Distribution(16, 64, step=16)})
    )
    values = {"model.modalities": ("audio",), "training.batch_size": 48}
    assert space.decode(space.encode(values)) == values
    assert space.config(values).model.modalities == ("audio",)


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
    space = make_space(study(MU))
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


FOLDS = tuple(
    Fold(k, np.arange(30), np.arange(30, 40), np.arange(40, 50)) for k in range(3)
)  # fmt: skip


def candidate(name: str, folder: Path, val: list[float], right: list[int]) -> Candidate:
    """A configuration with given validation UA and, of ten test utterances, so many right in each fold."""
    folds = []
    for k, (ua, hits) in enumerate(zip(val, right, strict=True)):
        place = Folder(str(folder / name / f"fold_{k}"))
        labels = np.arange(10, dtype=np.int64) % 2
        predicted = np.where(np.arange(10) < hits, labels, 1 - labels)
        probabilities = np.eye(2, dtype=np.float32)[predicted]
        write_predictions(
            place, Predictions(np.zeros((10, 2), dtype=np.float32), probabilities, labels)
        )
        scores = {"ua": ua, "wa": ua, "weighted_f1": ua, "worst_recall": 1 - ua, "loss": 1 - ua}
        folds.append(FoldResult(name, k, 5, 3, scores, (), 1.0, place.uri))
    return Candidate(name, {"loss.mu1": 0.1}, 1, folds)


@pytest.fixture
def candidates(tmp_path: Path) -> list[Candidate]:
    return [
        candidate("untuned", tmp_path, [0.5, 0.5, 0.5], [5, 6, 5]),
        candidate("best", tmp_path, [0.6, 0.9, 0.6], [7, 8, 6]),
        candidate("peaked", tmp_path, [0.9, 0.1, 0.7], [4, 10, 9]),
    ]


def test_the_choice_is_by_mean_validation_and_the_nested_one_fold_by_fold(
    candidates: list[Candidate],
):
    assert choose(candidates, "ua").name == "best"
    assert choose(candidates, "loss").name == "best"  # minimised
    assert choose(candidates, "worst_recall").name == "untuned"
    assert [c.name for c in choose_by_fold(candidates, "ua")] == ["peaked", "best", "peaked"]


def test_the_result_opens_the_chosen_the_nested_and_the_untuned_test_scores(
    candidates: list[Candidate],
):
    result = honest_result(candidates, ["ua"], FOLDS)
    assert result["chosen"]["name"] == "best"
    assert [fold["wa"] for fold in result["test"]["folds"]] == [0.7, 0.8, 0.6]
    assert [fold["wa"] for fold in result["nested"]["folds"]] == [0.4, 0.8, 0.9]
    assert [fold["wa"] for fold in result["untuned"]["folds"]] == [0.5, 0.6, 0.5]
    assert result["difference"]["wa"]["mean"] == pytest.approx((0.2 + 0.2 + 0.1) / 3)


def test_test_predictions_of_other_trials_are_never_read(
    candidates: list[Candidate], tmp_path: Path
):
    for fold in ("fold_1",):  # "peaked" is not chosen there
        for file in (tmp_path / "peaked" / fold).iterdir():
            file.unlink()
    honest_result(candidates, ["ua"], FOLDS)


def test_the_choice_does_not_depend_on_test_predictions(tmp_path: Path):
    makers = [
        [candidate("a", tmp_path / d, [0.6] * 3, hits), candidate("b", tmp_path / d, [0.5] * 3, [5] * 3)]
        for d, hits in (("x", [0, 0, 0]), ("y", [10, 10, 10]))
    ]  # fmt: skip
    results = [honest_result(pair, ["ua"], FOLDS) for pair in makers]
    assert results[0]["chosen"]["name"] == results[1]["chosen"]["name"] == "a"


def test_the_interval_is_the_corrected_resampled_t():
    chosen, untuned = [0.6, 0.7, 0.65], [0.5, 0.65, 0.6]
    difference = np.array(chosen) - untuned
    spread = difference.std(ddof=1) * np.sqrt(1 / 3 + 10 / 30)
    half = stats.t.ppf(0.975, 2) * spread
    found = paired_difference(chosen, untuned, FOLDS)
    assert found["mean"] == pytest.approx(difference.mean())
    assert found["high"] - found["mean"] == pytest.approx(half)
    assert found["mean"] - found["low"] == pytest.approx(half)


def test_the_pareto_front_holds_what_nothing_beats(candidates: list[Candidate], tmp_path: Path):
    beaten = candidate("beaten", tmp_path, [0.4, 0.4, 0.4], [5, 5, 5])
    worse = replace(
        beaten,
        folds=[replace(f, val={**f.val, "worst_recall": 0.1}) for f in beaten.folds],
    )
    front = pareto_front([*candidates, worse], ["ua", "worst_recall"])
    assert "beaten" not in [c.name for c in front]
    assert {"best", "untuned"} <= {c.name for c in front}


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


@pytest.mark.parametrize("complete", [0, 1, 2, 6])
def test_pictures_are_drawn_from_few_trials_too(complete: int, tmp_path: Path):
    lists = Distribution(choices=(("audio",), ("audio", "text")))
    space = make_space(study({**MU, "model.modalities": lists}))
    records = []
    for k in range(8):
        values = {
            "loss.mu1": 0.1 * k,
            "loss.mu2": 0.02 * k**2 % 0.2,
            "model.modalities": ("audio",),
        }
        state = "COMPLETE" if k < complete else "PRUNED"
        params = space.encode(values)
        scores = {"ua": 0.5 + 0.01 * k, "loss": 1.0}
        records.append(TrialRecord(trial_name(k), k, 1, values, params, state, [], scores))
    records.append(TrialRecord(trial_name(8), 8, 1, records[0].values, records[0].params, "FAILED"))
    figures = study_figures(space, records, ["ua", "loss"], untuned=0.5)
    wanted = {"history", "parallel_coordinate", "pareto_front"} if complete else set()
    assert set(figures) == wanted | ({"importances", "contour"} if complete > 1 else set())
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 3000
