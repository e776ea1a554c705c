"""Who holds which fold, and what happens when workers die."""

from dataclasses import dataclass

import pytest

from raysys.cluster.leases import LeaseBook, StaleWorkerError
from raysys.cluster.nodes import count_slots, divide


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
    for rank in range(3):
        book.hello(rank, "x")
    assert [book.take(rank, "x") for rank in range(3)] == [A, B, None]


def test_a_task_submitted_twice_is_done_once():
    book = book_with(A, A)
    book.hello(0, "x")
    book.hello(1, "x")
    assert [book.take(0, "x"), book.take(1, "x")] == [A, None]


def test_a_worker_that_asks_again_has_not_heard_the_answer_and_gets_the_same_task():
    book = book_with(A, B)
    book.hello(0, "x")
    assert [book.take(0, "x"), book.take(0, "x")] == [A, A]
    assert book.settle(A.key, 0, "x")
    assert book.take(0, "x") == B


def test_a_lost_node_costs_its_fold_no_attempt_and_its_worker_is_a_stranger_afterwards():
    book = book_with(A, B, max_attempts=1)
    book.hello(0, "x")
    book.hello(1, "y")
    assert book.take(0, "x") == A
    assert book.lost(0)
    assert not book.lost(0)
    assert book.present == [1]
    assert book.take(1, "y") == A  # before B: it was lost
    assert book.report(A.key, 0, "x", 1) == (False, "stop")
    with pytest.raises(StaleWorkerError):
        book.take(0, "x")


def test_a_worker_whose_node_leaves_hands_back_after_the_epoch_and_takes_nothing():
    book = book_with(A, B)
    book.hello(0, "x")
    assert book.take(0, "x") == A
    book.leave(0)
    assert book.report(A.key, 0, "x", 1) == (True, "pause")
    assert book.hand_back(A.key, 0, "x") == "back"
    assert book.hand_back(A.key, 0, "x") == "ignored"
    assert book.take(0, "x") is None
    book.hello(1, "y")
    assert book.take(1, "y") == B  # A has an epoch already


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


def test_cancelling_a_trial_drops_its_pending_folds_and_stops_its_leased_ones():
    other = Fold("u", 0)
    book = book_with(A, B, other)
    book.hello(0, "x")
    book.take(0, "x")
    assert book.cancel("t") == [B.key]
    assert book.report(A.key, 0, "x", 1) == (True, "stop")
    assert book.settle(A.key, 0, "x")
    assert book.take(0, "x") == other


def trial(count: int, milestones: tuple[int, ...], name: str = "t") -> list[Fold]:
    return [Fold(name, k, milestones) for k in range(count)]


def test_a_fold_at_a_milestone_makes_room_for_those_that_are_behind():
    first, second = trial(2, (2,))
    book = book_with(first, second)
    book.hello(0, "x")
    assert book.take(0, "x") == first
    assert book.report(first.key, 0, "x", 1)[1] == "go"
    assert book.report(first.key, 0, "x", 2)[1] == "pause"
    assert book.hand_back(first.key, 0, "x") == "back"
    assert book.take(0, "x") == second
    assert book.report(second.key, 0, "x", 2)[1] == "go"  # nobody is behind it now
    assert book.settle(second.key, 0, "x")
    assert book.take(0, "x") == first
    assert book.report(first.key, 0, "x", 2) == (False, "go")  # told again of what it did before
    assert book.open_count == 1


def test_folds_that_run_side_by_side_do_not_wait_for_each_other():
    first, second = trial(2, (2,))
    book = book_with(first, second)
    book.hello(0, "x")
    book.hello(1, "y")
    book.take(0, "x")
    book.take(1, "y")
    assert book.report(first.key, 0, "x", 2)[1] == "go"


def test_another_trials_folds_are_not_waited_for():
    (first,), (other,) = trial(1, (2,)), trial(1, (2,), "u")
    book = book_with(first, other)
    book.hello(0, "x")
    assert book.take(0, "x") == first
    assert book.report(first.key, 0, "x", 2)[1] == "go"


def test_the_earliest_trial_goes_first_and_of_it_the_fold_furthest_behind():
    mine, later = trial(3, (1,)), trial(1, (1,), "u")
    book = book_with(*mine, *later)
    book.hello(0, "x")
    for fold in mine[:2]:
        assert book.take(0, "x") == fold
        assert book.report(fold.key, 0, "x", 1)[1] == "pause"
        book.hand_back(fold.key, 0, "x")
    assert book.take(0, "x") == mine[2]
    book.settle(mine[2].key, 0, "x")
    for fold in (*mine[:2], *later):
        assert book.take(0, "x") == fold
        book.settle(fold.key, 0, "x")


def test_a_fold_that_was_cancelled_while_it_paused_does_not_come_back():
    first, second = trial(2, (1,))
    book = book_with(first, second)
    book.hello(0, "x")
    book.take(0, "x")
    assert book.report(first.key, 0, "x", 1)[1] == "pause"
    assert book.cancel("t") == [second.key]
    assert book.hand_back(first.key, 0, "x") == "dropped"
    assert book.open_count == 0
    assert book.take(0, "x") is None


def test_a_fold_takes_all_that_it_needs_from_one_node():
    three = {"CPU": 3.0}
    assert count_slots([three, three], {"CPU": 2.0}) == 2  # not 3: a core is left on each
    assert count_slots([{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0}], {"CPU": 2.0, "GPU": 0.5}) == 2
    assert count_slots([{"CPU": 0.3}], {"CPU": 0.1}) == 3
    assert count_slots([], {"CPU": 1.0}) == 0


@pytest.mark.parametrize(
    "placement, count, expected",
    [
        ("spread", 3, {"a": 1, "b": 2}),
        ("pack", 3, {"a": 2, "b": 1}),
        ("spread", 9, {"a": 2, "b": 3}),
        ("pack", 0, {}),
    ],
)
def test_workers_are_spread_over_nodes_or_packed(placement, count, expected):
    assert divide({"a": 2, "b": 3, "c": 0}, {"a": 1}, count, placement) == expected
