"""What a finished ablation says: test scores of every variant, differences from the first, the paper's beside ours."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from raysys.config import Config
from raysys.corpus.folds import Fold
from raysys.report.results import AblationResult, Difference, TrialResult, VariantResult
from raysys.report.statistics import mean_and_std, paired_difference, test_share
from raysys.report.tables import Line, cells, interval
from raysys.tasks import TASKS
from raysys.tasks.exhibits import Table
from raysys.tasks.task import shown

_SELECTED = {"test": "best on test", "val": "best on val", "unknown": "how chosen?"}
"""By which part's score somebody chose the epoch that is reported."""


def compare_variants(
    config: Config, results: Mapping[str, Sequence[TrialResult]], folds: Sequence[Fold]
) -> tuple[VariantResult, ...]:
    """Means, spreads and differences of every variant, in their order.

    Args:
        config: of the ablation: variants, their settings and published figures.
        results: variant -> each seed's result; those that failed are left out.
        folds: of all of them.

    Returns:
        `mean` and `std` over seeds and folds; `difference` from the first variant, metric by metric: over folds (each
        the mean of its seeds) with the corrected interval, or over seeds where there is one fold.
    """
    compared = []
    names = [metric.name for metric in shown(config.task_type.metrics)]
    first: dict[str, np.ndarray] = {}
    for name, trials in results.items():
        variant = config.ablation.variants[name]
        over = {
            part: mean_and_std([getattr(f, part) for one in trials for f in one.folds], names)
            for part in ("val", "test")
        }
        tests = {m: np.array([[f.test[m] for f in one.folds] for one in trials]) for m in names}
        difference = {m: _difference(tests[m], first[m], folds) for m in names} if first else None
        first = first or tests
        details = [one.summary.scores() for one in trials]
        compared.append(
            VariantResult(
                name,
                dict(variant.settings),
                variant.published,
                {part: both.mean for part, both in over.items()},
                {part: both.std for part, both in over.items()},
                difference,
                {key: float(np.mean([one[key] for one in details])) for key in details[0]},
            )
        )
    return tuple(compared)


def ablation_lines(result: AblationResult) -> Iterator[Line]:
    """The table, details of the task, and what it rests on."""
    yield variant_table(result)
    for line in result.failed:
        yield f"failed       {line}"
    if result.source:
        yield f"published    {result.source}"
    seeds, folds = result.seeds, result.n_folds
    yield (
        f"ours         epochs chosen on validation, test read once; mean +- std over {seeds} seed(s) x {folds} fold(s)"
    )
    over = "folds (Nadeau & Bengio 2003)" if folds > 1 else "seeds: what the training's chance does"
    with_interval = f", with a 95 % interval over {over}" if seeds * folds > 1 else ""
    yield f"difference   from the first line{with_interval}"
    yield _detail_table(result)
    yield f"time         {result.seconds['total']:.0f} s"


def variant_table(result: AblationResult) -> Table:
    """A line a variant, then the baseline."""
    task = TASKS[result.task]
    metric = next(one for one in result.metrics if one.name == result.metric)
    others = [one for one in shown(result.metrics) if one != metric]
    has_published = any(one.published is not None for one in result.variants)
    published = f"published,\n{_SELECTED[result.selected_on]}"
    heads = [
        "variant",
        *([published] if has_published else []),
        f"ours,\n{_SELECTED['val']}",
        "difference",
        f"val {metric.title}",
        *(one.title for one in others),
    ]
    rows: list[Sequence[str]] = []
    for one in result.variants:
        test, std = one.mean["test"], one.std["test"]
        shown_before = "-" if one.published is None else f"{one.published:.2f}"
        found = one.difference and one.difference.get(metric.name)
        rows.append(
            (
                one.name,
                *([shown_before] if has_published else []),
                f"{metric.show(test[metric.name])} +- {metric.show(std[metric.name])}",
                interval(metric, found) if found else "",
                metric.show(one.mean["val"].get(metric.name)),
                *cells(others, test),
            )
        )
    baseline = result.baseline.mean
    rival = f"{task.baseline_name}, the first's input"
    blank = [""] if has_published else []
    own = metric.show(baseline[metric.name])
    rows += [(), (rival, *blank, own, "", "", *cells(others, baseline))]
    title = f"{result.corpus}: test {metric.title}, scores {task.caption}"
    return Table(title, heads, rows, faint=(published,))


def _detail_table(result: AblationResult) -> Table:
    detail = TASKS[result.task].detail
    heads = ["variant", *(key.split("/", 1)[1] for key in result.variants[0].details)]
    rows = [(one.name, *map(detail.show, one.details.values())) for one in result.variants]
    unit = " in %" if detail.format == "percent" else ""
    return Table(f"{detail.title}{unit}, mean over seeds", heads, rows)


def _difference(tests: np.ndarray, first: np.ndarray, folds: Sequence[Fold]) -> Difference:
    """Of scores [seed, fold]."""
    if len(folds) > 1:
        return paired_difference(tests.mean(axis=0), first.mean(axis=0), shared=test_share(folds))
    return paired_difference(tests[:, 0], first[:, 0], shared=0.0)
