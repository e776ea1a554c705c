"""A result as the sections of its report: what stands first is what a reader must know first.

Result, pictures of the task, settings, folder -> title, lines, sections -> page (HTML) or Markdown
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from raysys.config.names import describe, show_value, symbol
from raysys.report.ablation import ablation_lines
from raysys.report.groups import group_tables
from raysys.report.headline import inputs_for, sentence
from raysys.report.page import Block, Command, Parallel, Raw, Section
from raysys.report.results import AblationResult, Result, StudyResult, TrialRecord, TrialResult
from raysys.report.study_pictures import Space, height
from raysys.report.tables import baseline_table, score_table
from raysys.report.terminal import result_lines
from raysys.tasks.exhibits import Confusions, HeatMap, Picture, Reliability, Table, Tree
from raysys.tasks.task import Metric


@dataclass(frozen=True)
class Material:
    """What a report is made of, besides the result itself."""

    name: str
    """Name of the run."""
    settings: Mapping[str, Any]
    """Those that differ from the defaults, by their dotted names."""
    again: str
    """The command that repeats it."""
    place: str
    """What the commands below call the run."""
    reads: Sequence[str]
    """Modalities of the model."""
    pictures: Sequence[Picture] = ()
    """The task's."""
    drawn: Sequence[str] = ()
    """SVG of pictures that were drawn when the run ended, such as attention maps."""
    figures: Mapping[str, Figure] | None = None
    """A study's."""
    space: Space | None = None
    """A study's."""


def report_title(result: Result, made_of: Material) -> str:
    """The page's title."""
    what = {"study": "search", "ablation": "ablation", "refit": "final model"}
    return f"{made_of.name}: {what.get(result.kind, 'cross-validation')} on {result.corpus}"


def report_lines(result: Result) -> list[str]:
    """What a reader must know: the headline, and what the audit warns of."""
    warned = [f"Warning: {one.message}" for one in result.audit if one.level == "warning"]
    first, _, rest = sentence(result).partition(". ")
    return [f"{first.rstrip('.')}.", *([rest] if rest else []), *warned]


def report_sections(result: Result, made_of: Material) -> list[Section]:
    """All sections, the most important first; those of what a result has not are empty."""
    found = [*_scores(result), *_search(result, made_of), *_details(result, made_of)]
    audit = [f"{one.level}: {one.message}" for one in result.audit] or [
        "The leak audit found nothing."
    ]
    settings = [(name, str(value)) for name, value in sorted(made_of.settings.items())]
    rest = [
        Section("Audit", audit),
        Section(
            "Settings that differ from the defaults", [Table("", ("setting", "value"), settings)]
        ),
        Section("Do it again", [Command(made_of.again)]),
    ]
    if not isinstance(result, AblationResult):
        files = [] if tuple(made_of.reads) == ("text",) else ["FILE.wav"]
        texts = ', texts=["WHAT IS SAID"]' if "text" in made_of.reads else ""
        told = Command(
            f"python -m jobs.predict {made_of.place}{inputs_for(made_of.reads)}\n\n"
            f'import raysys\nraysys.load("{made_of.place}").predict({files}{texts})'
        )
        rest.append(Section("Predict with it", [told]))
    return [*found, *rest]


def _scores(result: Result) -> Iterator[Section]:
    if isinstance(result, TrialResult):
        tables = [score_table(result), *([baseline_table(result)] if result.baselines else [])]
        yield Section("Scores", tables)
    elif isinstance(result, AblationResult):
        yield Section("Variants", list(ablation_lines(result)))


def _search(result: Result, made_of: Material) -> Iterator[Section]:
    if not isinstance(result, StudyResult):
        return
    metric = next(m for m in result.metrics if m.name == result.objectives[0])
    lines = list(result_lines(result))
    first = next(
        place
        for place, line in enumerate(lines)
        if isinstance(line, str) and "the chosen conf" in line
    )
    yield Section("Choice, claim and confirmation", lines[:first])
    blocks: list[Block] = []
    if made_of.space:
        blocks.append(_parallel(made_of.space, result.trials, metric))
    kept = ("history", "importances", "pareto_front")
    blocks += [figure for name, figure in (made_of.figures or {}).items() if name in kept]
    blocks.append(_trials(result, metric))
    yield Section("Trials", blocks)


def _parallel(space: Space, records: Sequence[TrialRecord], metric: Metric) -> Parallel:
    scored = [one for one in records if metric.name in one.scores]
    worth = [metric.worth(one.scores[metric.name]) for one in scored]
    least, most = (min(worth), max(worth)) if worth else (0.0, 1.0)
    scale = (most - least) or 1.0
    axes = [(symbol(name), *(show_value(end) for end in _ends(space[name]))) for name in space]
    good, bad = (metric.show(metric.worth(end)) for end in (most, least))
    lines = [
        (
            f"{one.name}, {one.state.lower()}: val {metric.title} {metric.show(one.scores[metric.name])}; "
            f"{describe(one.values)}",
            [*(height(space, name, one.values[name]) for name in space), (value - least) / scale],
            (value - least) / scale,
        )
        for one, value in zip(scored, worth, strict=True)
    ]
    return Parallel([*axes, (f"val {metric.title}", bad, good)], lines)  # type: ignore[list-item]


def _ends(item: Any) -> tuple[Any, Any]:
    return (item.choices[0], item.choices[-1]) if item.choices else (item.low, item.high)


def _trials(result: StudyResult, metric: Metric) -> Table:
    rows = [
        (
            one.name,
            one.state.lower(),
            metric.show(one.scores.get(metric.name)),
            f"{one.epochs} of {one.most_epochs}",
            *(show_value(one.values[name]) for name in _varied(result)),
            one.reason or ("stopped early: behind the others" if one.state == "PRUNED" else ""),
        )
        for one in result.trials
    ]
    names = (symbol(name) for name in _varied(result))
    heads = ("trial", "state", f"val {metric.title}", "epochs", *names, "why")
    return Table("every trial", heads, rows, strong=(f"val {metric.title}",))


def _varied(result: StudyResult) -> list[str]:
    return list(result.trials[0].values) if result.trials else []


def _details(result: Result, made_of: Material) -> Iterator[Section]:
    """What stands below the scores of a configuration."""
    if isinstance(result, TrialResult | StudyResult):
        yield Section("Details", result.summary.tables())
        yield Section("By group", list(group_tables(result.groups, result.metrics)))
    for heading, kinds in _HEADINGS.items():
        yield Section(heading, [one for one in made_of.pictures if isinstance(one, kinds)])
    known = tuple(kind for kinds in _HEADINGS.values() for kind in kinds)
    yield Section("Pictures", [one for one in made_of.pictures if not isinstance(one, known)])
    yield Section(
        "Attention maps", [Raw(f'<figure class="wide">{one}</figure>') for one in made_of.drawn]
    )
    costs = [
        line for line in result_lines(result) if isinstance(line, str) and line.startswith(_COSTS)
    ]
    yield Section("Cost", costs)


_COSTS = ("time ", "cost ", "efficiency ")
_HEADINGS: Mapping[str, tuple[type, ...]] = {
    "Confusions": (Confusions,),
    "Reliability of the probabilities": (Reliability,),
    "Similarity of emotions": (HeatMap, Tree),
}
