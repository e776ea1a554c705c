"""Tables of results, as plain data; `as_rich` draws one for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from raysys.report.results import TrialResult
from raysys.report.scores import BaselineResult, Difference
from raysys.tasks import TASKS
from raysys.tasks.exhibits import Table
from raysys.tasks.task import Metric, shown

Line = Table | str
"""What a result prints, one after the other."""

_ANY = 100_000
"""Characters: as wide as a table may want to be."""
_FEW = 4
"""Columns that are worth abbreviating."""
_MANY = 12
"""Columns that are abbreviated also where they have to go below each other."""
_LETTERS = 3
"""Fewest letters of an abbreviated head."""


def as_rich(table: Table) -> RenderableType:
    """A table for a terminal; the first column is names, the others are numbers.

    Where it is too narrow, names and heads are broken between words; heads of one word are abbreviated, with a legend,
    if that is enough; else columns go below each other, the first one with each. Nothing is cut.
    """
    return _Fitted(table)


@dataclass(frozen=True)
class _Fitted:
    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def fits(table: Table) -> bool:
            return _least(table) <= options.max_width

        def drawn(table: Table) -> RichTable:
            natural = _drawn(table)
            wide = Measurement.get(console, options.update(max_width=_ANY), natural).maximum
            if wide <= options.max_width:
                return natural
            # Rich would take from the numbers first; they stay whole, and names are broken.
            least, *numbers = _narrow(table)
            names = options.max_width - sum(numbers) - _around(table)
            return _drawn(table, (max(names, least), *numbers))

        yield from map(drawn, _pieces(self.table, fits))


def _narrow(table: Table) -> list[int]:
    """Least width of each column: heads and names are broken between words, numbers are not."""
    found = []
    for place, head in enumerate(table.columns):
        cells = [row[place] for row in table.rows if row]
        whole = [*(cells if place else " ".join(cells).split()), *head.split()]
        found.append(max(map(len, whole), default=0))
    return found


def _around(table: Table) -> int:
    """What edges, gaps and padding take."""
    return 2 * len(table.columns) + 1


def _least(table: Table) -> int:
    return sum(_narrow(table)) + _around(table)


def _pieces(table: Table, fits: Callable[[Table], bool]) -> list[Table]:
    """The table as it is, or abbreviated, or in several, whichever first fits."""
    short = _abbreviated(table)
    for one in (table, short):
        if fits(one):
            return [one]
    whole = short if len(table.columns) > _MANY else table
    pieces, first = [], 1
    while first < len(whole.columns):
        last = len(whole.columns)
        while last > first + 1 and not fits(_part(whole, first, last)):
            last -= 1
        pieces.append(_part(whole, first, last))
        first = last
    if not pieces:
        return [whole]
    empty = [replace(one, note="") for one in pieces[:-1]]
    return [
        replace(one, title=whole.title if not k else "")
        for k, one in enumerate([*empty, pieces[-1]])
    ]


def _part(table: Table, first: int, last: int) -> Table:
    """The column of names, and some of the others."""
    rows = [(row[0], *row[first:last]) if row else () for row in table.rows]
    return replace(table, columns=(table.columns[0], *table.columns[first:last]), rows=rows)


def _abbreviated(table: Table) -> Table:
    """With heads shortened to letters that tell them apart, which the note explains; as it is where that is no help."""
    heads = [head for head in table.columns[1:] if head]
    words = [head for head in heads if head.isalpha()]
    if len(words) < len(heads) or len(set(heads)) < len(heads) or len(heads) < _FEW:
        return table
    letters = next(
        (
            n
            for n in range(_LETTERS, max(map(len, heads)))
            if len({h[:n] for h in heads}) == len(heads)
        ),
        None,
    )
    if letters is None:
        return table
    legend = ", ".join(f"{head[:letters]} {head}" for head in heads if len(head) > letters)
    columns = (table.columns[0], *(head[:letters] for head in table.columns[1:]))
    strong = [name[:letters] if name in heads else name for name in table.strong]
    faint = [name[:letters] if name in heads else name for name in table.faint]
    note = f"{legend}. {table.note}" if table.note else f"{legend}."
    return replace(table, columns=columns, note=note, strong=strong, faint=faint)


def _drawn(table: Table, widths: Sequence[int] | None = None) -> RichTable:
    drawn = RichTable(
        title=Text(table.title, style="italic") if table.title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    least = _narrow(table)
    for place, head in enumerate(table.columns):
        style = "bold" if head in table.strong else "dim" if head in table.faint else ""
        justify: Literal["left", "right"] = "right" if place else "left"
        width = widths[place] if widths else None
        drawn.add_column(
            Text(head), justify=justify, style=style, width=width, min_width=least[place]
        )
    for row in table.rows:
        if not row:
            drawn.add_section()
            continue
        drawn.add_row(*map(Text, row), style="bold" if row[0] in table.strong else "")
    if table.note:
        drawn.caption, drawn.caption_justify = Text(table.note, style="dim italic"), "left"
    return drawn


def score_table(result: TrialResult) -> Table:
    """Fold by fold, mean over seeds: val, test, and the baseline; then means, deviations, the ensemble."""
    task, metrics = TASKS[result.task], shown(result.metrics)
    chosen = next(metric for metric in result.metrics if metric.name == result.select)
    simple = task.baseline_name
    heads = [
        "fold",
        "kept",
        f"val {chosen.title}",
        *(metric.title for metric in metrics),
        *(f"{simple} {metric.title}" for metric in metrics),
    ]
    rows: list[Sequence[str]] = []
    folds = sorted({one.fold for one in result.folds})
    for fold in folds:
        own = [one for one in result.folds if one.fold == fold]
        parts = ([one.val for one in own], [one.test for one in own], [one.baseline for one in own])
        val, test, baseline = (_mean(part) for part in parts)
        best, done = (
            sum(getattr(one, name) for one in own) / len(own) for name in ("best_epoch", "epochs")
        )
        epochs = f"{best:.0f} of {done:.0f}"
        both = [*cells(metrics, test), *cells(metrics, baseline)]
        rows.append((str(fold), epochs, chosen.show(val.get(chosen.name)), *both))
    rows.append(())
    several = len(result.seeds) > 1
    deviation = "+- std, folds" if several else "+- std"
    spreads = [(deviation, result.std)] if len(folds) > 1 else []
    for name, values in (("mean", result.mean), *spreads):
        both = [*cells(metrics, values["test"]), *cells(metrics, values["baseline"])]
        rows.append((name, "", chosen.show(values["val"].get(chosen.name)), *both))
    if several:
        val = result.seed_std["val"]
        own_cells = cells(metrics, result.seed_std["test"])
        blank = [""] * len(metrics)
        rows.append(("+- std, seeds", "", chosen.show(val.get(chosen.name)), *own_cells, *blank))
    if result.ensemble:
        rows.append(
            ("ensemble", "", "", *cells(metrics, result.ensemble.mean), *[""] * len(metrics))
        )
    of_seeds = f", mean of {len(result.seeds)} seeds" if several else ""
    title = f"{result.corpus}, {result.model}: test scores {task.caption}{of_seeds}, with {simple} on the same folds"
    by = "the last" if result.keep == "last" else "the best on val"
    kept = f"kept: the epoch whose weights are kept, {by}."
    note = " ".join(filter(None, (task.legend, kept)))
    faint = heads[3 + len(metrics) :]
    return Table(title, heads, rows, strong=("mean", deviation), faint=faint, note=note)


def baseline_table(result: TrialResult) -> Table:
    """The simple baselines on the same folds, and whether the model can be distinguished from them."""
    task, metrics = TASKS[result.task], shown(result.metrics)
    main = next(metric for metric in result.metrics if metric.name == task.main)
    rows = [
        (
            f"{'tuned ' if one.settings else ''}{one.name}, fitted on {one.fitted_on}",
            *spread_cells(metrics, one.mean, one.std),
            interval(main, one.difference[main.name]),
            *([interval(main, one.on_test.difference[main.name])] if one.on_test else []),
        )
        for one in result.baselines
    ]
    units = next((one.on_test.units for one in result.baselines if one.on_test), None)
    heads = (
        "",
        *(metric.title for metric in metrics),
        f"model minus it, {main.title}" + (", over seeds" if units else ""),
        *([f"over {units}"] if units else []),
    )
    chosen = {one.name: one.settings for one in result.baselines if one.settings}
    settings = "; ".join(f"{name}: {settings}" for name, settings in chosen.items())
    note = f"{settings}. {verdict(result)}" if settings else verdict(result)
    title = "baselines, settings chosen on the same val parts; 95 % intervals"
    return Table(title, heads, rows, strong=(heads[-1],), note=note)


def verdict(result: TrialResult) -> str:
    """Which of the model and its baselines is to be preferred, by the task's main score."""
    main = TASKS[result.task].main
    known = [(one, found) for one in result.baselines if (found := _widest(one, main))]
    if not known:
        return "One draw: no difference can be distinguished from noise."
    metric = next(metric for metric in result.metrics if metric.name == main)
    worse, even = list[str](), list[str]()
    for one, found in known:
        if not _is_better(metric, found):
            is_worse = found.high < 0 if metric.higher_is_better else found.low > 0
            (worse if is_worse else even).append(f"{_title(one)}")
    if not worse and not even:
        return f"{result.model} is better than each of them."
    told = [f"is worse than {' and '.join(worse)}"] if worse else []
    told += [f"cannot be distinguished from {' and '.join(even)}"] if even else []
    return f"{result.model} {' and '.join(told)}: prefer the simplest of those."


def _title(one: BaselineResult) -> str:
    tuned = "the tuned " if one.settings else ""
    return f"{tuned}{one.name} ({one.fitted_on})"


def _widest(one: BaselineResult, metric: str) -> Difference | None:
    """The interval that promises least, over seeds or folds and over what was tested; None where there is none."""
    both = [one.difference[metric], one.on_test and one.on_test.difference[metric]]
    known = [found for found in both if found and found.low == found.low]
    if not known:
        return None
    return Difference(
        known[0].mean, min(found.low for found in known), max(found.high for found in known)
    )


def _is_better(metric: Metric, difference: Difference) -> bool:
    """Whether the whole interval is on the model's side."""
    return difference.low > 0 if metric.higher_is_better else difference.high < 0


def _mean(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in scores) / len(scores) for name in scores[0]}


def cells(metrics: Sequence[Metric], scores: Mapping[str, float]) -> list[str]:
    """Scores as people read them."""
    return [metric.show(scores[metric.name]) for metric in metrics]


def spread_cells(
    metrics: Sequence[Metric], mean: Mapping[str, float], std: Mapping[str, float]
) -> list[str]:
    """Scores with their deviations, as people read them."""
    return [spread(metric, mean, std) for metric in metrics]


def spread(metric: Metric, mean: Mapping[str, float], std: Mapping[str, float]) -> str:
    """Mean +- standard deviation, where there is one: a single training has none."""
    deviation = metric.show(std.get(metric.name))
    score = metric.show(mean.get(metric.name))
    return score if deviation == "-" else f"{score} +- {deviation}"


def over(seeds: int, folds: int) -> str:
    """What scores are the means of, in words."""
    if folds > 1:
        of_seeds = f" of the mean of {seeds} seeds" if seeds > 1 else ""
        return f"mean +- std over {folds} folds{of_seeds}"
    return f"mean +- std over {seeds} seeds" if seeds > 1 else "one fold, one seed: one draw"


def interval(metric: Metric, difference: Difference) -> str:
    """A difference with its interval, where it has one."""
    mean, low, high = (
        metric.show(value, signed=True)
        for value in (difference.mean, difference.low, difference.high)
    )
    return mean if low == "-" else f"{mean} [{low}, {high}]"
