"""What a user sees of work that takes long: a bar or a table in a terminal, lines elsewhere."""

from contextlib import suppress
from io import StringIO

import pytest
from rich.console import Console

from raysys.config import Config
from raysys.encoders import progress
from raysys.encoders.progress import extraction_shown
from raysys.report.view import TrialsView
from raysys.training.records import EpochRecord
from raysys.trials.trial import Trial


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, seconds: float) -> str:
    """Ten utterances, each of which takes so many seconds."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    out = StringIO()
    console = Console(file=out, width=80, force_terminal=terminal)
    with extraction_shown("audio features (logmel)", 10, console) as advance:
        for _ in range(10):
            clock[0] += seconds
            advance(1)
    return out.getvalue()


def test_lines_come_now_and_then_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch):
    assert shown(monkeypatch, terminal=False, seconds=4.0).splitlines() == [
        "audio features (logmel): 10 utterances",
        "audio features (logmel): 3/10 utterances, 0.2/s, about 28 s left",
        "audio features (logmel): 6/10 utterances, 0.2/s, about 16 s left",
        "audio features (logmel): 9/10 utterances, 0.2/s, about 4 s left",
        "audio features (logmel): 10/10 utterances in 40 s",
    ]
    assert len(shown(monkeypatch, terminal=False, seconds=0.1).splitlines()) == 2


def test_a_bar_where_there_is_one(monkeypatch: pytest.MonkeyPatch):
    assert "10/10" in shown(monkeypatch, terminal=True, seconds=0.1)


def watched(*, terminal: bool, error: type[BaseException] | None) -> str:
    """Two epochs of a fold, and what is left on the screen when the block ends."""
    out = StringIO()
    console = Console(file=out, width=80, height=20, force_terminal=terminal)
    config = Config()
    view = TrialsView(console, config.selects, total=1, n_folds=5, seeds=1, workers=2)
    trial = Trial("small", config)
    with suppress(KeyboardInterrupt), view:
        view.started(trial)
        view.epoch(trial, (0, 3), EpochRecord(2, 0.5, {"ua": 0.4321}, 1.0))
        if error:
            raise error
    return out.getvalue()


def test_the_last_table_stays_where_a_command_is_interrupted():
    erase = "\x1b[2K"
    left = watched(terminal=True, error=KeyboardInterrupt).rpartition(erase)[2]
    assert "43.2" in left
    assert "0/5 folds" in left
    gone = watched(terminal=True, error=None).rpartition(erase)[2]
    assert "43.2" not in gone
    assert watched(terminal=False, error=KeyboardInterrupt).splitlines()[-1].startswith("0/5 folds")
