"""Pictures of what tasks exhibit: `draw` makes a figure of each kind.

Drawn without pyplot, so nothing is global and no screen is needed.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import singledispatch

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from raysys.tasks.exhibits import (
    Attention,
    Bars,
    ConfusionRow,
    Confusions,
    Curve,
    HeatMap,
    PairCounts,
    Picture,
    Points,
    Reliability,
    Scatter,
    Tree,
)

_BAR_INCHES = 0.34
"""Height of a bar and its name."""


@singledispatch
def draw(exhibit: Picture) -> Figure:
    """The figure of a picture.

    Raises:
        TypeError: it is none.
    """
    raise TypeError(f"{type(exhibit).__name__} is no picture")


@draw.register
def _heat_map(one: HeatMap) -> Figure:
    """Each cell's value and, below it, its interval."""
    average, low, high, emotions, title = one.values, one.low, one.high, one.names, one.title
    figure, axes, scale = _square(emotions)
    smallest = float(np.nanmin(average)) if np.isfinite(average).any() else 0.0
    image = axes.imshow(average, cmap="viridis", vmin=min(smallest, 0.99), vmax=1.0)
    middle = (smallest + 1) / 2
    for i, j in np.ndindex(average.shape):
        if np.isnan(average[i, j]):
            text = "-"
        else:
            text = f"{average[i, j]:.2f}"
            text += (
                f"\n{low[i, j]:.2f} to {high[i, j]:.2f}"
                if i != j and np.isfinite(low[i, j])
                else ""
            )
        dark = not average[i, j] > middle
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color="w" if dark else "k")
    _label(axes, emotions, title)
    figure.colorbar(image, cax=scale, label="cosine similarity")
    return figure


def _square(names: Sequence[str]) -> tuple[Figure, Axes, Axes]:
    """A figure for a matrix over names, its axes, and those of its colour scale.

    Studies draw one a trial, so places are computed in inches: a layout engine would have to draw it twice.
    """
    longest, side = max(map(len, names)), 0.95 * len(names)
    left, bottom, top, right = 0.4 + 0.085 * longest, 0.4 + 0.06 * longest, 0.45, 1.1
    width, height = left + side + right, bottom + side + top
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    scale = figure.add_axes(
        (
            (left + side + 0.2) / width,
            (bottom + 0.1 * side) / height,
            0.16 / width,
            0.8 * side / height,
        )
    )
    return figure, axes, scale


@draw.register
def _tree(one: Tree) -> Figure:
    """Names whose similarity to any other is unknown are left out."""
    average, emotions, title = one.similarity, one.names, one.title
    known = ~np.isnan(average).any(axis=1)
    figure = Figure(figsize=(7, 0.9 + 0.5 * len(emotions)))
    axes = figure.add_subplot()
    if known.sum() >= 2:
        distance = np.clip(1 - average[np.ix_(known, known)], 0, None)
        np.fill_diagonal(distance, 0)
        tree = linkage(squareform((distance + distance.T) / 2, checks=False), method="average")
        names = [name for name, is_known in zip(emotions, known, strict=True) if is_known]
        dendrogram(tree, labels=names, orientation="right", ax=axes, color_threshold=0)
    axes.set_xlabel("1 - cosine similarity")
    axes.set_title(title)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    return figure


@draw.register
def _confusions(one: Confusions) -> Figure:
    """Colour is the share of the row, the number is utterances."""
    return _confusion_figure(one.names, {one.title: one.counts}, rows=one.row, columns=one.column)


@draw.register
def _confusion_row(one: ConfusionRow) -> Figure:
    """Those of several configurations, in the same colours."""
    figure = _confusion_figure(one.names, one.counts)
    figure.suptitle(one.title)
    return figure


def _confusion_figure(
    names: Sequence[str],
    panels: Mapping[str, np.ndarray],
    *,
    rows: str = "true",
    columns: str = "predicted",
) -> Figure:
    side = 0.95 * len(names)
    figure = Figure(
        figsize=(1.5 + (side + 0.8) * len(panels), 1.2 + 0.85 * len(names)), layout="constrained"
    )
    every = np.atleast_1d(figure.subplots(1, len(panels)))
    for axes, (title, counts) in zip(every, panels.items(), strict=True):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.ndindex(counts.shape):
            colour = "w" if shares[i, j] > 0.5 else "k"
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=9, color=colour)
        _label(axes, names, title)
        axes.set_xlabel(columns)
        axes.set_ylabel(rows)
    figure.colorbar(image, ax=list(every), label="share of the row", shrink=0.8)
    return figure


@draw.register
def _curve(one: Curve) -> Figure:
    """Points with their intervals."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, points in one.lines.items():
        x, y, low, high = np.array(sorted(points)).T
        (line,) = axes.plot(x, y, label=name, marker="o")
        if np.any(high > low):
            axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_xlabel(one.setting)
    axes.set_ylabel(one.score)
    axes.set_title(one.title)
    axes.legend()
    return figure


@draw.register
def _attention(one: Attention) -> Figure:
    """Names down, the other modality's time across; each panel in its own colours, since its shares sum otherwise."""
    count = len(one.panels)
    figure = Figure(figsize=(8, 0.6 + (0.9 + 0.24 * len(one.rows)) * count), layout="constrained")
    for axes, (heading, weights) in zip(
        np.atleast_1d(figure.subplots(count, 1)), one.panels.items(), strict=True
    ):
        extent = (0.0, one.seconds or weights.shape[1], len(one.rows) - 0.5, -0.5)
        image = axes.imshow(weights, aspect="auto", cmap="magma", extent=extent, vmin=0)
        axes.set_yticks(range(len(one.rows)), one.rows, fontsize=8)
        axes.set_xlabel(f"{'seconds' if one.seconds else 'frames'} of {one.across}")
        axes.set_title(heading, fontsize=9)
        figure.colorbar(image, ax=axes, label="share")
    figure.suptitle(one.title, fontsize=10)
    return figure


@draw.register
def _bars(one: Bars) -> Figure:
    """All of them, however many: the figure grows; values below 0 go to the left."""
    groups = {head: rows for head, rows in one.groups.items() if rows}
    tallest = max(map(len, groups.values()))
    figure = Figure(figsize=(5.5 * len(groups), 1.4 + _BAR_INCHES * tallest))
    percent = one.scale == "percent"
    for axes, (heading, rows) in zip(
        np.atleast_1d(figure.subplots(1, len(groups))), groups.items(), strict=True
    ):
        names = [f"{name} ({count})" for name, (_, count) in rows.items()]
        values = np.array([value for value, _ in rows.values()])
        bars = axes.barh(range(len(names)), values, color="tab:blue")
        axes.set_yticks(range(len(names)), names)
        labels = ["-" if np.isnan(v) else f"{v:.1f}" if percent else f"{v:.2f}" for v in values]
        axes.bar_label(bars, labels, padding=3, fontsize=8)
        axes.set_ylim(tallest - 0.4, -0.6)
        most = 100.0 if percent else 1.0
        below = np.nanmin(np.minimum(values, 0.0), initial=0.0)
        axes.set_xlim(1.25 * below, 1.08 * most)
        axes.axvline(0, color="0.6", linewidth=0.8)
        axes.set_xlabel(f"{heading} (utterances)")
        axes.spines[["top", "right"]].set_visible(False)
    return _titled(figure, one.title)


@draw.register
def _scatter(one: Scatter) -> Figure:
    figure = Figure(figsize=(4.2 * len(one.groups), 4.4))
    for axes, (heading, (true, predicted)) in zip(
        np.atleast_1d(figure.subplots(1, len(one.groups))), one.groups.items(), strict=True
    ):
        axes.scatter(true, predicted, s=9, alpha=0.5, color="tab:blue")
        ends = [float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))]
        axes.plot(ends, ends, color="0.6", linewidth=1, linestyle="--")
        axes.set_xlabel(f"{heading}, true")
        axes.set_ylabel("predicted")
        axes.spines[["top", "right"]].set_visible(False)
    return _titled(figure, one.title)


@draw.register
def _reliability(one: Reliability) -> Figure:
    """On the diagonal probabilities mean what they say; below, how many utterances each bar rests on."""
    figure = Figure(figsize=(5.2, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    places = [(low + high) / 2 for low, high, *_ in one.bins]
    width = one.bins[0][1] - one.bins[0][0]
    accuracy = [right for *_, right in one.bins]
    upper.bar(places, accuracy, 0.94 * width, color="tab:blue", label="right")
    upper.plot([0, 1], [0, 1], color="0.4", linewidth=1, linestyle="--")
    for *_, count, sure, right in one.bins:
        if count:
            upper.plot([sure, sure], [right, sure], color="tab:red", linewidth=2)
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1)
    upper.set_ylabel("share that is right (red: gap to what it says)")
    upper.text(0.03, 0.95, one.ece, va="top")
    lower.bar(places, [count for _, _, count, *_ in one.bins], 0.94 * width, color="0.6")
    lower.set_ylabel("utterances")
    lower.set_xlabel("confidence: the largest probability")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(one.title, fontsize=10)
    return figure


@draw.register
def _points(one: Points) -> Figure:
    """A colour for each group, each name next to its point."""
    figure = Figure(figsize=(8, 7))
    axes = figure.add_subplot()
    for k, (group, places) in enumerate(one.groups.items()):
        x, y = zip(*places.values(), strict=True)
        axes.scatter(x, y, s=28, color=f"C{k}", label=group)
        for name, place in places.items():
            axes.annotate(
                name, place, (4, 3), textcoords="offset points", fontsize=8, color=f"C{k}"
            )
    axes.axhline(0, color="0.85", linewidth=1, zorder=0)
    axes.axvline(0, color="0.85", linewidth=1, zorder=0)
    axes.margins(0.12)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return _titled(figure, one.title)


def _titled(figure: Figure, title: str) -> Figure:
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    return figure


@draw.register
def _pair_counts(one: PairCounts) -> Figure:
    """Bars of every kind of utterance before and after balancing, as in Liang et al. 2023, Fig. 2."""
    before, after, emotions, title = one.before, one.after, one.names, one.title
    pairs = list(itertools.combinations(range(len(emotions)), 2))
    kinds = [(k, k) for k in range(len(emotions))]
    kinds += [kind for i, j in pairs for kind in ((i, j), (j, i))]
    names = [emotions[i] if i == j else f"{emotions[i]} / {emotions[j]}" for i, j in kinds]
    colours = ["tab:purple" if i == j else "tab:orange" for i, j in kinds]
    figure = Figure(figsize=(max(7, 1.5 + 0.26 * len(kinds)), 6))
    rows = figure.subplots(2, 1, sharex=True, sharey=True)
    for axes, counts, label in zip(rows, (before, after), ("before", "after"), strict=True):
        axes.bar(range(len(kinds)), [counts[kind] for kind in kinds], color=colours)
        axes.set_ylabel(f"{label}: {counts.sum():.0f}")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    rows[1].set_xticks(range(len(kinds)), names, rotation=90, fontsize=7)
    rows[0].set_title(f"{title}\npurple: clear; orange: ambiguous (major / minor)", fontsize=10)
    figure.tight_layout()
    return figure


def _label(axes: Axes, emotions: Sequence[str], title: str) -> None:
    places = range(len(emotions))
    axes.set_xticks(places, emotions, rotation=40, ha="right")
    axes.set_yticks(places, emotions)
    axes.set_title(title)
