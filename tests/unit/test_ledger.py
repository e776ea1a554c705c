"""A queue that starts again knows what it knew: its state is the sum of the calls in its journal."""

import random
from pathlib import Path
from typing import Any

import pytest

from raysys.cluster.leases import StaleWorkerError, Ticket
from raysys.cluster.ledger import Journal, Ledger
from tests.cluster.work import Beat

KEYS = [(f"t{trial}", fold) for trial in range(4) for fold in range(3)]


class Written:
    """A ledger whose calls are in a journal, as the queue keeps them."""

    def __init__(self, path: Path) -> None:
        self.ledger, self.journal = Ledger(2), Journal(path)
        for name, arguments in self.journal.replay():
            getattr(self.ledger, name)(*arguments)

    def do(self, name: str, *arguments: Any) -> Any:
        answer = getattr(self.ledger, name)(*arguments)
        self.journal.write(name, arguments)
        return answer


def beats(chance: random.Random) -> list[Beat]:
    """Up to two epochs."""
    first = chance.randrange(1, 5)
    return [Beat(epoch) for epoch in range(first, first + chance.randrange(3))]


def disturb(written: Written, chance: random.Random, steps: int) -> None:
    """Random calls of three workers, some of which die, leave or are lost."""
    for step in range(steps):
        rank, now = chance.randrange(3), float(step)
        token = chance.choice("xy")
        key = chance.choice(KEYS)
        deed = chance.randrange(10)
        if deed == 0:
            written.do("hello", now, rank, token, 1)
        elif deed == 1:
            written.do("lost", now, [rank])
        elif deed == 2:
            written.do("cancel", now, key[0])
        elif deed == 3:
            written.do("hand_back", now, key, rank, token, beats(chance))
        elif deed < 6:
            written.do("epochs", now, key, rank, token, beats(chance))
        elif deed == 6:
            written.do("done", now, key, rank, token, beats(chance), "result")
        else:
            try:
                written.do("take", now, rank, token)
            except StaleWorkerError:
                continue


@pytest.mark.parametrize("seed", range(20))
def test_after_any_calls_the_journal_gives_the_same_events_and_the_same_next_answers(
    seed: int, tmp_path: Path
):
    chance = random.Random(seed)
    first = Written(tmp_path / "journal")
    first.do("submit", 0.0, [Ticket(key, (2,), b"", "") for key in KEYS])
    disturb(first, chance, 300)
    again = Written(tmp_path / "journal")
    assert again.ledger.events == first.ledger.events
    assert again.ledger.present == first.ledger.present
    state = chance.getstate()
    disturb(first, chance, 100)
    chance.setstate(state)
    disturb(again, chance, 100)
    assert again.ledger.events == first.ledger.events


def test_a_call_that_was_cut_off_is_dropped_and_the_next_one_is_kept(tmp_path: Path):
    path = tmp_path / "journal"
    first = Written(path)
    first.do("submit", 0.0, [Ticket(("t", 0), (), b"", "")])
    first.do("hello", 1.0, 0, "x", 1)
    whole = path.read_bytes()
    first.do("take", 2.0, 0, "x")
    path.write_bytes(path.read_bytes()[: len(whole) + 9])
    again = Written(path)
    assert [event.kind for event in again.ledger.events] == ["hello"]
    again.do("take", 3.0, 0, "x")
    assert [event.kind for event in Written(path).ledger.events] == ["hello", "taken"]


def test_a_call_that_is_made_again_changes_nothing(tmp_path: Path):
    written = Written(tmp_path / "journal")
    calls = [
        ("submit", [Ticket(("t", 0), (), b"", "")]),
        ("hello", 0, "x", 1),
        ("take", 0, "x"),
        ("epochs", ("t", 0), 0, "x", [Beat(1), Beat(2)]),
        ("done", ("t", 0), 0, "x", [Beat(3)], "result"),
        ("cancel", "t"),
        ("lost", [0]),
    ]
    for name, *arguments in calls:
        written.do(name, 0.0, *arguments)
        count = len(written.ledger.events)
        if name != "take":  # which gives the task again, and says so
            written.do(name, 1.0, *arguments)
            assert len(written.ledger.events) == count, name
    kinds = [event.kind for event in written.ledger.events]
    assert kinds == ["hello", "taken", *3 * ["epoch"], "done", "gone"]
