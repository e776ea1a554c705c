"""What a study may say: chosen on validation, opened on test once, with the untuned one.

    candidates (trials with all their folds, and the untuned configuration), each fold's validation scores
      -> chosen: best mean over folds                        -> its test scores are opened
      -> by fold: for each fold the best on its own val      -> its score on that fold's test
      -> difference: chosen - untuned, fold by fold, with an interval

The chosen configuration's own test score is a little optimistic where one fold's test utterances were another fold's
validation: all folds took part in the choice. Chosen fold by fold it is less so, but which trials there are was steered
by all folds; what is free of that is a nested search (`raysys.running.nested`). What was chosen on few seeds also
owes something to their luck: `confirm` compares it with the untuned one on fresh seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysys.corpus.folds import FoldKey
from raysys.predictions import Predictions
from raysys.report.scores import Confirmation, Difference, PartScores
from raysys.report.statistics import (
    enough_to_tell,
    paired_difference,
    part_scores,
    seed_difference,
    test_share,
    undominated,
)
from raysys.running.opening import compare_on_test, open_test
from raysys.running.plan import Plan
from raysys.tasks.task import Metric, Task, compared
from raysys.trials.trial import TrialOutcome


def choose(candidates: Sequence[TrialOutcome], objective: Metric) -> TrialOutcome:
    """The candidate with the best mean validation score; the earliest of equals."""
    return max(candidates, key=lambda c: objective.worth(c.mean(objective.name)))


def pareto_front(
    candidates: Sequence[TrialOutcome], objectives: Sequence[Metric]
) -> list[TrialOutcome]:
    """Candidates that no other beats in one objective without losing in another."""
    points = np.array([[o.worth(c.mean(o.name)) for o in objectives] for c in candidates])
    front = undominated(points)
    return [one for one, is_there in zip(candidates, front, strict=True) if is_there]


def choose_by_fold(candidates: Sequence[TrialOutcome], objective: Metric) -> list[TrialOutcome]:
    """For each fold the candidate that is best on its validation part, mean over seeds; the earliest of equals."""
    name = objective.name
    return [
        max(
            candidates,
            key=lambda c: objective.worth(
                sum(one.val[name] for one in c.of_fold(fold)) / len(c.trial.seeds)
            ),
        )
        for fold in sorted({result.fold for result in candidates[0].folds})
    ]


@dataclass(frozen=True)
class HonestResult:
    """See the module."""

    chosen: TrialOutcome
    by_fold: tuple[TrialOutcome, ...]
    """For each fold the candidate that is best on its val."""
    test: PartScores
    opened_by_fold: PartScores
    """Test scores of those."""
    untuned: PartScores
    difference: dict[str, Difference]
    pareto: tuple[dict[str, Any], ...]
    predictions: list[Predictions]
    """Predictions of the chosen configuration, seed by seed and fold by fold."""


def confirm(
    plan: Plan, chosen: TrialOutcome, untuned: TrialOutcome, *, gap: float = 0.01
) -> Confirmation:
    """Open the test predictions of both configurations, trained again with fresh seeds, and compare them.

    Args:
        plan: of the study.
        chosen: the chosen configuration with its fresh seeds.
        untuned: the other with the same.
        gap: a difference that one would like to distinguish from noise; one point where scores are in per cent.
    """
    opened = [open_test(plan, one.folds) for one in (chosen, untuned)]
    scores = [_scores(plan.task, one) for one in opened]
    known = next(iter(scores[0].values()))
    metrics = compared(plan.task.metrics, plan.config.objectives[0])
    names = [metric.name for metric in metrics if metric.name in known]
    seeds = tuple(chosen.trial.seeds)
    difference, enough = {}, {}
    for name in names:
        tests = [
            np.array([one[key][name] for key in sorted(one)]).reshape(len(seeds), -1)
            for one in scores
        ]
        difference[name] = seed_difference(*tests, folds=plan.folds)
        enough[name] = enough_to_tell(tests[0] - tests[1], gap, folds=plan.folds)
    ours, others = (part_scores(one, names) for one in scores)
    on_test = compare_on_test(plan, opened[0], _outputs(opened[1]), names)
    return Confirmation(seeds, ours, others, difference, enough, on_test)


def open_choice(
    plan: Plan, candidates: Sequence[TrialOutcome], objectives: Sequence[Metric]
) -> HonestResult:
    """Choose, open, and compare.

    Args:
        plan: of the study.
        candidates: the untuned configuration first, then the trials that have all their folds.
        objectives: the first chooses.
    """
    objective = objectives[0]
    chosen, untuned = choose(candidates, objective), candidates[0]
    by_fold = choose_by_fold(candidates, objective)
    opened = {
        "test": open_test(plan, chosen.folds),
        "opened_by_fold": open_test(
            plan, [r for k, one in enumerate(by_fold) for r in one.of_fold(k)]
        ),
        "untuned": open_test(plan, untuned.folds),
    }
    parts = {name: score_parts(plan.task, predictions) for name, predictions in opened.items()}
    front = pareto_front(candidates, objectives)
    return HonestResult(
        chosen,
        tuple(by_fold),
        **parts,
        difference=differences(plan, opened["test"], opened["untuned"], objective),
        pareto=tuple(
            {"name": c.name, **{o.name: c.mean(o.name) for o in objectives}} for c in front
        ),
        predictions=list(opened["test"].values()),
    )


def differences(
    plan: Plan,
    ours: Mapping[FoldKey, Predictions],
    others: Mapping[FoldKey, Predictions],
    objective: Metric,
) -> dict[str, Difference]:
    """Metric -> ours - others, with its interval over folds; over what was tested, where there is one fold.

    Args:
        plan: of the study.
        ours: test predictions of one configuration, or of one for each fold.
        others: the same of the untuned one.
        objective: that chose; compared in addition to the scores in tables.
    """
    parts = [score_parts(plan.task, one) for one in (ours, others)]
    metrics = compared(plan.task.metrics, objective)
    names = [metric.name for metric in metrics if metric.name in parts[0].mean]
    on_test = compare_on_test(plan, ours, _outputs(others), names)
    if on_test is not None:
        return on_test.difference
    return {
        name: paired_difference(
            *([fold[name] for fold in part.folds] for part in parts),
            shared=test_share(plan.folds),
        )
        for name in names
    }


def _outputs(opened: Mapping[FoldKey, Predictions]) -> list[np.ndarray]:
    return [part.outputs for part in opened.values()]


def score_parts(task: Task, opened: Mapping[FoldKey, Predictions]) -> PartScores:
    """Every score of opened test predictions, fold by fold and over them."""
    scores = _scores(task, opened)
    return part_scores(scores, list(next(iter(scores.values()))))


def _scores(task: Task, opened: Mapping[FoldKey, Predictions]) -> dict[FoldKey, dict[str, float]]:
    return {key: task.score(part.outputs, part.truth) for key, part in opened.items()}
