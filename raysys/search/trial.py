"""A trial: a light function that submits its folds to the pool and streams their mean to Tune.

    proposal -> FoldTasks -> FoldQueue -> epochs of the folds -> MeanCurve -> tune.report

It holds no model and imports no torch: an actor of it takes a thousandth of a CPU beside the pool's workers. It does no
clean-up, since Tune may end it at any report; the driver cancels the folds of a trial that was stopped.
"""

from dataclasses import dataclass
from typing import Any

import ray
import ray.tune

from raysys.cluster.queue import Event
from raysys.config import Config, replaced
from raysys.errors import ConfigError
from raysys.search.curve import MeanCurve, Point
from raysys.training.task import fold_tasks

FIRST = "first_objective"
"""Key of the objective that the scheduler compares."""
_WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class Round:
    """What all trials of a round share."""

    config: Config
    """The untuned configuration."""
    folder: str
    """Path or URI under which each trial has its folder."""
    n_folds: int
    objectives: tuple[str, ...]
    milestones: tuple[int, ...]
    """Epochs at which a trial may be stopped, and folds wait for each other."""
    similarity: list[Any] | None
    """S of the emotion-aware term, [fold][class][class]."""


def run_trial(proposal: dict[str, Any], *, queue: Any, shared: Round) -> None:
    """The Tune trainable.

    Args:
        proposal: `trial` (name) and `values` (setting -> value).
        queue: handle of the fold queue.
        shared: see `Round`.
    """
    name = str(proposal["trial"])
    try:
        config = replaced(shared.config, proposal["values"])
    except (
        ConfigError
    ) as error:  # values that do not go together: this trial fails, the study goes on
        ray.tune.report(failure(str(error)))
        return
    folder, n_folds = f"{shared.folder}/{name}", shared.n_folds
    tasks = fold_tasks(name, config, folder, shared.similarity, n_folds, shared.milestones)
    ray.get(queue.submit.remote(tasks))
    curve, seen = MeanCurve(n_folds, config.training.select), 0
    ended: set[int] = set()
    while len(ended) < n_folds:
        events: list[Event] = ray.get(queue.events.remote(seen, _WAIT_SECONDS, name))
        seen += len(events)
        for event in events:
            fold = event.key[1] if event.key else -1
            if event.kind == "failed":
                ray.tune.report(failure(f"fold {fold}: {'; '.join(event.payload)}"))
                return
            if event.kind == "epoch":
                curve.add(fold, event.payload)
            elif event.kind == "done":
                curve.end(fold)
                ended.add(fold)
        for point in curve.fresh(before=config.training.max_epochs):
            ray.tune.report(report(point, shared))
    ray.tune.report(report(curve.last(), shared, final=True))


def report(point: Point, shared: Round, *, final: bool = False) -> dict[str, Any]:
    """What Tune, the searcher and the callbacks see of a point."""
    objectives = {objective: point.best[objective] for objective in shared.objectives}
    return {
        "epoch": point.epoch,
        "final": final,
        "failure": "",
        "objectives": objectives,
        "val": point.val,
        "best": point.best,
        FIRST: objectives[shared.objectives[0]],
    }


def failure(reason: str) -> dict[str, Any]:
    """What is reported of a trial that failed; epoch 0 is no rung of the scheduler."""
    empty: dict[str, float] = {}
    return {
        "epoch": 0,
        "final": False,
        "failure": reason,
        "objectives": empty,
        "val": empty,
        "best": empty,
        FIRST: 0.0,
    }
