"""Pictures of a study: history, importances, contour, parallel coordinates, Pareto front.

Optuna can draw most of these, but not the trials that were stopped, and its parameters hold mu2 as a share of what mu1
leaves. Here stopped trials are grey crosses at the score that they had, and values go by their papers' symbols.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from raysys.config.names import show_value, symbol
from raysys.config.running import Distribution
from raysys.report.results import TrialRecord
from raysys.report.statistics import undominated
from raysys.tasks.task import Metric

Space = Mapping[str, Distribution]

_COLOURS = "viridis"
_FEWEST_FOR_CONTOURS = 5


def study_figures(
    space: Space,
    records: Sequence[TrialRecord],
    objectives: Sequence[Metric],
    *,
    untuned: float,
    importances: Mapping[str, float],
) -> dict[str, Figure]:
    """The pictures that the trials suffice for, by name.

    Args:
        space: setting -> what it may be.
        records: its trials; those that are complete or were stopped are shown.
        objectives: the first is what is shown; with two, a Pareto front too.
        untuned: the first objective of the untuned configuration.
        importances: setting -> share, by Optuna's default evaluator; empty where there are too few trials.
    """
    first = objectives[0]
    shown = [record for record in records if record.state in ("COMPLETE", "PRUNED")]
    shown = [record for record in shown if first.name in record.scores]
    done = [record for record in shown if record.state == "COMPLETE"]
    if not done:
        return {}
    figures = {
        "history": _history(shown, first, untuned),
        "parallel_coordinate": _parallel_coordinates(space, shown, first),
    }
    if importances:
        figures["importances"] = _importances(importances, first, len(done))
    varied = [n for n in space if len({repr(record.values[n]) for record in done}) > 1]
    numeric = [n for n in varied if not space[n].choices]
    pair = ["loss.mu1", "loss.mu2"] if {"loss.mu1", "loss.mu2"} <= set(numeric) else numeric[:2]
    if len(pair) == 2:
        figures["contour"] = _contour(shown, pair, first)
    if len(objectives) > 1:
        figures["pareto_front"] = _pareto_front(done, objectives[:2])
    return figures


def _history(records: Sequence[TrialRecord], objective: Metric, untuned: float) -> Figure:
    figure, axes = _blank(8, 4.5, f"validation {objective.name} of the trials, mean over folds")
    done = [record for record in records if record.state == "COMPLETE"]
    _crosses(axes, records, lambda record: (record.number, record.scores[objective.name]))
    numbers = [record.number for record in done]
    scores = [record.scores[objective.name] for record in done]
    best = np.maximum if objective.higher_is_better else np.minimum
    axes.step(numbers, best.accumulate(scores), where="post", color="tab:red", label="best so far")
    axes.scatter(numbers, scores, color="tab:blue", zorder=3, label="complete")
    axes.axhline(untuned, color="0.3", linestyle="--", linewidth=1, label="untuned")
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(objective.name)
    axes.legend(frameon=False)
    return _finished(figure)


def _parallel_coordinates(
    space: Space, records: Sequence[TrialRecord], objective: Metric
) -> Figure:
    names = list(space)
    figure, axes = _blank(max(5.5, 2.5 + 1.5 * len(names)), 4.5, "values of the trials")
    colours = _colours(records, objective)
    heights = np.array([[height(space, n, r.values[n]) for n in names] for r in records])
    order = np.argsort([record.state == "COMPLETE" for record in records], kind="stable")
    for k in order:
        complete = records[k].state == "COMPLETE"
        colour = colours.to_rgba(records[k].scores[objective.name]) if complete else "0.8"
        style = "-" if complete else ":"
        axes.plot(heights[k], color=colour, linestyle=style, marker="o", markersize=3)
    for column, name in enumerate(names):
        ends = space[name].choices or (space[name].low, space[name].high)
        axes.axvline(column, color="0.85", linewidth=1, zorder=0)
        axes.text(column, -0.04, show_value(ends[0]), ha="center", va="top", fontsize=8)
        axes.text(column, 1.03, show_value(ends[-1]), ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(names)), [symbol(name) for name in names])
    axes.tick_params(axis="x", pad=14, length=0)
    axes.set_yticks([])
    axes.set_ylim(-0.05, 1.05)  # also where all values are near each other
    axes.spines[["left", "bottom"]].set_visible(False)
    figure.colorbar(colours, ax=axes, label=f"validation {objective.name} (dotted: stopped early)")
    return _finished(figure)


def _importances(shares: Mapping[str, float], objective: Metric, count: int) -> Figure:
    named = {symbol(name): share for name, share in shares.items()}
    title = f"importance for {objective.name}, {count} complete trials"
    figure, axes = _blank(7, max(2.4, 1.5 + 0.45 * len(named)), title)
    axes.barh(list(named)[::-1], list(named.values())[::-1], color="tab:blue")
    axes.set_xlabel("share of importance (PED-ANOVA)")
    return _finished(figure)


def _contour(records: Sequence[TrialRecord], pair: Sequence[str], objective: Metric) -> Figure:
    x, y = pair
    figure, axes = _blank(6.5, 5, f"validation {objective.name} over {symbol(x)} and {symbol(y)}")
    done = [record for record in records if record.state == "COMPLETE"]
    colours = _colours(records, objective)
    points = np.array([[record.values[x], record.values[y]] for record in done])
    scores = np.array([record.scores[objective.name] for record in done])
    across, up = points[:, 0], points[:, 1]
    spread = np.linalg.matrix_rank(points - points.mean(axis=0)) == 2
    if len(done) >= _FEWEST_FOR_CONTOURS and spread:
        axes.tricontourf(across, up, scores, levels=12, cmap=_COLOURS, norm=colours.norm, alpha=0.6)
    _crosses(axes, records, lambda record: (record.values[x], record.values[y]))
    rgba = colours.to_rgba(scores)
    axes.scatter(across, up, color=rgba, edgecolor="k", zorder=3, label="complete")
    axes.set_xlabel(symbol(x))
    axes.set_ylabel(symbol(y))
    axes.legend(frameon=False)
    figure.colorbar(colours, ax=axes, label=f"validation {objective.name}")
    return _finished(figure)


def _pareto_front(done: Sequence[TrialRecord], objectives: Sequence[Metric]) -> Figure:
    x, y = (objective.name for objective in objectives)
    figure, axes = _blank(6, 5, "complete trials, validation")
    signs = [objective.worth(1.0) for objective in objectives]
    points = np.array([[record.scores[x], record.scores[y]] for record in done])
    front = undominated(points * signs)
    for rows, colour, label in ((~front, "0.6", "beaten"), (front, "tab:red", "Pareto front")):
        axes.scatter(points[rows, 0], points[rows, 1], color=colour, label=label)
    for record, (a, b) in zip(done, points, strict=True):
        axes.annotate(record.name, (a, b), fontsize=7, xytext=(4, 3), textcoords="offset points")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False)
    return _finished(figure)


def _crosses(axes: Axes, records: Sequence[TrialRecord], place: Any) -> None:
    """The stopped trials."""
    stopped = [place(record) for record in records if record.state == "PRUNED"]
    if stopped:
        x, y = np.array(stopped).T
        axes.scatter(x, y, marker="x", color="0.6", label="stopped early")


def _colours(records: Sequence[TrialRecord], objective: Metric) -> ScalarMappable:
    scores = [r.scores[objective.name] for r in records if r.state == "COMPLETE"]
    return ScalarMappable(Normalize(min(scores), max(scores)), cmap=_COLOURS)


def height(space: Space, name: str, value: Any) -> float:
    """Where a value stands between the ends of its range, or among its choices: 0 to 1."""
    item = space[name]
    if item.choices:
        value = tuple(value) if isinstance(value, list) else value  # as JSON has it
        return item.choices.index(value) / max(len(item.choices) - 1, 1)
    low, high = float(item.low or 0.0), float(item.high or 0.0)
    if item.log:
        low, high, value = np.log(low), np.log(high), np.log(value)
    return float((value - low) / (high - low))


def _blank(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finished(figure: Figure) -> Figure:
    figure.tight_layout()
    return figure
