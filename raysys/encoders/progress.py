"""How far an extraction is: a bar in a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_LINE_SECONDS = 10.0
"""Without a terminal, at most one line in this time."""


@contextmanager
def extraction_shown(
    title: str, total: int, console: Console | None = None
) -> Iterator[Callable[[int], None]]:
    """Show rate and time left while something is extracted; gives what is called with the number of utterances done.

    Args:
        title: what is extracted.
        total: utterances.
        console: where; None: standard output.
    """
    console = console or Console()
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task(title, total=total)
            yield lambda count: bar.advance(task, count)
        return
    lines = _Lines(console, title, total)
    yield lines.advance
    lines.say(f"{lines.done}/{total} utterances in {time.monotonic() - lines.began:.0f} s")


class _Lines:
    def __init__(self, console: Console, title: str, total: int) -> None:
        self._console, self._title, self._total = console, title, total
        self.done = 0
        self.began = self._spoken = time.monotonic()
        self.say(f"{total} utterances")

    def advance(self, count: int) -> None:
        """So many utterances more are done."""
        self.done += count
        now = time.monotonic()
        if now - self._spoken >= _LINE_SECONDS and self.done:
            self._spoken = now
            rate = self.done / (now - self.began)
            left = (self._total - self.done) / rate
            self.say(f"{self.done}/{self._total} utterances, {rate:.1f}/s, about {left:.0f} s left")

    def say(self, what: str) -> None:
        """Print a line."""
        line = f"{self._title}: {what}"
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=console,
    )


class _Rate(ProgressColumn):
    """Utterances a second."""

    def render(self, task: Task) -> Text:
        """What is shown."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f}/s" if speed else "")
