"""Processes killed in the middle of a run, which then ends in the same bits."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from mlflow import MlflowClient

from raysys.benchmarks.local_cluster import family, title
from raysys.cluster.aggregator import RunningAggregator
from raysys.config import Config
from raysys.running import session
from raysys.settings import replaced
from tests.cluster.conftest import Ran, fold_curve, run
from tests.cluster.gate import Gate, gated_fold, kill_at, let_go, process_at

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("own_pool")]


@pytest.mark.proof("cluster", "training", "trials", "running", "commands", "tracking")
def test_workers_controller_and_aggregation_actor_killed_in_one_run_change_no_bit(
    reference: Ran, own_pool: None, small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Folds are held in the middle of training: two workers die there, then the controller, at the end the actor.

    Without a dashboard, Ray Train's own cleaner cannot see that its controller has died.
    """
    gate = Gate(tmp_path / "gate")
    points = [gate.hold("small", fold, epoch) for fold, epoch in ((0, 2), (2, 3))]
    last = gate.hold("small", 4, 1)
    monkeypatch.setattr(session, "run_fold", partial(gated_fold, gate))
    killed: list[int] = []
    actors: list[Any] = []

    def kill() -> None:
        killed.extend(map(kill_at, points))
        process_at(last)
        (controller,) = [one for one in family(os.getpid()) if "ray::TrainCon" in title(one)]
        os.kill(controller, signal.SIGKILL)
        killed.append(controller)
        let_go(last)

    def summary(self: Any, folders: Any) -> Any:
        actors.append(self.actor)
        answer = self.actor.summary.remote(folders)
        ray.kill(self.actor, no_restart=False)
        return ray.get(answer)

    monkeypatch.setattr(RunningAggregator, "summary", summary)
    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    again = run(replaced(small, {"cluster.max_attempts": 20}))
    thread.join(10)
    assert len(set(killed)) == 3
    assert not last.exists()
    assert again.numbers == reference.numbers
    client = MlflowClient(f"sqlite:///{small.storage.runs}/mlflow.db")
    for fold in range(5):
        curve = fold_curve(client, again.result.mlflow.run_id, fold, "val/ua")
        assert sorted(curve) == [1, 2, 3, 4]
    with pytest.raises(ray.exceptions.ActorDiedError):  # it ends with the run, by and by
        for _ in range(1000):
            ray.get(actors[-1].__ray_ready__.remote())
            time.sleep(0.1)
