"""`jobs.compare`: finished runs side by side, in the terminal and as a page."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet
from rich.console import Console

from raysys.errors import ConfigError
from raysys.predicting.members import chosen_trial, run_of, trained_folds
from raysys.predictions import prediction_files, read_predictions
from raysys.report.comparison import comparison_lines, difference, main_metric, standing_of
from raysys.report.page import Section, page
from raysys.report.scores import Difference
from raysys.report.statistics import bootstrap_difference
from raysys.report.tables import Line, as_rich, interval
from raysys.report.utterances import PARQUET
from raysys.running.reporting import task_of
from raysys.storage import Folder
from raysys.tasks.resampling import units_of
from raysys.tasks.task import Metric


@dataclass(frozen=True)
class Comparison:
    """Runs on the same folds, the others against the first."""

    runs: tuple[str, ...]
    metric: str
    """Score that is compared, as in `result.metrics`."""
    differences: Mapping[str, Difference]
    """Name of each other run -> its test score minus the first one's, with the 95 % interval over folds."""
    blocks: tuple[Line, ...]
    """Tables and lines, as the terminal shows them."""
    lines: tuple[str, ...]
    """The differences for people."""

    def __str__(self) -> str:
        """The differences, a line each."""
        return "\n".join(self.lines)


def compare_runs(places: Sequence[str], *, runs: Folder) -> Comparison:
    """What differs between finished runs.

    Args:
        places: of two or more runs, as of `load_ensemble`.
        runs: folder of all runs.

    Raises:
        ConfigError: no such run, or two that cannot be compared.
        StorageError: one has not ended.
    """
    if len(places) < 2:
        raise ConfigError("give two runs or more: python -m jobs.compare RUN RUN")
    if len(set(places)) < len(places):
        raise ConfigError("give each run once")
    folders = [run_of(place, runs) for place in places]
    named = zip(folders, places, strict=True)
    found = [standing_of(folder, name=place.rstrip("/")) for folder, place in named]
    blocks, metric = comparison_lines(found), main_metric(found[0])
    apart = {other.name: difference(other, found[0], metric.name) for other in found[1:]}
    lines = [
        f"{name} minus {found[0].name}: {metric.title} {interval(metric, one)}"
        for name, one in apart.items()
    ]
    if len(found[0].tests) == 1:
        lines += [line for one in folders[1:] if (line := _tested(one, folders[0], metric))]
    names = tuple(one.name for one in found)
    return Comparison(names, metric.name, apart, tuple(blocks), tuple(lines))


def compare_command(places: Sequence[str], *, page: str, runs: Folder) -> None:
    """Print the comparison, and write its page.

    Args:
        places: see `compare_runs`.
        page: file to write; empty for none.
        runs: folder of all runs.

    Raises:
        ConfigError: see `compare_runs`; or a page that cannot be written.
        StorageError: one has not ended.
    """
    console = Console(highlight=False)
    if page:
        _check_page(page)
    found = compare_runs(places, runs=runs)
    for line in found.blocks:
        show = line if isinstance(line, str) else as_rich(line)
        console.print(show, markup=False, soft_wrap=isinstance(line, str))
    for said in found.lines:
        console.print(said, markup=False, soft_wrap=True)
    if page:
        write_page(page, "Comparison of runs", found.lines, [Section("", found.blocks)])
        console.print(f"page         {page}", markup=False, soft_wrap=True)
    console.print(f"next         python -m jobs.report {places[0]}", markup=False, soft_wrap=True)


def _tested(run: Folder, first: Folder, metric: Metric) -> str:
    """The difference with its interval over what was tested; empty where test predictions are not there."""
    opened, task = [], None
    for folder in (run, first):
        places = [place for _, _, place in trained_folds(chosen_trial(folder))]
        task = task or task_of(places[0])
        if not places[0].exists(prediction_files(task.stored)[0]):
            return ""
        opened.append([read_predictions(place, task.stored) for place in places])
    assert task is not None
    rows = pyarrow.parquet.read_table(io.BytesIO(run.read_bytes(PARQUET))).to_pylist()
    own = [row.get("dialogue") or "" for row in rows if row["seed"] == rows[0]["seed"]]
    units = units_of(own, "dialogues")
    ours, others = ([part.outputs for part in parts] for parts in opened)
    truth = opened[0][0].truth
    found = bootstrap_difference(task, ours, others, truth, units, names=[metric.name])
    told = interval(metric, found[metric.name])
    return f"{run.name} minus {first.name}, over the {units.over} of the test part: {metric.title} {told}"


def write_page(file: str, title: str, lines: Sequence[str], sections: Sequence[Section]) -> None:
    """Write a page to a file of the user's.

    Raises:
        ConfigError: its folder is not there, or it is no .html.
    """
    _check_page(file).write_text(page(title, lines, sections), encoding="utf-8")


def _check_page(file: str) -> Path:
    path = Path(file).expanduser()
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--page is {file}, but must end with .html")
    if not path.parent.is_dir():
        raise ConfigError(f"--page {file}: there is no folder {path.parent}")
    return path
