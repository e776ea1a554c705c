"""The report of a run: one page whose figures are those of result.json, without anything from elsewhere."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

import jobs.report
from raysys.commands.ablate import ablate
from raysys.commands.tune import tune
from raysys.config import Config
from raysys.config.running import AblationConfig, Variant
from raysys.report.page import Section, page
from raysys.report.results import TrialResult, read_result
from raysys.storage import Folder
from raysys.tasks.exhibits import Table
from tests.here import do_folds_here, small_study, tiny


class Reader(HTMLParser):
    """Headings, cells, what is fetched, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.cells: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.fetched += [
            v for k in ("src", "href") if (v := known.get(k) or "") and v[0] not in "#d"
        ]
        if tag not in ("meta", "link", "br", "!doctype"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if {"td", "button"} & set(self.open[-1:]):
            self.cells.append(data)


def report_of(folder: Folder) -> Reader:
    text = folder.read_bytes("report.html").decode()
    assert len(text) < 3_000_000
    read = Reader(text)
    assert read.open == []
    assert read.fetched == []
    return read


def test_a_cross_validation_s_page_has_its_figures(trained: Config):
    folder = Folder(trained.storage.runs) / "small"
    read, result = report_of(folder), read_result(folder)
    assert isinstance(result, TrialResult)
    wanted = ["Scores", "Details", "By group", "Confusions", "Reliability of the probabilities"]
    wanted += ["Similarity of emotions", "Cost", "Audit", "Do it again", "Predict with it"]
    assert [name for name in read.headings if name in wanted] == wanted
    for name in ("wa", "ua", "weighted_f1"):
        for part in ("test", "baseline"):
            assert f"{100 * result.mean[part][name]:.1f}" in read.cells
    for row in result.summary.confusion:
        for count in row:
            assert str(count) in read.cells
    average = result.summary.similarity["average"]
    assert f"{average[0][1]:.2f}" in read.cells
    markdown = folder.read_bytes("report.md").decode()
    assert f"{100 * result.mean['test']['ua']:.1f}" in markdown.splitlines()[2]


def test_a_study_s_page_has_every_trial_and_its_parallel_coordinates(
    small: Config, monkeypatch: pytest.MonkeyPatch
):
    do_folds_here(monkeypatch)
    result = tune(small_study(small, confirm_seeds=1), resume=None, console=Console(quiet=True))
    folder = Folder(small.storage.runs) / "study"
    read = report_of(folder)
    assert "Choice, claim and confirmation" in read.headings
    text = folder.read_bytes("report.html").decode()
    [found] = re.findall(r'<script type="application/json">(.*?)</script>', text)
    content = json.loads(found)
    assert [one["name"] for one in content["axes"]] == ["mu1", "val loss"]
    assert len(content["lines"]) == len(result.trials) == 2
    for trial in result.trials:
        assert trial.name in read.cells
    assert sorted(line["worth"] for line in content["lines"]) == [0, 1]


def test_an_ablation_s_page_has_its_table_with_published_figures(
    small: Config, monkeypatch: pytest.MonkeyPatch
):
    do_folds_here(monkeypatch)
    variants = {"one": Variant(published=66.7), "two": Variant({"loss.mu1": 0.2}, published=61.2)}
    ablation = AblationConfig(variants=variants, source="a paper", metric="ua")
    config = replace(tiny(small), name="both", ablation=ablation)
    ablate(config, resume=None, console=Console(quiet=True))
    read = report_of(Folder(small.storage.runs) / "both")
    assert read.headings[0] == "Variants"
    assert any("66.7" in cell for cell in read.cells)
    report_of(Folder(small.storage.runs) / "both" / "two")


def test_the_command_writes_the_same_page_again_and_elsewhere(
    trained: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before = (Folder(trained.storage.runs) / "plain").read_bytes("report.html")
    out = tmp_path / "plain.html"
    assert jobs.report.main(["plain", "--runs", trained.storage.runs, "--out", str(out)]) == 0
    assert out.read_bytes() == before
    assert "cltnet (audio + text) on demo: test UA" in capsys.readouterr().out
    runs = Folder(trained.storage.runs)
    page = (runs / "plain").read_bytes("report.html").decode()
    assert f"python -m jobs.cross_validate {trained.storage.runs}/plain/config.json" in page
    refit = (runs / "small-refit").read_bytes("report.html").decode()
    assert "python -m jobs.refit small<" in refit
    assert "never tested itself" in refit


def test_names_are_text_whatever_they_hold():
    table = Table("<b>title</b>", ("", "<i>"), [("<script>alert(1)</script>", "&")])
    found = page("<x>", ["</p>", "& more"], [Section("<h1>", [table, "a < b"])])
    assert "<script>alert" not in found
    assert "<b>title" not in found
    assert "a &lt; b" in found
    assert Reader(found).open == []
