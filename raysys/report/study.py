"""The end of a study: what was chosen, what it scores, and what that rests on."""

from collections.abc import Iterator, Mapping, Sequence

from raysys.config.names import describe
from raysys.report.cost import cost_line
from raysys.report.groups import group_tables
from raysys.report.results import UNTUNED, StudyResult
from raysys.report.scores import PartScores, RoundResult, Spread
from raysys.report.tables import Line, interval, spread_cells
from raysys.tasks import TASKS
from raysys.tasks.exhibits import Table
from raysys.tasks.task import Metric, compared

_CLAIM = "difference, confirmed"


def study_lines(result: StudyResult) -> Iterator[Line]:
    """Trials, choice, test scores, the difference, what a nested search gives, rounds, time."""
    metrics = {metric.name: metric for metric in result.metrics}
    objectives = [metrics[name] for name in result.objectives]
    yield from _effort(result)
    first, chosen = objectives[0], result.chosen
    values = describe(chosen.values) or "no trial did better than the untuned configuration"
    score = first.show(chosen.val[first.name])
    yield f"chosen       {chosen.name} by validation {first.name} {score}: {values}"
    yield f"untuned      {describe(result.untuned_values)}"
    for one in result.pareto if len(objectives) > 1 else ():
        scores = ", ".join(f"{o.name} {o.show(one[o.name])}" for o in objectives)
        yield f"Pareto       {one['name']}: validation {scores}"
    yield score_table(result)
    yield from _claim(result, first if first.in_tables else metrics[TASKS[result.task].main])
    yield f"{chosen.name}, the chosen configuration"
    yield from result.summary.tables()
    yield from group_tables(result.groups, result.metrics)
    for choice in result.nested.choices if result.nested else ():
        told = describe(choice.values) or "the untuned configuration"
        yield f"nested       fold {choice.fold}: {choice.name}, {told}"
    for search in result.rounds if len(result.rounds) > 1 else ():
        yield f"round {search.round}      {_round(search, first)}"
    if result.cost:
        yield cost_line(result.cost)
    seconds = result.seconds
    yield (
        f"time         {seconds['total']:.0f} s: start-up {seconds['startup']:.1f} s; workers busy "
        f"{100 * seconds['utilisation']:.0f} % from the first fold to the last"
    )


def score_table(result: StudyResult) -> Table:
    """Chosen, nested, untuned, baseline, and the paired differences."""
    task, objective = TASKS[result.task], result.objectives[0]
    chosen_by = next(m for m in result.metrics if m.name == objective)
    metrics = [m for m in compared(result.metrics, chosen_by) if m.name in result.difference]
    parts: Mapping[str, PartScores | Spread] = {
        "chosen": result.test,
        "chosen fold by fold": result.by_fold,
        **({"nested search": result.nested.test} if result.nested else {}),
        "untuned": result.untuned,
        f"{task.baseline_name}, same folds": result.baseline,
    }
    rows: list[Sequence[str]] = [
        (name, *spread_cells(metrics, part.mean, part.std)) for name, part in parts.items()
    ]
    rows.append(())
    rows.append(("chosen - untuned", *(interval(m, result.difference[m.name]) for m in metrics)))
    if result.nested:
        differences = (interval(m, result.nested.difference[m.name]) for m in metrics)
        rows.append(("nested - untuned", *differences))
    if result.over_baseline:
        known = result.over_baseline
        differences = (interval(m, known[m.name]) if m.name in known else "-" for m in metrics)
        rows.append((f"chosen - {task.baseline_name}", *differences))
    claim = result.confirmed
    if claim:
        rows.append(())
        seeds = f"{len(claim.seeds)} fresh seeds"
        for name, part in (
            (f"chosen, {seeds}", claim.chosen),
            ("untuned, the same", claim.untuned),
        ):
            rows.append((name, *spread_cells(metrics, part.mean, part.std)))
        rows.append((_CLAIM, *(interval(m, claim.difference[m.name]) for m in metrics)))
    several = len(result.by_fold_choice) > 1
    deviation = ", mean +- std over folds" if several else ""
    title = f"{result.corpus}, {result.model}: test scores {task.caption}{deviation}"
    note = (
        "Differences over folds with their 95 % interval (Nadeau & Bengio 2003)."
        if several
        else "One test part: the difference's 95 % interval is over what was tested (paired bootstrap)."
    )
    heads = ("", *(metric.title for metric in metrics))
    return Table(title, heads, rows, strong=(_CLAIM if claim else "chosen",), note=note)


def _claim(result: StudyResult, metric: Metric) -> Iterator[str]:
    """The difference that fresh seeds confirm, in words, with what the searched seed gave."""
    claim = result.confirmed
    if claim is None:
        untuned = result.chosen.name == UNTUNED
        why = "the untuned configuration was chosen" if untuned else "search.confirm_seeds is 0"
        yield f"confirmed    nothing: {why}"
        return
    found, title = claim.difference[metric.name], metric.title
    told = (
        "it can be distinguished from noise"
        if found.low > 0 or found.high < 0
        else "it cannot be distinguished from noise"
    )
    if found.low != found.low:
        told = "one fold and one seed say nothing about noise"
    searched = metric.show(result.difference[metric.name].mean, signed=True)
    yield (
        f"confirmed    {title} {interval(metric, found)} on {len(claim.seeds)} seeds that took no part in the choice: "
        f"{told}; the searched seed gave {searched}"
    )
    if on_test := claim.on_test:
        told = interval(metric, on_test.difference[metric.name])
        yield f"tested       {title} {told} over the {on_test.units} of the test part"
    least = f"a 1-point {title}" if metric.format == "percent" else f"a 0.01 {title}"
    enough = claim.enough[metric.name]
    what = f"{enough[0]} folds x {enough[1]} seeds" if enough else "more than can be trained"
    yield f"power        detecting {least} difference, at these deviations, would take {what}"


def _effort(result: StudyResult) -> Iterator[str]:
    states = [trial.state for trial in result.trials]
    counts = [
        f"{states.count(state)} {state.lower()}" for state in ("COMPLETE", "PRUNED", "FAILED")
    ]
    if "STOPPED" in states:
        counts.append(f"{states.count('STOPPED')} stopped by the time limit (--resume goes on)")
    yield f"trials       {', '.join(counts)}"
    saved = result.epochs
    if saved.most:
        yield (
            f"compute      {saved.done} of at most {saved.most} epochs of folds: {100 * saved.saved:.0f} % saved by "
            f"stopping {states.count('PRUNED')} trial(s) early"
        )
    for trial in result.trials:
        if trial.state == "FAILED":
            yield f"failed       {trial.name}: {trial.reason}"


def _round(one: RoundResult, objective: Metric) -> str:
    if one.name is None:
        return "no trial has all its folds"
    moved = "-" if one.moved is None else f"{one.moved:.3f}"
    return (
        f"best {one.name}, validation {objective.name} {objective.show(one.best)}; the matrix moved by {moved} "
        "(Frobenius) from this round's S"
    )
