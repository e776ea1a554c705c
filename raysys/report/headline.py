"""What came out, in a score and in a sentence."""

import math
from collections.abc import Sequence

from raysys.report.results import UNTUNED, RefitResult, Result, StudyResult, TrialResult
from raysys.report.tables import interval, over, spread, verdict
from raysys.similarity.prior import SAW_TEST_LABELS
from raysys.tasks import TASKS
from raysys.tasks.task import Metric, shown


def headline(result: Result) -> str:
    """The score that a run's name ends with; of an ablation its first variant's."""
    first = shown(result.metrics)
    if isinstance(result, StudyResult):
        parts = result.confirmed.chosen if result.confirmed else result.test
        mean, std = parts.mean, parts.std
    elif isinstance(result, RefitResult):
        mean, std = result.expected.mean, result.expected.std
    else:
        one = result if isinstance(result, TrialResult) else result.variants[0]
        mean, std = one.mean["test"], one.std["test"]
    wanted = TASKS[result.task].main
    known = [m for m in first if not math.isnan(mean[m.name])] or first
    main = next((metric for metric in known if metric.name == wanted), known[0])
    marked = any(finding.kind == SAW_TEST_LABELS for finding in result.audit)
    mark = " (S saw test labels)" if marked else ""
    if isinstance(result, RefitResult):
        mark = f" (by folds){mark}"
    elif isinstance(result, StudyResult) and result.confirmed:
        mark = f" (fresh seeds){mark}"
    return f"{main.title} {spread(main, mean, std)}{mark}"


def _chance(result: TrialResult, metric: Metric) -> tuple[str, str]:
    """What guessing scores, and a sentence where the model is not clearly above it; empty where that is not known."""
    guess = getattr(result.summary, "chance", {}).get(metric.name)
    if guess is None:
        return "", ""
    mean, std = result.mean["test"][metric.name], result.std["test"].get(metric.name, 0.0)
    is_near = not mean - std > guess  # also where the deviation is not known
    return (
        f"; chance {metric.show(guess)}",
        "That is within one deviation of chance. " if is_near else "",
    )


def on_test_parts(result: Result) -> str:
    """How what was trained did on its test parts, for those who are going to believe what it predicts."""
    if not isinstance(result, TrialResult):
        return headline(result)
    metric = next(one for one in result.metrics if one.name == TASKS[result.task].main)
    guessed, warned = _chance(result, metric)
    return f"{headline(result)} on its test parts{guessed}" + (
        f". {warned}".rstrip() if warned else ""
    )


def inputs_for(modalities: Sequence[str]) -> str:
    """What `jobs.predict` takes after the run, for a model that reads these."""
    kinds = {"audio": " FILE.wav", "image": " FILE.png", "video": " FILE.mp4"}
    if len(kinds.keys() & set(modalities)) > 1:
        return " FILE.csv"
    files = "".join(kinds.get(modality, "") for modality in modalities)
    return files + (' --text "WHAT IS SAID"' if "text" in modalities else "")


def sentence(result: Result) -> str:
    """What came out, in one sentence."""
    score = headline(result)
    if isinstance(result, TrialResult):
        first = next(iter(result.baselines), None)
        metric = next(one for one in result.metrics if one.name == TASKS[result.task].main)
        told = ""
        if first is not None:
            name = f"{'the tuned ' if first.settings else ''}{first.name}"
            told = f"; {metric.title} minus that of {name}: {interval(metric, first.difference[metric.name])}"
        known = over(len(result.seeds), len({fold.fold for fold in result.folds}))
        guessed, warned = _chance(result, metric)
        return f"{result.model} on {result.corpus}: test {score} ({known}{guessed}){told}. {warned}{verdict(result)}"
    if isinstance(result, StudyResult):
        found = result.confirmed or result
        wanted = (result.objectives[0], TASKS[result.task].main)
        main = next(
            m for name in wanted for m in result.metrics if m.name == name in found.difference
        )
        told = interval(main, found.difference[main.name])
        if result.chosen.name == UNTUNED:
            return f"The search on {result.corpus} found nothing better than the untuned configuration: test {score}."
        return (
            f"The search on {result.corpus} chose {result.chosen.name}: test {score}; {main.title} minus the untuned "
            f"configuration's: {told}."
        )
    if isinstance(result, RefitResult):
        return (
            f"{result.model}, trained on all {result.utterances} utterances of {result.corpus}; it was never tested "
            f"itself. What to expect are the test scores of {result.source}: {score}."
        )
    chosen = result.recommended
    best = f" Recommended: {chosen.name}." if chosen else ""
    return f"{len(result.variants)} variants on {result.corpus}; {result.variants[0].name}: test {score}.{best}"
