"""What a finished command says, as Markdown: the description of its MLflow run."""

from collections.abc import Sequence

from raysys.report.results import Result
from raysys.report.terminal import result_lines
from raysys.tasks.exhibits import Table

_MOST = 7500
"""Characters; MLflow takes 8,000."""


def as_markdown(result: Result) -> str:
    """Tables and lines of a result; whole parts are left out at the end where it would be too long."""
    parts: list[str] = []
    for line in result_lines(result):
        part = _table(line) if isinstance(line, Table) else " ".join(line.split())
        if sum(map(len, parts)) + len(part) > _MOST:
            break
        parts.append(part)
    return "\n\n".join(parts)


def _table(table: Table) -> str:
    rows = [table.columns, ["---"] + ["---:"] * (len(table.columns) - 1), *filter(None, table.rows)]
    note = ["", table.note] if table.note else []
    return "\n".join([f"**{table.title}**", "", *map(_row, rows), *note])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', '/') for cell in cells)} |"
