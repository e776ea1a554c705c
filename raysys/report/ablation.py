"""What a finished ablation says: test scores of every variant, differences from the first, the paper's next to ours."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from raysys.config import Config
from raysys.config.names import symbol
from raysys.corpus.folds import Fold
from raysys.report.cost import cost_table
from raysys.report.results import AblationResult, Recommendation, TrialResult, VariantResult
from raysys.report.scores import Difference, OnTest, Scores
from raysys.report.statistics import seed_difference, standard_error
from raysys.report.tables import Line, cells, interval, over, spread
from raysys.tasks import TASKS
from raysys.tasks.exhibits import Curve, Exhibit, Table
from raysys.tasks.task import Metric, shown

_SELECTED = {"test": "best on test", "val": "best on val", "unknown": "how chosen?"}
"""Part by whose score the published figures' epoch was chosen -> head of their column."""
_KEPT = {
    ("best",): ("best on val", "epochs chosen on validation"),
    ("last",): ("last epoch", "the last epochs, none chosen"),
    ("best", "last"): (
        "kept epoch",
        "epochs chosen on validation, but the last where training.keep is last",
    ),
}
"""How our epochs were chosen (`training.keep`) -> head of our column, and what is printed below the table."""
_PARTS = ("val", "test")
_SHARE = "training.share"
_MOST_COLUMNS = 9
"""Most columns of a table of details; above that, rows and columns are swapped."""


def compare_variants(
    config: Config,
    results: Mapping[str, TrialResult],
    folds: Sequence[Fold],
    *,
    on_test: Callable[[str, str], OnTest | None] = lambda one, other: None,
    alike: int | None = None,
) -> tuple[VariantResult, ...]:
    """Means, spreads and differences of every variant, in their order.

    Args:
        config: of the ablation: variants, columns, their settings and published figures.
        results: name of a variant (and column) -> its result; those that failed are left out.
        folds: of all of them.
        on_test: names of two variants -> their differences over what was tested; None with several folds.
        alike: fold that tests what the published figures tested; None where there is none.

    Returns:
        Means and deviations as of each result; `difference`, metric by metric, from the first variant, or with columns
        from the same variant in the first column: over folds (each the mean of its seeds) with the corrected interval,
        or over seeds where there is one fold.
    """
    compared = []
    ablation, names = config.ablation, [metric.name for metric in shown(config.task_type.metrics)]
    bases: dict[str, tuple[str, dict[str, np.ndarray]]] = {}
    comparable = ablation.has_published(config.corpus.name)
    for cell in [one for one in ablation.cells if one.name in results]:
        one = results[cell.name]
        tests = {m: _by_seed(one, m) for m in names}
        row = cell.variant if cell.column else ""
        base = bases.get(row)
        difference = (
            {m: seed_difference(tests[m], base[1][m], folds=folds) for m in names} if base else None
        )
        if cell.column in ("", next(iter(ablation.columns), "")):
            bases.setdefault(row, (cell.name, tests))
        compared.append(
            VariantResult(
                cell.name,
                cell.variant,
                cell.column,
                dict(cell.settings),
                cell.reported(config.compared.name) if comparable else {},
                {part: one.mean[part] for part in _PARTS},
                {part: one.std[part] for part in _PARTS},
                {part: one.seed_std[part] for part in _PARTS},
                difference,
                one.summary.scores(),
                one.keep,
                one.cost,
                on_test(cell.name, base[0]) if base else None,
                one.summary.figures(),
                tested_alike={}
                if alike is None
                else {m: float(tests[m][:, alike].mean()) for m in names},
                interval={
                    m: seed_difference(tests[m], np.zeros_like(tests[m]), folds=folds)
                    for m in names
                },
                baseline={m: one.baselines[0].mean[m] for m in names} if one.baselines else {},
            )
        )
    return tuple(compared)


def recommend(
    metric: Metric, results: Mapping[str, TrialResult], folds: Sequence[Fold]
) -> Recommendation | None:
    """The simplest variant within one standard error of the best, by validation alone: no test score chooses.

    The rule of Breiman et al. 1984, "Classification and regression trees": what noise alone keeps within the interval
    of a poor variant does not make it as good.

    Args:
        metric: that is compared; the one that chose epochs where val has no other.
        results: variant -> result.
        folds: of all of them.
    """
    costed = {name: one for name, one in results.items() if one.cost}
    names = [metric.name, *(one.select for one in costed.values())]
    known = [n for n in names if all(n in f.val for one in costed.values() for f in one.folds)]
    if len(costed) < 2 or not known:
        return None
    used = next(m for m in next(iter(costed.values())).metrics if m.name == known[0])
    val = {name: used.worth(1.0) * _by_seed(one, used.name, "val") for name, one in costed.items()}
    best = max(val, key=lambda name: float(val[name].mean()))
    apart = {name: seed_difference(val[name], val[best], folds=folds) for name in val}
    if any(np.isnan(one.low) for one in apart.values()):
        return None
    pairs = len(folds) if len(folds) > 1 else next(iter(val.values())).shape[0]
    even = [name for name in val if apart[name].mean + standard_error(apart[name], pairs) >= 0]
    simplest = min(even, key=lambda name: costed[name].cost.parameters)  # type: ignore[union-attr]
    found = apart[simplest]
    if not used.higher_is_better:
        found = Difference(-found.mean, -found.high, -found.low)
    return Recommendation(simplest, best, used.name, None if simplest == best else found)


def _recommendation(result: AblationResult, found: Recommendation) -> str:
    metric = next(m for m in result.metrics if m.name == found.metric)
    if found.difference is None:
        return f"recommended  {found.name}: the best on val, and no simpler one is within one standard error of it"
    return (
        f"recommended  {found.name}: the simplest within one standard error of {found.best}, the best on val "
        f"({metric.title} {interval(metric, found.difference)})"
    )


def ablation_lines(result: AblationResult) -> Iterator[Line]:
    """The tables, details of the task, and what they rest on."""
    main = next(one for one in result.metrics if one.name == result.metric)
    published = {name for one in result.variants for name in one.published}
    draw = column_table if any(one.column for one in result.variants) else variant_table
    yield draw(result, main)
    for metric in [one for one in result.metrics if one != main and one.name in published]:
        yield draw(result, metric)
    for line in result.failed:
        yield f"failed       {line}"
    if result.source:
        yield f"published    {result.source}"
    if result.published_test and not _tested_alike(result):
        yield f"published    tested {result.published_test}, which no fold here tests by itself"
    seeds, folds = result.seeds, result.n_folds
    yield f"ours         {_kept(result)[1]}, test read once; {over(seeds, folds)}"
    units = (
        "folds (Nadeau & Bengio 2003)" if folds > 1 else "seeds: what the training's chance does"
    )
    with_interval = f", with a 95 % interval over {units}" if seeds * folds > 1 else ""
    first = "the same line in the first column" if draw is column_table else "the first line"
    yield f"difference   from {first}{with_interval}"
    if result.recommended:
        yield _recommendation(result, result.recommended)
    if found := {one.name: one.on_test for one in result.variants if one.on_test}:
        yield on_test_table(found, main)
    yield _detail_table(result)
    if table := _figure_table(result):
        yield table
    if costs := {one.name: one.cost for one in result.variants if one.cost}:
        yield cost_table(costs)
    yield f"time         {result.seconds['total']:.0f} s"


_FIGURES = {
    "ece": "ECE",
    "brier": "Brier",
    "votes_js": "JS to votes",
    "votes_kl": "KL to votes",
    "votes_cross_entropy": "cross-entropy to votes",
    "vad_mantel_r": "Mantel r, VAD",
    "annotators_mantel_r": "Mantel r, annotators",
}
"""Figures of a task that are shown for each variant, where all have them."""


def _figure_table(result: AblationResult) -> Table | None:
    """Calibration and distance from annotators' votes, a line a variant."""
    names = [n for n in _FIGURES if all(n in one.figures for one in result.variants)]
    if not names:
        return None
    rows = [(one.name, *(f"{one.figures[name]:.3f}" for name in names)) for one in result.variants]
    heads = ("variant", *(_FIGURES[name] for name in names))
    note = (
        "ECE: expected calibration error; JS in bits, KL and cross-entropy in nats: of the probabilities and the "
        "annotators' shares. Smaller is better; of Mantel's r, larger."
    )
    return Table("probabilities", heads, rows, note=note)


def variant_table(result: AblationResult, metric: Metric) -> Table:
    """A line a variant, then the baseline."""
    others = [one for one in shown(result.metrics) if one != metric]
    has_published = any(metric.name in one.published for one in result.variants)
    published, own = f"published,\n{_SELECTED[result.selected_on]}", _tested_alike(result)
    heads = [
        "variant",
        *([published] if has_published else []),
        *([f"ours,\n{result.published_test}"] if own else []),
        f"ours,\n{_kept(result)[0]}" + (f",\nall {result.n_folds} folds" if own else ""),
        "difference",
        *(
            [f"{TASKS[result.task].baseline_name},\nsame share"]
            if (curve := _by_share(result))
            else []
        ),
        f"val {metric.title}",
        *(one.title for one in others),
    ]
    rows: list[Sequence[str]] = []
    for one in result.variants:
        rows.append(
            (
                one.name,
                *([_published(one, metric)] if has_published else []),
                *([metric.show(one.tested_alike.get(metric.name))] if own else []),
                _ours(result, one, metric),
                _difference(one, metric),
                *([metric.show(one.baseline.get(metric.name))] if curve else []),
                metric.show(one.mean["val"].get(metric.name)),
                *cells(others, one.mean["test"]),
            )
        )
    baseline = result.baseline.mean
    blank = [""] * (has_published + own)
    found = result.baseline_difference.get(metric.name)
    difference = interval(metric, found) if found else ""
    score = metric.show(baseline[metric.name])
    after = [difference, *([""] if curve else []), ""]
    rows += [(), (_baseline_title(result), *blank, score, *after, *cells(others, baseline))]
    return Table(_title(result, metric), heads, rows, faint=(published,))


def on_test_table(variants: Mapping[str, OnTest], metric: Metric) -> Table:
    """The differences with the interval over what was tested: what another test part would change."""
    rows = [(name, interval(metric, one.difference[metric.name])) for name, one in variants.items()]
    units = next(iter(variants.values())).units
    title = f"{metric.title}, over the {units} of the test part (95 %, paired bootstrap)"
    return Table(title, ("variant", "difference"), rows)


def column_table(result: AblationResult, metric: Metric) -> Table:
    """A line a variant, with its columns side by side: published, ours, and what each column changes."""
    columns = list(dict.fromkeys(one.column for one in result.variants))
    has_published = any(metric.name in one.published for one in result.variants)
    how, own = f"\npublished,\n{_SELECTED[result.selected_on]}", _tested_alike(result)
    heads, faint = ["variant"], []
    for place, column in enumerate(columns):
        if has_published:
            heads.append(column + how)
            faint.append(column + how)
        heads += [f"{column}\nours,\n{result.published_test}"] if own else []
        heads.append(f"{column}\nours,\n{_kept(result)[0]}")
        heads += [f"{column}\ndifference"] if place else []
    rows: list[Sequence[str]] = []
    found = {(one.row, one.column): one for one in result.variants}
    for row in dict.fromkeys(one.row for one in result.variants):
        line = [row]
        for place, column in enumerate(columns):
            cell = found.get((row, column))
            line += [_published(cell, metric) if cell else "-"] if has_published else []
            alike = cell.tested_alike.get(metric.name) if cell else None
            line += [metric.show(alike)] if own else []
            line.append(_ours(result, cell, metric) if cell else "failed")
            line += [_difference(cell, metric) if cell else ""] if place else []
        rows.append(line)
    score = metric.show(result.baseline.mean[metric.name])
    before = [""] * (has_published + own)
    after = [""] * (len(heads) - 2 - len(before))
    rows += [(), (_baseline_title(result), *before, score, *after)]
    return Table(_title(result, metric), heads, rows, faint=faint)


def ablation_pictures(result: AblationResult, curve: str) -> list[Exhibit]:
    """Scores over the setting that variants change, where they change one.

    Args:
        result: what was found.
        curve: the setting; empty for none.
    """
    if not curve:
        return []
    metric = next(one for one in result.metrics if one.name == result.metric)
    scale = 100 if metric.format == "percent" else 1
    lines: dict[str, list[tuple[float, float, float, float]]] = {}
    for one in result.variants:
        value, mean = float(one.settings[curve]), one.mean["test"][metric.name]
        known = one.interval.get(metric.name)
        low, high = (known.low, known.high) if known and known.high > known.low else (mean, mean)
        point = (value, scale * mean, scale * low, scale * high)
        ours = "model" if curve == _SHARE else "ours"
        lines.setdefault(one.column or ours, []).append(point)
        if curve == _SHARE and metric.name in one.baseline:
            own = scale * one.baseline[metric.name]
            name = f"{TASKS[result.task].baseline_name} {one.column}".strip()
            lines.setdefault(name, []).append((value, own, own, own))
    for one in result.variants:
        if metric.name in one.published:
            name, own = f"published {one.column}".strip(), one.published[metric.name]
            lines.setdefault(name, []).append((float(one.settings[curve]), own, own, own))
    unit = f"test {metric.title}" + (" in %" if scale == 100 else "")
    title = f"{result.corpus}: folds {result.n_folds}, seeds {result.seeds}, 95 % intervals"
    setting = "share of the train part" if curve == _SHARE else symbol(curve)
    return [Curve("curve.png", title, setting, unit, lines)]


def _by_share(result: AblationResult) -> bool:
    """Whether variants differ in how much they train on, and so their baselines."""
    return any(_SHARE in one.settings for one in result.variants)


def _tested_alike(result: AblationResult) -> bool:
    """Whether one of several folds tests what the published figures tested."""
    return result.n_folds > 1 and any(one.tested_alike for one in result.variants)


def _published(one: VariantResult, metric: Metric) -> str:
    value = one.published.get(metric.name)
    return "-" if value is None else f"{value:.2f}"


def _ours(result: AblationResult, one: VariantResult, metric: Metric) -> str:
    return spread(metric, one.mean["test"], _std(result, one))


def _kept(result: AblationResult) -> tuple[str, str]:
    return _KEPT[tuple(sorted({one.keep for one in result.variants}))]


def _std(result: AblationResult, one: VariantResult) -> Scores:
    return one.std["test"] if result.n_folds > 1 else one.seed_std["test"]


def _difference(one: VariantResult, metric: Metric) -> str:
    found = one.difference and one.difference.get(metric.name)
    return interval(metric, found) if found else ""


def _baseline_title(result: AblationResult) -> str:
    return f"{TASKS[result.task].baseline_name}, the first's input"


def _title(result: AblationResult, metric: Metric) -> str:
    return f"{result.corpus}: test {metric.title}, scores {TASKS[result.task].caption}"


def _detail_table(result: AblationResult) -> Table:
    detail = TASKS[result.task].detail
    heads = ["variant", *(key.split("/", 1)[1] for key in result.variants[0].details)]
    rows = [(one.name, *map(detail.show, one.details.values())) for one in result.variants]
    unit = " in %" if detail.format == "percent" else ""
    note = ""
    if len(heads) > _MOST_COLUMNS:  # a line a detail, where they would not fit side by side
        _, *details = zip(heads, *rows, strict=True)
        heads, rows = ["", *(str(k) for k in range(1, len(rows) + 1))], details
        note = "; ".join(f"{k}: {one.name}" for k, one in enumerate(result.variants, start=1))
    return Table(f"{detail.title}{unit}", heads, rows, note=note)


def _by_seed(result: TrialResult, metric: str, part: Literal["val", "test"] = "test") -> np.ndarray:
    """Scores [seed, fold]."""
    scores = np.array([getattr(fold, part)[metric] for fold in result.folds])
    return scores.reshape(len(result.seeds), -1)
