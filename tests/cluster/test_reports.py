"""How a worker tells the queue of its epochs, on a real queue: nothing is lost, and no fold waits in vain."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from raysys.cluster.leases import Ticket
from raysys.cluster.ledger import Event
from raysys.cluster.queue import start_queue
from raysys.cluster.worker import EpochReports
from tests.cluster.work import Beat

pytestmark = pytest.mark.cluster

HOLDER = (0, "token")
MILESTONE = 3


@pytest.fixture
def queue(ray_cluster: None, tmp_path: Path) -> Iterator[Any]:
    """One task, and one worker."""
    actor = start_queue(1, tmp_path)
    ray.get(actor.submit.remote([Ticket(("t", 0), (MILESTONE,), b"", "")]))
    ray.get(actor.hello.remote(*HOLDER, 1))
    yield actor
    ray.kill(actor)


def reports_of(queue: Any, gather_seconds: float) -> EpochReports:
    pulled = ray.get(queue.pull.remote(*HOLDER, 0.0))
    return EpochReports(pulled.ticket, queue, HOLDER, gather_seconds)


def events(queue: Any) -> list[Event]:
    found: list[Event] = ray.get(queue.events.remote(0, 0.0)).events
    return found


def told(queue: Any) -> list[int]:
    return [event.payload.epoch for event in events(queue) if event.kind == "epoch"]


def test_gathered_epochs_are_told_at_a_milestone_and_with_the_result(queue: Any):
    reports = reports_of(queue, math.inf)
    assert reports(Beat(1))
    assert reports(Beat(2))
    assert told(queue) == []
    assert reports(Beat(MILESTONE))
    assert told(queue) == [1, 2, 3]
    assert reports(Beat(4))
    pulled = ray.get(queue.done.remote(*reports.lease, reports.rest(), "result"))
    assert told(queue) == [1, 2, 3, 4]
    assert [event.kind for event in events(queue)][-2:] == ["epoch", "done"]
    assert pulled.verdict == "idle"  # no task is left


def test_a_cancelled_fold_hears_it_after_two_epochs_at_the_latest(queue: Any):
    reports = reports_of(queue, 0.0)
    assert reports(Beat(1))
    ray.get(queue.cancel.remote("t"))
    reports(Beat(2))
    assert not reports(Beat(4))
    assert not reports.must_pause


def test_a_worker_whose_node_leaves_hands_its_fold_back(queue: Any):
    reports = reports_of(queue, 0.0)
    ray.get(queue.leave.remote([0]))
    reports(Beat(1))
    assert not reports(Beat(2))
    assert reports.must_pause
    pulled = ray.get(queue.hand_back.remote(*reports.lease, reports.rest()))
    assert pulled.verdict == "closed"
    assert told(queue) == [1, 2]
    assert events(queue)[-1].kind == "paused"


def test_the_end_of_a_fold_is_answered_with_the_next_one(queue: Any):
    ray.get(queue.submit.remote([Ticket(("t", 1), (), b"", "")]))
    reports = reports_of(queue, 0.0)
    ended = (*reports.lease, reports.rest(), "bad")
    pulled = ray.get(queue.failed.remote(*ended))
    assert pulled.ticket.key == ("t", 1)
    assert ray.get(queue.failed.remote(*ended)) == pulled  # made again, since nobody heard


def test_the_more_workers_the_longer_they_gather(queue: Any):
    assert ray.get(queue.pull.remote(*HOLDER, 0.0)).gather_seconds == 0
    for rank in range(1, 64):
        ray.get(queue.hello.remote(rank, "token", rank))
    assert 5 < ray.get(queue.pull.remote(*HOLDER, 0.0)).gather_seconds < 6
