"""What the views of running commands share: drawn again and again in a terminal, plain lines elsewhere."""

import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

_REFRESH_SECONDS = 0.25


class LiveView(ABC):
    """A context in which something is shown.

    Args:
        console: where to show it.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn = 0.0
        self._spoken = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        self.refresh(force=True)
        self.say(self.greeting())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    @abstractmethod
    def greeting(self) -> str:
        """The first line, where there is no terminal."""

    @abstractmethod
    def picture(self) -> RenderableType:
        """What a terminal shows now."""

    def refresh(self, *, force: bool = False) -> None:
        """Draw again, not too often."""
        now = time.monotonic()
        if self._console.is_terminal and (force or now - self._drawn > _REFRESH_SECONDS):
            self._drawn = now
            self._live.update(self.picture(), refresh=True)

    def say(self, line: str, *, least_seconds: float = 0.0) -> None:
        """Print a line where there is no terminal, unless another was printed so many seconds before or less."""
        now = time.monotonic()
        if not self._console.is_terminal and now - self._spoken >= least_seconds:
            self._spoken = now
            self._console.print(line, highlight=False, soft_wrap=True, markup=False)
