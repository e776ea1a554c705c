"""Runs beside each other: settings, paired differences, emotions, groups; and what cannot be compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from rich.console import Console
from sklearn.metrics import recall_score

import jobs.compare
from raysys.commands.cross_validate import cross_validate
from raysys.config import Config
from raysys.corpus.folds import FoldsConfig
from raysys.errors import ConfigError
from raysys.report.comparison import comparison_lines, difference, standing_of
from raysys.report.results import TrialResult, read_result
from raysys.report.statistics import paired_difference
from raysys.storage import Folder
from raysys.tasks.exhibits import Table
from tests.here import do_folds_here, tiny


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


def test_one_test_part_has_an_interval_over_what_was_tested(
    small: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    do_folds_here(monkeypatch)
    folds = FoldsConfig(method="leave_one_group_out", groups="session", tested=(5,))
    one = replace(tiny(small), name="one", folds=folds)
    for config in (one, replace(one, name="other", seed=1)):
        cross_validate(config, resume=None, console=Console(quiet=True))
    assert jobs.compare.main(["one", "other", "--runs", small.storage.runs]) == 0
    said = capsys.readouterr().out
    truth, shares = [], []
    for name in ("other", "one"):
        table = pyarrow.parquet.read_table(f"{small.storage.runs}/{name}/predictions.parquet")
        truth = table["truth"].to_pylist()
        shares.append(table["predicted"].to_pylist())
    recalls = [recall_score(truth, one, average="macro") for one in shares]
    [line] = [line for line in said.splitlines() if "of the test part" in line]
    assert f"UA {100 * (recalls[0] - recalls[1]):+.1f} [" in line


def test_other_test_parts_are_refused(trained: Config):
    own = standing_of(Folder(trained.storage.runs) / "small")
    with pytest.raises(ConfigError, match="test other utterances"):
        comparison_lines([own, replace(own, tests=own.tests[:2])])
