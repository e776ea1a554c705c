"""Runs side by side: what differs in their settings, and whether their scores differ by more than noise.

run folders -> Standing of each -> same test parts? -> paired differences from the first, by emotion, by group
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysys.config.names import show_value
from raysys.errors import ConfigError, StorageError
from raysys.report.results import (
    OF,
    AblationResult,
    RefitResult,
    StudyResult,
    TrialResult,
    read_result,
)
from raysys.report.scores import Difference, GroupScores, PartScores, Scores
from raysys.report.statistics import paired_difference
from raysys.report.tables import Line, interval, spread
from raysys.settings import flat
from raysys.storage import Folder
from raysys.tasks.exhibits import Table
from raysys.tasks.task import Metric, shown

_OF_THE_PLACE = ("name", "storage.", "tracking.", "cluster.", "search.", "ablation.")
"""Settings that say where and how a run is done."""


@dataclass(frozen=True)
class Standing:
    """What a finished run scored, and on what."""

    name: str
    result: TrialResult | StudyResult
    tests: tuple[tuple[str, ...], ...]
    """Fold by fold, the utterances of its test part."""
    shared: float
    """Mean over folds of n_test / n_train."""
    settings: Mapping[str, Any]
    """Dotted name -> value."""

    @property
    def test(self) -> PartScores:
        """Test scores; of a study those of its choice."""
        if isinstance(self.result, StudyResult):
            return self.result.test
        found = self.result
        seeds = [[f.test for f in found.folds if f.fold == k] for k in self.folds]
        means = tuple(
            {name: float(np.mean([one[name] for one in each])) for name in each[0]}
            for each in seeds
        )
        return PartScores(means, found.mean["test"], found.std["test"], found.seed_std["test"])

    @property
    def folds(self) -> list[int]:
        """Their numbers."""
        return list(range(len(self.tests)))

    def by_seed(self, metric: str) -> list[float]:
        """Test scores of a run with a single fold, seed by seed."""
        if isinstance(self.result, StudyResult):
            return [self.test.mean[metric]]
        return [one.test[metric] for one in self.result.folds]


def standing_of(folder: Folder, *, name: str = "") -> Standing:
    """What a run's folder says.

    Args:
        folder: of the run, or what was handed on of it.
        name: that tables give it; empty: the folder's.

    Raises:
        ConfigError: the run has no test scores that could be compared.
        StorageError: it has not ended, or is damaged.
    """
    if not folder.exists("result.json"):
        raise StorageError(
            f"{folder.path()} has no result.json: it has not ended; --resume finishes it"
        )
    result = read_result(folder)
    if isinstance(result, RefitResult):
        return standing_of(
            folder / OF, name=f"{name or folder.name} (by the folds of {result.source})"
        )
    if isinstance(result, AblationResult):
        raise ConfigError(
            f"{folder.path()} holds several configurations: give one of its variants' folders"
        )
    above = Folder(folder.uri.rsplit("/", 1)[0])
    top = folder if folder.exists("folds.json") else above
    folds = top.read_json("folds.json")
    tests = tuple(tuple(one["test"]) for one in folds)
    shared = float(np.mean([len(one["test"]) / max(1, len(one["train"])) for one in folds]))
    settings = flat(_config(folder, top))
    named = name or folder.name
    if isinstance(result, StudyResult):
        settings |= result.chosen.values
        named = f"{named} ({result.chosen.name}, the seed that was searched with)"
    return Standing(named, result, tests, shared, settings)


def _config(folder: Folder, top: Folder) -> dict[str, Any]:
    """Config of the run; for a variant its own."""
    found: dict[str, Any] = top.read_json("config.json")
    bundles = [name for name in folder.names() if name.startswith(("fold_", "seed_"))]
    for name in bundles[:1]:
        place = folder / name if name.startswith("fold_") else folder / name / "fold_0"
        if place.exists("bundle.json"):
            own: dict[str, Any] = place.read_json("bundle.json")["config"]
            own["seed"], own["training"]["seeds"] = found["seed"], found["training"]["seeds"]
            return own
    return found


def why_apart(one: Standing, other: Standing) -> str:
    """Why two runs cannot be compared; empty where they can."""
    if one.result.task != other.result.task:
        return f"{other.name} is a {other.result.task}, {one.name} a {one.result.task}"
    if one.result.corpus != other.result.corpus:
        return (
            f"{other.name} was tested on {other.result.corpus}, {one.name} on {one.result.corpus}"
        )
    if [set(part) for part in one.tests] != [set(part) for part in other.tests]:
        return (
            f"the folds of {other.name} test other utterances than those of {one.name}: train one again with the "
            "same corpus and folds.*"
        )
    return ""


def difference(one: Standing, other: Standing, metric: str) -> Difference:
    """`one` - `other` over folds, with the interval of `paired_difference`; of a single fold over seeds.

    Args:
        one: a run.
        other: another one on the same folds.
        metric: a test score.
    """
    if len(one.tests) > 1:
        ours, others = ([fold[metric] for fold in each.test.folds] for each in (one, other))
        return paired_difference(ours, others, shared=one.shared)
    ours, others = one.by_seed(metric), other.by_seed(metric)
    if len(ours) == len(others):
        return paired_difference(ours, others, shared=0.0)
    nan = float("nan")
    return Difference(float(np.mean(ours) - np.mean(others)), nan, nan)


def main_metric(one: Standing) -> Metric:
    """Metric that a run is judged by."""
    from raysys.tasks import TASKS

    main = TASKS[one.result.task].main
    return next(metric for metric in one.result.metrics if metric.name == main)


def comparison_lines(runs: Sequence[Standing]) -> list[Line]:
    """What `jobs.compare` shows.

    Args:
        runs: two or more, the others are compared with the first.

    Raises:
        ConfigError: two cannot be compared.
    """
    for other in runs[1:]:
        if why := why_apart(runs[0], other):
            raise ConfigError(why)
    return [
        _settings(runs),
        _score_table(runs),
        *_details(runs),
        *_groups(runs),
    ]


def _settings(runs: Sequence[Standing]) -> Line:
    names = sorted({name for one in runs for name in one.settings})
    kept = [name for name in names if not name.startswith(_OF_THE_PLACE)]
    rows = [
        (name, *(show_value(one.settings.get(name, "-")) for one in runs))
        for name in kept
        if len({show_value(one.settings.get(name)) for one in runs}) > 1
    ]
    if not rows:
        return "The runs have the same settings: what differs is code, data, or nothing."
    return Table("settings that differ", ("", *(one.name for one in runs)), rows)


def _score_table(runs: Sequence[Standing]) -> Table:
    first = runs[0]
    metrics = [m for m in shown(first.result.metrics) if all(m.name in r.test.mean for r in runs)]
    rows: list[Sequence[str]] = [
        (one.name, *(spread(m, one.test.mean, one.test.std) for m in metrics)) for one in runs
    ]
    rows.append(())
    for other in runs[1:]:
        found = (interval(m, difference(other, first, m.name)) for m in metrics)
        rows.append((f"{other.name} - {first.name}", *found))
    several = len(first.tests) > 1
    note = (
        "Differences over folds with their 95 % interval (Nadeau & Bengio 2003): where it contains 0, the two cannot "
        "be distinguished."
        if several
        else "One test part: the interval is over seeds, and says what another seed would change."
    )
    title = f"{first.result.corpus}, the same {len(first.tests)} test parts: test scores"
    heads = ("", *(metric.title for metric in metrics))
    return Table(title, heads, rows, strong=(main_metric(first).title,), note=note)


def _details(runs: Sequence[Standing]) -> list[Table]:
    """Further scores of the task, such as F1 by emotion."""
    every: list[Scores] = [one.result.summary.scores() for one in runs]
    names = [name for name in every[0] if all(name in one for one in every)]
    if not names:
        return []
    rows = [
        (
            name.rpartition("/")[2],
            *(f"{100 * one[name]:.1f}" for one in every),
            *(f"{100 * (one[name] - every[0][name]):+.1f}" for one in every[1:]),
        )
        for name in names
    ]
    title = f"{names[0].partition('/')[0].upper()} % by emotion, all test utterances"
    return [Table(title, _beside(runs), rows)]


def _beside(runs: Sequence[Standing]) -> tuple[str, ...]:
    minus = (f"{one.name} - {runs[0].name}" for one in runs[1:])
    return ("", *(one.name for one in runs), *minus)


def _groups(runs: Sequence[Standing]) -> list[Table]:
    """The main score by each column that all have."""
    metric, tables = main_metric(runs[0]), []
    by_column: list[Mapping[str, GroupScores]] = [
        {group.column: group for group in one.result.groups} for one in runs
    ]
    for column, first in by_column[0].items():
        if not all(column in one for one in by_column):
            continue
        rows = []
        for value in first.scores:
            known = [one[column].scores.get(value, {}).get(metric.name) for one in by_column]
            minus = [
                metric.show(score - known[0], signed=True) if None not in (score, known[0]) else "-"  # type: ignore[operator]
                for score in known[1:]
            ]
            rows.append((value, *(metric.show(score) for score in known), *minus))
        tables.append(Table(f"{metric.title} by {column}", _beside(runs), rows))
    return tables
