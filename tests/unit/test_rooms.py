"""Which proofs a change asks for: the marks of the tests, and the table in tests/README.md that shows them."""

import importlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.rooms import changed_rooms, known_rooms, rooms_of

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"


def marks_of(module: Any) -> Iterator[Any]:
    """All marks in a test module: its own, its functions', and those of their parameters."""
    own = getattr(module, "pytestmark", [])
    yield from own if isinstance(own, list) else [own]
    for test in vars(module).values():
        for mark in getattr(test, "pytestmark", []) if callable(test) else []:
            yield mark
            for case in mark.args[1] if mark.name == "parametrize" else []:
                yield from getattr(case, "marks", ())


def proofs() -> dict[str, set[str]]:
    """Room -> test files that hold a proof of it."""
    found: dict[str, set[str]] = {}
    for file in sorted(TESTS.glob("*/test_*.py")):
        name = file.relative_to(TESTS)
        module = importlib.import_module(".".join(("tests", *name.with_suffix("").parts)))
        for mark in marks_of(module):
            for room in mark.args if mark.name == "proof" else ():
                found.setdefault(room, set()).add(str(name))
    return found


def test_the_guide_says_which_proofs_a_room_asks_for():
    found = proofs()
    assert set(found) <= known_rooms(ROOT)
    files = {room: ", ".join(f"`{file}`" for file in sorted(found[room])) for room in sorted(found)}
    table = "\n".join(f"| `{room}` | {named} |" for room, named in files.items())
    assert table in (TESTS / "README.md").read_text(), f"tests/README.md shall say\n{table}"


def test_a_file_lies_in_a_room():
    files = [
        "raysys/cluster/queue.py",
        "raysys/storage.py",
        "jobs/tune.py",
        "README.md",
        "raysys/__init__.py",
    ]
    assert rooms_of(files) - {"__init__"} == {"cluster", "storage", "jobs"}


def test_rooms_that_differ_from_what_has_landed(tmp_path: Path):
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True
        )

    for room in ("cluster", "search", "models"):
        (tmp_path / "raysys" / room).mkdir(parents=True)
        (tmp_path / "raysys" / room / "a.py").write_text("")
    git("init")
    git("add", ".")
    git("commit", "-m", "landed")
    assert changed_rooms(tmp_path) == {"jobs", "cluster", "search", "models"}  # no origin: all
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    assert changed_rooms(tmp_path) == set()
    (tmp_path / "raysys" / "cluster" / "a.py").write_text("1")
    git("commit", "-am", "a change")
    (tmp_path / "raysys" / "search" / "new.py").write_text("1")
    assert changed_rooms(tmp_path) == {"cluster", "search"}
