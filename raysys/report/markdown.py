"""What a finished command says, as Markdown: the description of its MLflow run."""

import math
from collections.abc import Sequence

from raysys.report.results import Result, StudyResult, TrialResult
from raysys.report.tables import spread
from raysys.report.terminal import result_lines
from raysys.similarity.prior import SAW_TEST_LABELS
from raysys.tasks import TASKS
from raysys.tasks.exhibits import Table
from raysys.tasks.task import shown

_MOST = 7500
"""Characters; MLflow takes 8,000."""


def headline(result: Result) -> str:
    """The score that a run's name ends with; of an ablation its first variant's."""
    first = shown(result.metrics)
    if isinstance(result, StudyResult):
        parts = result.confirmed.chosen if result.confirmed else result.test
        mean, std = parts.mean, parts.std
    else:
        one = result if isinstance(result, TrialResult) else result.variants[0]
        mean, std = one.mean["test"], one.std["test"]
    wanted = TASKS[result.task].main
    known = [m for m in first if not math.isnan(mean[m.name])] or first
    main = next((metric for metric in known if metric.name == wanted), known[0])
    marked = any(finding.kind == SAW_TEST_LABELS for finding in result.audit)
    mark = " (S saw test labels)" if marked else ""
    return f"{main.title} {spread(main, mean, std)}{mark}"


def as_markdown(result: Result) -> str:
    """The headline, then tables and lines; whole parts are left out at the end where it would be too long."""
    what = (
        "chosen, on fresh seeds" if isinstance(result, StudyResult) and result.confirmed else "test"
    )
    score = headline(result)
    over_folds = "; mean +- std over folds" if "+-" in score else ""
    parts = [f"**{score}** ({what}{over_folds}), {result.corpus}"]
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
