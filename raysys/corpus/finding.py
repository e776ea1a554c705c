"""What readers of a result must know about its corpus, features and folds."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One line of the audit."""

    level: Level
    kind: str
    message: str
