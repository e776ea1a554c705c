"""Real commands whose folds are done in this process: the whole of a command, but Ray, in seconds.

What is tested with it is what the driver does: files, MLflow, resuming. The pool itself is tested on a real Ray.
"""

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from raysys.cluster.aggregator import Aggregator
from raysys.cluster.ledger import Event
from raysys.commands import ablate, cross_validate, refit
from raysys.config import Config
from raysys.config.running import Distribution, SearchConfig
from raysys.report.results import plain
from raysys.running import rounds
from raysys.running.plan import Plan
from raysys.running.session import Baselines, Session
from raysys.similarity.matrix import SimilarityConfig
from raysys.storage import as_json
from raysys.training.fold import run_fold
from raysys.training.records import FoldTask


class HerePool:
    """Does one fold a call of `poll`, in the order in which they were submitted."""

    workers = 1

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._waiting: deque[FoldTask] = deque()
        self.present = {0}

    def submit(self, tasks: Sequence[FoldTask]) -> None:
        self._waiting.extend(tasks)

    def cancel(self, trial: str) -> None:
        self._waiting = deque(task for task in self._waiting if task.trial != trial)

    def poll(self, wait_seconds: float = 0.0) -> list[Event]:
        if not self._waiting:
            return []
        task = self._waiting.popleft()
        events = [self._event("taken", task)]

        def on_epoch(record: Any) -> bool:
            events.append(self._event("epoch", task, record))
            return True

        try:
            result = run_fold(task, self._plan.data, on_epoch)
        except Exception as error:
            return [*events, self._event("failed", task, [str(error)])]
        return [*events, self._event("done", task, result)]

    def _event(self, kind: Any, task: FoldTask, payload: Any = None) -> Event:
        return Event(kind, task.key, 0, time.monotonic(), payload)


class HereAggregator:
    """The actor's work, without the actor."""

    def __init__(self, aggregation: Any) -> None:
        self._one = Aggregator(aggregation) if aggregation else None

    def summary(self, folders: Mapping[Any, str]) -> Any:
        return self._one.summary(folders) if self._one else None


def tiny(config: Config) -> Config:
    """The config with two epochs and few resamples: its folds take a tenth of a second."""
    training = replace(config.training, max_epochs=2)
    return replace(config, training=training, similarity=SimilarityConfig(resamples=10))


def small_study(config: Config, **search: object) -> Config:
    """A study around `tiny`: two trials of mu1, one after the other, chosen by the loss."""
    usual = {"num_trials": 2, "concurrency": 1, "scheduler": "none", "confirm_seeds": 0}
    space = {"loss.mu1": Distribution(0.0, 0.5)}
    settings = {**usual, "space": space, "objectives": ("loss",), **search}
    return replace(tiny(config), name="study", search=SearchConfig(**settings))  # type: ignore[arg-type]


def numbers(result: Any) -> Any:
    """What of a command's result is the same when it is done again."""
    left_out = ("seconds", "mlflow", "audit")
    content = {k: v for k, v in plain(result).items() if k not in left_out}
    return without_cost(json.loads(as_json(content)))


def without_cost(content: Any) -> Any:
    """Without what models cost, wherever that stands: seconds and memory are others each time."""
    if isinstance(content, dict):
        return {k: without_cost(v) for k, v in content.items() if k != "cost"}
    return [without_cost(one) for one in content] if isinstance(content, list) else content


@contextmanager
def here_session(plan: Plan, *, most_tasks: int) -> Iterator[Session]:
    config = plan.config
    aggregator = HereAggregator(
        plan.task.aggregation(config.similarity, config.seed, plan.speakers)
    )
    pool: Any = HerePool(plan)
    yield Session(plan, pool, Baselines(plan), time.monotonic(), aggregator)  # type: ignore[arg-type]


def do_folds_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands of this test do their folds in this process."""
    for module in (ablate, cross_validate, refit, rounds):
        monkeypatch.setattr(module, "open_session", here_session)
