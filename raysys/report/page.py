"""A page that needs nothing but itself: HTML with styles, pictures and script inside, for screens, phones and paper.

    title, lines, sections of tables, lines and pictures -> HTML

Matrices are tables; other pictures are matplotlib's SVG in the reader's light or dark colours. No plotting library's
script is carried: the smallest with parallel coordinates is as large as all that a page may be.
"""

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, singledispatch
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from raysys.report.pictures import draw
from raysys.tasks.exhibits import Confusions, HeatMap, Picture, Table


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
    return _figure(svg(draw(one)), "")


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
    return _matrix(one.names, cells, f"{one.title}: rows are {one.row}, columns {one.column}")


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


def _figure(picture: str, title: str) -> str:
    caption = f"<figcaption>{escape(title)}</figcaption>" if title else ""
    return f'<figure><div class="wide">{picture}</div>{caption}</figure>'


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
