"""What a study may say: chosen on validation, opened on test once, beside the nested estimate and the untuned one.

    candidates (trials with all their folds, and the untuned configuration), each fold's validation scores
      -> chosen: best mean over folds                        -> its test scores are opened
      -> nested: for each fold the best on that fold's val   -> its score on that fold's test
      -> difference: chosen - untuned, fold by fold, with an interval

The chosen configuration's own test score is a little optimistic where one fold's test utterances were another fold's
validation: all folds took part in the choice. The nested estimate chooses fold by fold and is free of that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysys.config import Objective
from raysys.corpus.folds import Fold
from raysys.report import break_down, mean_and_std, paired_difference, test_share
from raysys.search.searcher import direction
from raysys.storage import Folder
from raysys.training.metrics import METRICS, score
from raysys.training.predictions import Predictions, read_predictions
from raysys.training.task import FoldResult


@dataclass(frozen=True)
class Candidate:
    """A configuration that has all its folds."""

    name: str
    values: Mapping[str, Any]
    """Setting -> value; empty for the untuned one."""
    round: int
    folds: Sequence[FoldResult]
    """In the order of the folds."""

    def mean(self, metric: str) -> float:
        """Mean validation score over folds."""
        return float(np.mean([fold.val[metric] for fold in self.folds]))


def choose(candidates: Sequence[Candidate], objective: Objective) -> Candidate:
    """The candidate with the best mean validation score; the earliest of equals."""
    return max(candidates, key=lambda c: _better(objective, c.mean(objective)))


def pareto_front(
    candidates: Sequence[Candidate], objectives: Sequence[Objective]
) -> list[Candidate]:
    """Candidates that no other beats in one objective without losing in another."""
    points = np.array([[_better(o, c.mean(o)) for o in objectives] for c in candidates])

    def beaten(k: int) -> bool:
        at_least, above = (points >= points[k]).all(axis=1), (points > points[k]).any(axis=1)
        return bool((at_least & above).any())

    return [candidate for k, candidate in enumerate(candidates) if not beaten(k)]


def choose_by_fold(candidates: Sequence[Candidate], objective: Objective) -> list[Candidate]:
    """For each fold the candidate that is best on that fold's validation part; the earliest of equals."""
    n_folds = len(candidates[0].folds)
    return [
        max(candidates, key=lambda c: _better(objective, c.folds[k].val[objective]))
        for k in range(n_folds)
    ]


def open_test(folds: Sequence[FoldResult]) -> list[Predictions]:
    """Read stored test predictions: the only place of a study that does.

    Raises:
        StorageError: predictions are missing or damaged.
    """
    return [read_predictions(Folder(fold.folder)) for fold in folds]


def honest_result(
    candidates: Sequence[Candidate],
    objectives: Sequence[Objective],
    folds: Sequence[Fold],
    *,
    emotions: Sequence[str],
    speakers: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """Choose, open, and compare.

    Args:
        candidates: the untuned configuration first, then the trials that have all their folds.
        objectives: the first chooses.
        folds: of the study.
        emotions: the classes, in order.
        speakers: of every fold's test utterances.

    Returns:
        `chosen`, `test`, `nested`, `untuned`, `difference`, `pareto`, as in result.json, and the chosen
        configuration's scores by emotion and speaker (`raysys.report.break_down`).
    """
    objective = objectives[0]
    chosen, untuned = choose(candidates, objective), candidates[0]
    by_fold = choose_by_fold(candidates, objective)
    stored = {
        "test": open_test(chosen.folds),
        "nested": open_test([candidate.folds[k] for k, candidate in enumerate(by_fold)]),
        "untuned": open_test(untuned.folds),
    }
    opened = {
        name: [score(part.labels, part.predicted) for part in parts]
        for name, parts in stored.items()
    }
    parts = {
        name: {"folds": [dict(one) for one in scores], **mean_and_std(scores)}
        for name, scores in opened.items()
    }
    both = {m: [[one[m] for one in opened[p]] for p in ("test", "untuned")] for m in METRICS}
    return {
        "chosen": {
            "name": chosen.name,
            "round": chosen.round,
            "values": dict(chosen.values),
            "val": {metric: chosen.mean(metric) for metric in chosen.folds[0].val},
        },
        **parts,
        **break_down(stored["test"], emotions, speakers),
        "nested_choice": [candidate.name for candidate in by_fold],
        "difference": {
            metric: paired_difference(test, base, shared=test_share(folds))
            for metric, (test, base) in both.items()
        },
        "pareto": [
            {"name": c.name, **{o: c.mean(o) for o in objectives}}
            for c in pareto_front(candidates, objectives)
        ],
    }


def _better(objective: Objective, value: float) -> float:
    """Larger is better."""
    return -value if direction(objective) == "minimize" else value
