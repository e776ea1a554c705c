"""Scores by any column of the corpus (gender, age, language, microphone), and whether their gap is more than noise.

    column -> groups of test utterances -> scores of each;   largest gap of the task's main score, with its interval

The gap that is shown is the largest of all pairs, which chance alone makes large: its interval is one that holds for
all pairs of the column at once (bootstrap of the studentised maximum).
"""

import itertools
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from raysys.corpus.table import Corpus, Utterance
from raysys.errors import ConfigError, nearest
from raysys.report.scores import Difference, GroupScores
from raysys.tasks.exhibits import Table
from raysys.tasks.resampling import FEWEST, Units, units_of
from raysys.tasks.task import Metric, Task, score_shown, shown

_MOST = 12
"""Values of a column that is shown without being asked for."""
_LEAST = 10
"""Utterances of a group that has scores."""
_RESAMPLES = 500
_UNUSABLE = r"[^A-Za-z0-9_\-. ]"
"""Characters that are in no name of a metric."""
_OWN = ("speaker", "session", "split")
"""Columns of every corpus, besides its metadata, that may be asked for."""


def check_groups(columns: Sequence[str], corpus: Corpus) -> None:
    """Refuse columns that the corpus does not have.

    Raises:
        ConfigError: see the message.
    """
    known = [*_metadata(corpus.utterances), *_OWN]
    for name in columns:
        if name not in known:
            raise ConfigError(
                f"tracking.groups has '{name}', but corpus {corpus.name} has no such column: {nearest(name, known)}"
            )


def by_group(
    task: Task,
    corpus: Corpus,
    rows: Int64[np.ndarray, " row"],
    outputs: np.ndarray,
    truth: np.ndarray,
    *,
    columns: Sequence[str] = (),
    seed: int = 0,
) -> tuple[GroupScores, ...]:
    """Scores by every column.

    Args:
        task: scores.
        corpus: whose columns they are.
        rows: utterance of every prediction; each is there once for every seed.
        outputs: what was predicted.
        truth: what should have been.
        columns: to look at; none: all metadata of 2 to 12 values, and numbers in four bands.
        seed: of the bootstrap.
    """
    utterances = [corpus.utterances[k] for k in rows]
    found = []
    for name in columns or _metadata(utterances):
        values = np.array(_values(utterances, name))
        kept = [v for v in set(values.tolist()) - {""} if len(set(rows[values == v])) >= _LEAST]
        there = np.isin(values, kept)
        if len(kept) < 2 or (len(kept) > _MOST and not columns):
            if columns:
                found.append(_nothing(task, name, int((~there).sum())))
            continue
        speakers = np.array([row.speaker for row in utterances])[there]
        one = _scored(
            task,
            name,
            values[there],
            speakers,
            outputs[there],
            truth[there],
            rows[there],
            left_out=int((~there).sum()),
            seed=seed,
        )
        if one.scores or columns:
            found.append(one)
    return tuple(found)


def _scored(
    task: Task,
    column: str,
    values: np.ndarray,
    speakers: np.ndarray,
    outputs: np.ndarray,
    truth: np.ndarray,
    rows: Int64[np.ndarray, " row"],
    *,
    left_out: int,
    seed: int,
) -> GroupScores:
    metric = next(one for one in task.metrics if one.name == task.main)
    names = sorted(
        set(values.tolist()), key=lambda n: (_first_number(n), -int((values == n).sum()), n)
    )
    few = min(len(set(speakers[values == name].tolist())) for name in names) < FEWEST
    who = [""] * len(values) if few else speakers.tolist()
    units = units_of(who, "speakers", rows=rows)
    scores = {
        name: {
            **score_shown(task, outputs[values == name], truth[values == name]),
            "utterances": float((values == name).sum()),
            "speakers": float(len(set(speakers[values == name].tolist()) - {""})),
        }
        for name in names
    }
    main = np.array([scores[name][task.main] for name in names])
    if np.isfinite(main).sum() < 2:  # such as correlations where nothing varies
        return _nothing(task, column, left_out)
    again = _again(task, names, values, outputs, truth, units, seed)
    best, worst, gap = _largest(metric, names, main, again)
    return GroupScores(column, scores, task.main, best, worst, gap, units.over, left_out)


def _nothing(task: Task, column: str, left_out: int) -> GroupScores:
    """A column that was asked for, of which no two values have enough utterances."""
    unknown = Difference(np.nan, np.nan, np.nan)
    return GroupScores(column, {}, task.main, "", "", unknown, "utterances", left_out)


def _again(
    task: Task,
    names: Sequence[str],
    values: np.ndarray,
    outputs: np.ndarray,
    truth: np.ndarray,
    units: Units,
    seed: int,
) -> Float64[np.ndarray, "resample group"]:
    """The main score of every group in every resample; NaN where the group is not there."""
    found = np.full((_RESAMPLES, len(names)), np.nan)
    for k, times in enumerate(units.drawn(_RESAMPLES, seed)):
        rows = units.rows(times)
        for g, name in enumerate(names):
            own = rows[values[rows] == name]
            if len(own):
                found[k, g] = task.score(outputs[own], truth[own])[task.main]
    return found


def _largest(
    metric: Metric,
    names: Sequence[str],
    main: Float64[np.ndarray, " group"],
    again: Float64[np.ndarray, "resample group"],
) -> tuple[str, str, Difference]:
    """The pair that is furthest apart, the better one first, and an interval that holds for all pairs at once."""
    pairs = [
        (g, h) if metric.worth(main[g]) >= metric.worth(main[h]) else (h, g)
        for g, h in itertools.combinations(range(len(names)), 2)
    ]
    gaps = np.array([main[g] - main[h] for g, h in pairs])
    drawn = np.stack([again[:, g] - again[:, h] for g, h in pairs], axis=1)
    spread = np.nanstd(drawn, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.nanmax(np.abs(drawn - gaps) / spread, axis=1)
    half = np.nanpercentile(off, 95) * spread
    place = int(np.nanargmax(np.abs(gaps)))
    g, h = pairs[place]
    gap = float(gaps[place])
    ends = (gap - float(half[place]), gap + float(half[place]))
    return names[g], names[h], Difference(gap, *ends)


def group_tables(groups: Sequence[GroupScores], metrics: Sequence[Metric]) -> list[Table]:
    """One table for each column, with the gap below it."""
    tables = []
    for one in groups:
        metric = next(m for m in metrics if m.name == one.metric)
        if not one.scores:
            why = f"no two values have {_LEAST} test utterances"
            tables.append(Table(f"by {one.column}: {why}", ("",), []))
            continue
        heads = (f"by {one.column}", "n", "speakers", *(m.title for m in shown(metrics)))
        rows = [
            (
                name,
                f"{row['utterances']:.0f}",
                f"{row['speakers']:.0f}" if row["speakers"] else "-",
                *(m.show(row[m.name]) for m in shown(metrics)),
            )
            for name, row in one.scores.items()
        ]
        few = f"no value, or one of fewer than {_LEAST} utterances"
        rest = f" Left out: {one.left_out} with {few}." if one.left_out else ""
        tables.append(Table("", heads, rows, note=f"{gap_line(one, metric)}.{rest}"))
    return tables


def gap_line(one: GroupScores, metric: Metric) -> str:
    """The largest gap in words."""
    gap, low, high = (metric.show(v) for v in (one.gap.mean, one.gap.low, one.gap.high))
    told = f"Largest gap: {metric.title} {gap} [{low}, {high}], {one.best} over {one.worst}"
    few = (
        "; of so few speakers, what others would change cannot be known"
        if one.over == "utterances" and any(row["speakers"] for row in one.scores.values())
        else ""
    )
    return f"{told} (95 % for all pairs, over {one.over}{few})"


def group_figures(groups: Sequence[GroupScores]) -> dict[str, float]:
    """Scores by the names of MLflow's metrics: gap_METRIC/COLUMN and its ends, METRIC/COLUMN VALUE.

    What MLflow takes in no name is `_` there; of names that are then alike the later ones are counted.
    """
    found: dict[str, float] = {}

    def put(metric: str, name: str, value: float) -> None:
        key = plain = f"{metric}/{re.sub(_UNUSABLE, '_', name)}"
        number = 1
        while key in found:
            number += 1
            key = f"{plain} {number}"
        found[key] = value

    for one in [one for one in groups if one.scores]:
        for end, value in (("", one.gap.mean), ("_low", one.gap.low), ("_high", one.gap.high)):
            put(f"gap_{one.metric}{end}", one.column, value)
        for name, row in one.scores.items():
            put(one.metric, f"{one.column} {name}", row[one.metric])
    return found


def _metadata(rows: Sequence[Utterance]) -> list[str]:
    return sorted({name for row in rows for name in row.metadata or ()})


def _values(rows: Sequence[Utterance], column: str) -> list[str]:
    """Value of every row, empty where unknown; numbers of many values as bands of a quarter each."""
    values = [_value(row, column) for row in rows]
    numbers = {value: _number(value) for value in set(values) - {""}}
    if len(numbers) <= _MOST or any(np.isnan(n) for n in numbers.values()):
        return values
    edges = np.unique(np.percentile([numbers[v] for v in values if v], [0, 25, 50, 75, 100]))
    bands = [f"{a:.3g} to {b:.3g}" for a, b in itertools.pairwise(edges)]
    places = {
        v: min(int(np.searchsorted(edges, n, side="right")) - 1, len(bands) - 1)
        for v, n in numbers.items()
    }
    return [bands[places[v]] if v else "" for v in values]


def _first_number(value: str) -> float:
    """Number that a value begins with, so that numbers and bands stand in their order; 0 for words."""
    found = _number(value.split(" to ")[0])
    return 0.0 if np.isnan(found) else found


def _value(row: Utterance, column: str) -> str:
    own = (row.metadata or {}).get(column)
    if own is None and column in _OWN:
        own = str(getattr(row, column))
    return (own or "").strip()


def _number(value: str) -> float:
    """NaN where it is none."""
    try:
        return float(value)
    except ValueError:
        return float("nan")
