"""Who holds which fold, and what happens when workers die."""

from dataclasses import dataclass

import pytest

from raysys.cluster.leases import LeaseBook, StaleWorkerError


@dataclass(frozen=True)
class Fold:
    trial: str
    index: int
    milestones: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[str, int]:
        return self.trial, self.index


def book_with(*tasks: Fold, max_attempts: int = 3) -> LeaseBook:
    book = LeaseBook(max_attempts)
    for task in tasks:
        book.submit(task)
    return book


A, B = Fold("t", 0), Fold("t", 1)


def test_tasks_are_handed_out_in_order_and_once():
    book = book_with(A, B)
    book.hello(0, "x")
    assert [book.take(0, "x"), book.take(0, "x"), book.take(0, "x")] == [A, B, None]


def test_a_task_submitted_twice_is_done_once():
    book = book_with(A, A)
    book.hello(0, "x")
    assert [book.take(0, "x"), book.take(0, "x")] == [A, None]


def test_a_new_token_returns_the_lease_of_the_dead_worker_to_the_front():
    book = book_with(A, B)
    book.hello(0, "old")
    assert book.take(0, "old") == A
    assert book.hello(0, "new") == {}
    assert book.take(0, "new") == A


def test_an_orphaned_pull_of_a_dead_worker_takes_nothing():
    book = book_with(A)
    book.hello(0, "old")
    book.hello(0, "new")
    with pytest.raises(StaleWorkerError):
        book.take(0, "old")
    assert book.take(0, "new") == A


def test_a_result_is_accepted_once_and_only_from_the_holder():
    book = book_with(A)
    book.hello(0, "old")
    book.take(0, "old")
    book.hello(0, "new")
    book.take(0, "new")
    assert not book.settle(A.key, 0, "old")
    assert book.settle(A.key, 0, "new")
    assert not book.settle(A.key, 0, "new")
    assert book.open_count == 0


def test_an_epoch_reported_twice_is_new_once():
    book = book_with(A)
    book.hello(0, "x")
    book.take(0, "x")
    assert book.report(A.key, 0, "x", 1) == (True, "go")
    assert book.report(A.key, 0, "x", 1) == (False, "go")
    assert book.report(A.key, 0, "stranger", 2) == (False, "stop")


def test_a_task_whose_workers_keep_dying_fails_with_its_history():
    book = book_with(A, max_attempts=2)
    book.hello(0, "w0")
    book.take(0, "w0")
    assert book.hello(0, "w1") == {}
    book.take(0, "w1")
    failed = book.hello(0, "w2")
    assert list(failed) == [A.key]
    assert len(failed[A.key]) == 2
    assert book.take(0, "w2") is None


def test_a_death_after_a_new_epoch_starts_the_count_again():
    book = book_with(A, max_attempts=2)
    for life in range(5):
        token = f"w{life}"
        assert book.hello(0, token) == {}
        assert book.take(0, token) == A
        book.report(A.key, 0, token, life + 1)
    assert book.hello(0, "last") == {}


def test_the_last_attempt_of_a_suspect_runs_alone_so_an_innocent_fold_is_never_failed():
    book = book_with(A, B, max_attempts=2)

    def start(life: int) -> None:
        book.hello(0, f"a{life}")
        book.hello(1, f"b{life}")

    start(0)
    assert (book.take(0, "a0"), book.take(1, "b0")) == (A, B)
    start(1)  # the group died: A or B is poisonous
    first = book.take(0, "a1")
    assert first in (A, B)
    assert book.take(1, "b1") is None
    assert book.settle(first.key, 0, "a1")
    assert book.take(1, "b1") in {A, B} - {first}


def test_cancelling_a_trial_drops_its_pending_folds_and_stops_its_leased_ones():
    other = Fold("u", 0)
    book = book_with(A, B, other)
    book.hello(0, "x")
    book.take(0, "x")
    assert book.cancel("t") == [B.key]
    assert book.report(A.key, 0, "x", 1) == (True, "stop")
    assert book.settle(A.key, 0, "x")
    assert book.take(0, "x") == other
