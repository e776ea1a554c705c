"""A page that needs nothing but itself: HTML with styles, pictures and script inside, for screens, phones and paper.

    title, lines, sections of tables, lines and pictures -> HTML

Matrices are tables and small pictures are drawn as SVG here, in the reader's light or dark colours; other pictures
come from `raysys.report.pictures`. No plotting library's script is carried: the smallest with parallel coordinates is
larger than all that a page may be.
"""

import io
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, singledispatch
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from raysys.report.pictures import draw
from raysys.tasks.exhibits import Bars, Confusions, HeatMap, Picture, Reliability, Table, Tree


@dataclass(frozen=True)
class Raw:
    """HTML as it is."""

    html: str


@dataclass(frozen=True)
class Command:
    """What a reader may copy."""

    text: str


@dataclass(frozen=True)
class Parallel:
    """Lines over axes, to be hovered and brushed."""

    axes: Sequence[tuple[str, str, str]]
    """Name, and what stands at its low and high end."""
    lines: Sequence[tuple[str, Sequence[float], float]]
    """What it is, its height on each axis (0 to 1), and its worth (0 to 1)."""


Block = Table | Picture | Figure | Raw | Command | Parallel | str


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    heading: str
    blocks: Sequence[Block]


def page(title: str, lines: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole page.

    Args:
        title: of the page.
        lines: below it; the first is what a reader must know.
        sections: those without blocks are left out.
    """
    kept = [one for one in sections if one.blocks]
    ids = {id(one): f"s{number}" for number, one in enumerate(kept, start=1)}
    links = "".join(
        f'<a href="#{ids[id(one)]}">{escape(one.heading)}</a>' for one in kept if one.heading
    )
    body = "".join(
        f'<section id="{ids[id(one)]}">'
        + (f"<h2>{escape(one.heading)}</h2>" if one.heading else "")
        + "".join(map(_block, one.blocks))
        + "</section>"
        for one in kept
    )
    first, *rest = lines or [""]
    head = f'<p class="headline">{escape(first)}</p>' + "".join(
        f"<p>{escape(one)}</p>" for one in rest
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{_own("css")}</style></head>'
        f"<body><h1>{escape(title)}</h1>{head}<nav>{links}</nav>{body}<script>{_own('js')}</script></body></html>\n"
    )


@cache
def _own(kind: str) -> str:
    return Path(__file__).with_name(f"page.{kind}").read_text(encoding="utf-8")


@singledispatch
def _block(one: Any) -> str:
    """HTML of a block; of a picture of no kind below as `draw` makes it."""
    return _figure(svg(draw(one)), one.title)


@_block.register
def _line(one: str) -> str:
    name, _, rest = one.partition("  ")
    said = one if not rest or " " in name.strip() else f"{name.capitalize()}: {rest.strip()}"
    return f"<p>{escape(said)}</p>"


@_block.register
def _raw(one: Raw) -> str:
    return one.html


@_block.register
def _command(one: Command) -> str:
    return f"<pre>{escape(one.text)}</pre>"


@_block.register
def _drawn(one: Figure) -> str:
    return _figure(svg(one), "")


@_block.register
def _table(one: Table) -> str:
    def cell(kind: str, place: int, text: str) -> str:
        name = one.columns[place]
        style = "strong" if name in one.strong else "faint" if name in one.faint else ""
        inside = escape(text)
        if kind == "th" and place and text:
            inside = f'<button type="button">{inside}</button>'
        return f"<{kind}{f' class={style}' if style else ''}>{inside}</{kind}>"

    heads = "".join(cell("th", k, name) for k, name in enumerate(one.columns))
    rows = "".join(
        f"<tr>{''.join(cell('td', k, text) for k, text in enumerate(row))}</tr>"
        for row in one.rows
        if row
    )
    title = f"<h3>{escape(one.title)}</h3>" if one.title else ""
    note = f'<p class="note">{escape(one.note)}</p>' if one.note else ""
    empty = not one.rows and not any(one.columns[1:])
    table = (
        ""
        if empty
        else f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
    return f"{title}{table}{note}"


def _matrix(names: Sequence[str], cells: Sequence[Sequence[tuple[float, str]]], title: str) -> str:
    """A table of coloured cells: (share of the colour, HTML)."""
    heads = "".join(f"<th>{escape(name)}</th>" for name in ("", *names))
    rows = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(
            f'<td class="cell" style="--share:{share:.2f}">{text}</td>' for share, text in row
        )
        + "</tr>"
        for name, row in zip(names, cells, strict=True)
    )
    table = f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f"<figure>{table}<figcaption>{escape(title)}</figcaption></figure>"


@_block.register
def _heat_map(one: HeatMap) -> str:
    def cell(i: int, j: int) -> tuple[float, str]:
        value, low, high = (float(matrix[i, j]) for matrix in (one.values, one.low, one.high))
        if np.isnan(value):
            return 0.0, "-"
        ends = f"<small>{low:.2f} to {high:.2f}</small>" if i != j and np.isfinite(low) else ""
        return max(0.0, value), f"{value:.2f}{ends}"

    count = range(len(one.names))
    return _matrix(one.names, [[cell(i, j) for j in count] for i in count], one.title)


@_block.register
def _confusions(one: Confusions) -> str:
    shares = one.counts / np.maximum(1, one.counts.sum(axis=1, keepdims=True))
    cells = [
        [(float(share), str(int(number))) for share, number in zip(*row, strict=True)]
        for row in zip(shares, one.counts, strict=True)
    ]
    return _matrix(one.names, cells, f"{one.title}: rows are true, columns predicted")


@_block.register
def _reliability(one: Reliability) -> str:
    side, edge = 260, 40
    known = [row for row in one.bins if row[2]]
    most = max((row[2] for row in known), default=1)

    def place(share: float) -> float:
        return edge + share * side

    bars = "".join(
        f'<rect class="bar" opacity=".18" x="{place(low):.1f}" width="{(high - low) * side - 1:.1f}" '
        f'y="{place(1 - count / most):.1f}" height="{count / most * side:.1f}"><title>{count} utterances</title></rect>'
        for low, high, count, _, _ in known
    )
    points = " ".join(f"{place(sure):.1f},{place(1 - right):.1f}" for _, _, _, sure, right in known)
    dots = "".join(
        f'<circle class="bar" r="3.5" cx="{place(sure):.1f}" cy="{place(1 - right):.1f}">'
        f"<title>confidence {sure:.2f}, right {right:.2f}, {count} utterances</title></circle>"
        for _, _, count, sure, right in known
    )
    axes = (
        f'<line class="axis" x1="{edge}" y1="{edge + side}" x2="{edge + side}" y2="{edge}" stroke-dasharray="4"/>'
        f'<path class="axis" fill="none" d="M{edge},{edge}V{edge + side}H{edge + side}"/>'
        + _text(edge + side / 2, edge + side + 32, "confidence", anchor="middle")
        + _text(4, edge - 12, "share that is right")
        + "".join(
            _text(place(s), edge + side + 15, f"{s:g}", anchor="middle", size=10)
            + _text(edge - 5, place(1 - s) + 4, f"{s:g}", anchor="end", size=10)
            for s in (0, 0.5, 1)
        )
    )
    picture = _svg(
        side + 2 * edge,
        side + 2 * edge,
        f'{axes}{bars}<polyline class="line" points="{points}"/>{dots}',
    )
    return _figure(picture, f"{one.title}. {' '.join(one.ece.split())}")


@_block.register
def _tree(one: Tree) -> str:
    known = ~np.isnan(one.similarity).any(axis=1)
    if known.sum() < 2:
        return ""
    distance = np.clip(1 - one.similarity[np.ix_(known, known)], 0, None)
    np.fill_diagonal(distance, 0)
    joined = linkage(squareform((distance + distance.T) / 2, checks=False), method="average")
    found = dendrogram(joined, no_plot=True)
    names, leaves = list(itertools.compress(one.names, known)), list(found["leaves"] or ())
    row, wide, left = 26, 420, 110
    longest = max(max(ends) for ends in found["dcoord"]) or 1.0
    high = row * len(names) + 34

    def x(value: float) -> float:
        return left + value / longest * wide

    def y(value: float) -> float:
        return (value / 10) * row

    paths = "".join(
        f'<path class="line" d="M{x(d[0]):.1f},{y(i[0]):.1f}H{x(d[1]):.1f}V{y(i[2]):.1f}H{x(d[3]):.1f}"/>'
        for i, d in zip(found["icoord"], found["dcoord"], strict=True)
    )
    labels = "".join(
        _text(left - 6, y(10 * k + 5) + 4, names[leaf], anchor="end", size=13)
        for k, leaf in enumerate(leaves)
    )
    ends = ((left, "start", "0"), (left + wide, "end", f"{longest:.2f} (1 - similarity)"))
    scale = "".join(_text(at, high - 8, words, anchor=side, size=11) for at, side, words in ends)
    scale += (
        f'<line class="axis" x1="{left}" x2="{left + wide}" y1="{high - 24}" y2="{high - 24}"/>'
    )
    return _figure(_svg(left + wide + 20, high, paths + labels + scale), one.title)


@_block.register
def _bars(one: Bars) -> str:
    found = []
    for heading, values in one.groups.items():
        worth = {name: value for name, (value, _) in values.items()}
        top = 100.0 if one.scale == "percent" else 1.0
        digits = 1 if one.scale == "percent" else 2
        found.append(
            f"<h3>{escape(heading)}</h3>{bars({n: (v / top, f'{v:.{digits}f}') for n, v in worth.items()})}"
        )
    return f"<figure>{''.join(found)}<figcaption>{escape(one.title)}</figcaption></figure>"


def bars(values: Mapping[str, tuple[float, str]]) -> str:
    """Horizontal bars as SVG.

    Args:
        values: name -> share of the full length (below 0: none), and what is written beside it.
    """
    row, wide, left = 22, 380, 10 + 7 * max((len(name) for name in values), default=0)
    found = []
    for k, (name, (share, text)) in enumerate(values.items()):
        long, middle = max(0.0, 0.0 if np.isnan(share) else share) * wide, k * row + 15
        bar = f'<rect class="bar" x="{left}" y="{k * row + 4}" width="{long:.1f}" height="14"/>'
        found.append(_text(left - 6, middle, name, anchor="end") + bar)
        found.append(_text(left + long + 6, middle, text))
    return _svg(left + wide + 60, row * len(values) + 4, "".join(found))


@_block.register
def _parallel(one: Parallel) -> str:
    content = {
        "axes": [{"name": name, "low": low, "high": high} for name, low, high in one.axes],
        "lines": [
            {
                "title": title,
                "heights": [round(float(h), 4) for h in heights],
                "worth": round(float(worth), 4),
            }
            for title, heights, worth in one.lines
        ],
    }
    inside = json.dumps(content).replace("<", "\\u003c")
    return (
        f'<figure class="parallel wide"><script type="application/json">{inside}</script><p class="note">'
        "Hover over a line to read it; draw along an axis to keep the lines that pass there.</p></figure>"
    )


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'


def _figure(picture: str, title: str) -> str:
    caption = f"<figcaption>{escape(title)}</figcaption>" if title else ""
    return f'<figure><div class="wide">{picture}</div>{caption}</figure>'


def _svg(width: float, height: float, inside: str) -> str:
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<svg {size} role="img" xmlns="http://www.w3.org/2000/svg">{inside}</svg>'


def svg(figure: Figure) -> str:
    """A figure as SVG in the colours of the page.

    Args:
        figure: drawn by matplotlib.
    """
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "raysys"}):
        figure.savefig(
            stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    found = stream.getvalue()
    found = found[found.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.DOTALL)
    return re.sub(r"#000000\b|(?<=: )black\b", "currentColor", found)
