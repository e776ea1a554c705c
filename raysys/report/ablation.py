"""What a finished ablation says: test scores of every variant, differences from the first, the paper's beside ours."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from raysys.config import Config
from raysys.corpus.folds import Fold
from raysys.report.results import AblationResult, TrialResult, VariantResult
from raysys.report.statistics import seed_difference
from raysys.report.tables import Line, cells, interval
from raysys.tasks import TASKS
from raysys.tasks.exhibits import Table
from raysys.tasks.task import shown

_SELECTED = {"test": "best on test", "val": "best on val", "unknown": "how chosen?"}
"""By which part's score somebody chose the epoch that is reported."""
_PARTS = ("val", "test")


def compare_variants(
    config: Config, results: Mapping[str, TrialResult], folds: Sequence[Fold]
) -> tuple[VariantResult, ...]:
    """Means, spreads and differences of every variant, in their order.

    Args:
        config: of the ablation: variants, their settings and published figures.
        results: variant -> its result; those that failed are left out.
        folds: of all of them.

    Returns:
        Means and deviations as of each result; `difference` from the first variant, metric by metric: over folds (each
        the mean of its seeds) with the corrected interval, or over seeds where there is one fold.
    """
    compared = []
    names = [metric.name for metric in shown(config.task_type.metrics)]
    first: dict[str, np.ndarray] = {}
    for name, one in results.items():
        variant = config.ablation.variants[name]
        tests = {m: _by_seed(one, m) for m in names}
        difference = (
            {m: seed_difference(tests[m], first[m], folds=folds) for m in names} if first else None
        )
        first = first or tests
        compared.append(
            VariantResult(
                name,
                dict(variant.settings),
                variant.published,
                {part: one.mean[part] for part in _PARTS},
                {part: one.std[part] for part in _PARTS},
                {part: one.seed_std[part] for part in _PARTS},
                difference,
                one.summary.scores(),
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
    what = f"{folds} folds" + (f" of the mean of {seeds} seeds" if seeds > 1 else "")
    yield (
        "ours         epochs chosen on validation, test read once; mean +- std over "
        f"{what if folds > 1 else f'{seeds} seed(s)'}"
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
        test = one.mean["test"]
        std = one.std["test"] if result.n_folds > 1 else one.seed_std["test"]
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
    return Table(f"{detail.title}{unit}", heads, rows)


def _by_seed(result: TrialResult, metric: str) -> np.ndarray:
    """Test scores [seed, fold]."""
    scores = np.array([fold.test[metric] for fold in result.folds])
    return scores.reshape(len(result.seeds), -1)
