"""What a bootstrap draws: speakers, dialogues or utterances, whole, with all that was said of them.

Utterances of one speaker are alike, so drawing them one by one promises more than other speakers would keep. Few
speakers cannot say what others would do: then utterances are drawn, and the result says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64

Over = Literal["folds", "speakers", "dialogues", "utterances"]
"""What an interval varies."""
FEWEST = 8
"""Speakers, or dialogues, that a bootstrap can draw from."""


@dataclass(frozen=True)
class Units:
    """Rows that are drawn together."""

    of: Int64[np.ndarray, " row"]
    """Unit of every row, numbered from 0."""
    over: Over

    @property
    def count(self) -> int:
        """Number of units."""
        return int(self.of.max()) + 1

    def drawn(self, resamples: int, seed: int) -> Int64[np.ndarray, "resample unit"]:
        """How often each unit is among as many that are drawn with replacement."""
        random = np.random.default_rng(seed)
        return random.multinomial(self.count, np.full(self.count, 1 / self.count), size=resamples)

    def rows(self, times: Int64[np.ndarray, " unit"]) -> Int64[np.ndarray, " drawn"]:
        """The rows of one resample; those of a unit that was drawn twice are there twice."""
        return np.repeat(np.arange(len(self.of)), times[self.of])


def units_of(
    names: Sequence[str], over: Over, *, rows: Int64[np.ndarray, " row"] | None = None
) -> Units:
    """Units by name where there are enough of them and each row has one; else utterances.

    Args:
        names: speaker or dialogue of every row, empty where unknown.
        over: what the names are of.
        rows: utterance of every row, which has one for every seed; None: each is another one.
    """
    known, numbers = np.unique(np.array(names, dtype=str), return_inverse=True)
    if len(known) >= FEWEST and "" not in known:
        return Units(numbers.astype(np.int64), over)
    own = np.arange(len(names)) if rows is None else np.unique(rows, return_inverse=True)[1]
    return Units(own.astype(np.int64), "utterances")
