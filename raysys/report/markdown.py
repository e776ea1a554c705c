"""What a finished command says, as Markdown: the description of its MLflow run."""

from collections.abc import Sequence

from raysys.report.headline import headline
from raysys.report.results import RefitResult, Result
from raysys.report.terminal import result_lines
from raysys.tasks.exhibits import Table

_MOST = 7500
"""Characters; MLflow takes 8,000."""


def as_markdown(result: Result, *, most: int | None = _MOST) -> str:
    """The headline, then tables and lines; whole parts are left out at the end where it would be too long.

    Args:
        result: of any kind.
        most: characters; None: any number.
    """
    what = "never tested itself" if isinstance(result, RefitResult) else "test"
    score = headline(result)
    over_folds = "; mean +- std over folds" if "+-" in score else ""
    parts = [f"**{score}** ({what}{over_folds}), {result.corpus}"]
    for line in result_lines(result):
        part = _table(line) if isinstance(line, Table) else " ".join(line.split())
        if most is not None and sum(map(len, parts)) + len(part) > most:
            break
        parts.append(part)
    audit = "\n".join(f"- {one.level}: {one.message}" for one in result.audit)
    if audit and (most is None or sum(map(len, parts)) + len(audit) <= most):
        parts.append(f"Leak audit:\n\n{audit}")
    return "\n\n".join(parts)


def _table(table: Table) -> str:
    rows = [table.columns, ["---"] + ["---:"] * (len(table.columns) - 1), *filter(None, table.rows)]
    note = ["", table.note] if table.note else []
    title = [f"**{table.title}**", ""] if table.title else []
    return "\n".join([*title, *map(_row, rows), *note])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', '/') for cell in cells)} |"
