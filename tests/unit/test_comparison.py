"""Runs beside each other: settings, paired differences, emotions, groups; and what cannot be compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import jobs.compare
from raysys.config import Config
from raysys.errors import ConfigError
from raysys.report.comparison import comparison_lines, difference, standing_of
from raysys.report.results import TrialResult, read_result
from raysys.report.statistics import paired_difference
from raysys.storage import Folder
from raysys.tasks.exhibits import Table


def test_the_difference_is_that_of_the_folds_means_over_seeds(trained: Config):
    runs = Folder(trained.storage.runs)
    one, other = (standing_of(runs / name) for name in ("small", "plain"))
    means = []
    for name in ("small", "plain"):
        result = read_result(runs / name)
        assert isinstance(result, TrialResult)
        means.append(
            [
                np.mean([fold.test["ua"] for fold in result.folds if fold.fold == k])
                for k in range(5)
            ]
        )
    folds = (runs / "small").read_json("folds.json")
    shared = np.mean([len(fold["test"]) / len(fold["train"]) for fold in folds])
    expected = paired_difference(*means, shared=float(shared))
    found = difference(one, other, "ua")
    assert (found.mean, found.low, found.high) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )
    assert found.low < found.mean < found.high


def test_what_differs_is_named_and_what_is_the_same_is_not(trained: Config):
    runs = Folder(trained.storage.runs)
    tables = comparison_lines([standing_of(runs / name) for name in ("small", "plain")])
    settings = tables[0]
    assert isinstance(settings, Table)
    assert {row[0] for row in settings.rows} == {"seed", "training.seeds"}
    titles = [one.title for one in tables if isinstance(one, Table)]
    assert any("by emotion" in title for title in titles)
    assert any("by gender" in title for title in titles)
    same = standing_of(runs / "small")
    assert comparison_lines([same, same])[0] == (
        "The runs have the same settings: what differs is code, data, or nothing."
    )


def test_a_refit_is_compared_by_the_folds_that_it_stands_for(trained: Config):
    runs = Folder(trained.storage.runs)
    own, refit = standing_of(runs / "small"), standing_of(runs / "small-refit")
    assert "by the folds of small" in refit.name
    assert difference(own, refit, "ua").mean == 0


def test_the_command_prints_and_writes_a_page(
    trained: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    page = tmp_path / "page.html"
    places = ["small", "plain", "--runs", trained.storage.runs, "--page", str(page)]
    assert jobs.compare.main(places) == 0
    assert "plain minus small: UA" in capsys.readouterr().out
    assert "plain - small" in page.read_text(encoding="utf-8")


def test_other_test_parts_are_refused(trained: Config):
    own = standing_of(Folder(trained.storage.runs) / "small")
    with pytest.raises(ConfigError, match="test other utterances"):
        comparison_lines([own, replace(own, tests=own.tests[:2])])
