"""A nested search: what is chosen for a fold knows nothing of its test part, and a killed one goes on to the same."""

import itertools
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import tests.here as here
from raysys.commands.cross_validate import cross_validate
from raysys.commands.tune import tune
from raysys.config import Config
from raysys.corpus.folds import inner_folds
from raysys.corpus.table import Corpus
from raysys.errors import ConfigError
from raysys.report.results import StudyResult
from raysys.running import plan
from raysys.settings import replaced
from tests.conftest import corpus_of, folds_of
from tests.here import do_folds_here, numbers, small_study, tiny

TRIALS = 2


def nested_study(small: Config) -> Config:
    return small_study(small, num_trials=TRIALS, nested=True, inner_folds=2, objectives=("ua",))


def run(config: Config, resume: bool | None = None) -> tuple[StudyResult, str]:
    console = Console(file=StringIO(), width=160)
    return tune(config, resume=resume, console=console), console.file.getvalue()  # type: ignore[attr-defined]


def test_inner_folds_are_whole_groups_of_what_the_fold_does_not_test(small: Config, tmp_path: Path):
    corpus = corpus_of(small, tmp_path)
    for fold in folds_of(corpus, small.folds):
        inner = inner_folds(
            fold, corpus, corpus.labels, small.folds, n_splits=2, first=5 + 2 * fold.index
        )
        assert [one.index for one in inner] == [5 + 2 * fold.index, 6 + 2 * fold.index]
        rest = {*fold.train.tolist(), *fold.val.tolist()}
        held = [set(one.val.tolist()) for one in inner]
        assert held[0] | held[1] == rest
        assert not held[0] & held[1]
        sessions = np.array(corpus.column("session"))
        for one in inner:
            assert {*one.train.tolist(), *one.val.tolist()} == rest
            assert not set(sessions[one.train]) & set(sessions[one.val])


def test_each_choice_is_tested_once_on_the_fold_that_it_knows_nothing_of(
    small: Config, monkeypatch: pytest.MonkeyPatch
):
    do_folds_here(monkeypatch)
    config = nested_study(small)
    result, said = run(config)
    found, n_folds = result.nested, len(result.test.folds)
    assert found is not None
    assert [choice.fold for choice in found.choices] == list(range(n_folds))
    assert found.trainings == n_folds * ((TRIALS + 1) * 2 + 1)
    assert f"up to {found.trainings} trainings of folds besides the study's own" in said
    for choice in found.choices:
        alone = replaced(tiny(small), {"name": f"alone_{choice.fold}", **choice.values})
        again = cross_validate(alone, resume=None, console=Console(quiet=True))
        expected = again.folds[choice.fold].test
        for name, score in found.test.folds[choice.fold].items():
            assert score == expected[name]
    for name in ("nested search", "nested - untuned", "chosen fold by fold"):
        assert name in said
    mean = np.mean([one["ua"] for one in found.test.folds])
    assert found.test.mean["ua"] == pytest.approx(mean)


@pytest.mark.proof("running", "search")
def test_labels_of_a_test_part_change_nothing_of_its_choice(
    small: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The trials of fold 0's study, to the last digit, with other labels where fold 0 tests."""
    do_folds_here(monkeypatch)
    config = nested_study(small)
    corpus = corpus_of(config, tmp_path)
    tested = folds_of(corpus, config.folds)[0].test
    before, _ = run(config)
    exchange_labels(monkeypatch, corpus, tested)
    after, _ = run(replaced(config, {"name": "changed"}))
    runs = Path(config.storage.runs)
    records = [
        sorted((runs / name / "nested_0/trials").glob("nested_0_trial_*/trial.json"))
        for name in ("study", "changed")
    ]
    assert len(records[0]) == TRIALS
    for one, other in zip(*records, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert before.nested is not None
    assert after.nested is not None
    assert before.nested.choices[0] == after.nested.choices[0]
    assert before.test.folds[1] != after.test.folds[1]  # the other folds have learnt from them


def exchange_labels(monkeypatch: pytest.MonkeyPatch, corpus: Corpus, rows: np.ndarray) -> None:
    """Have the corpus read with two emotions exchanged in some rows."""
    read, (one, other) = plan.read_corpus, corpus.emotions[:2]
    chosen = {corpus.utterances[k].utterance_id for k in rows}

    def exchanged(*arguments: Any, **named: Any) -> Any:
        found = read(*arguments, **named)
        turned = {one: other, other: one}
        return replace(
            found,
            utterances=tuple(
                replace(row, label=turned.get(row.label, row.label))
                if row.utterance_id in chosen
                else row
                for row in found.utterances
            ),
        )

    monkeypatch.setattr(plan, "read_corpus", exchanged)


class Killed(BaseException):
    """What ends a command at once."""


OFTEN = [
    # in the study, then in trials, choices and tests of its folds
    pytest.param(after, marks=pytest.mark.proof("running", "commands", "search", "trials"))
    for after in (3, 16, 20, 22, 25, 30, 41)
]


@pytest.mark.parametrize("after", OFTEN)
def test_a_nested_search_that_was_killed_goes_on_to_the_same_numbers(
    after: int, small: Config, monkeypatch: pytest.MonkeyPatch
):
    do_folds_here(monkeypatch)
    config = nested_study(small)
    whole, _ = run(config)
    second = replaced(config, {"name": "again", "storage.runs": f"{config.storage.runs}/other"})
    poll = here.HerePool.poll
    calls = itertools.count()

    def dying(pool: Any, wait_seconds: float = 0.0) -> Any:
        if next(calls) == after:
            raise Killed
        return poll(pool, wait_seconds)

    monkeypatch.setattr(here.HerePool, "poll", dying)
    with pytest.raises(Killed):
        run(second)
    monkeypatch.setattr(here.HerePool, "poll", poll)
    found, _ = run(second, resume=True)
    assert numbers(found) == numbers(whole)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"search.rounds": 2, "loss.omega": 1.0}, "set --search.rounds 1"),
        ({"search.seconds": 5.0}, "set --search.seconds 0"),
        ({"training.start_from": "x"}, "leave it out with search.nested"),
    ],
)
def test_what_does_not_go_with_a_nested_search_is_refused(
    small: Config, values: dict[str, Any], told: str
):
    with pytest.raises(ConfigError, match=told):
        run(replaced(nested_study(small), values))
