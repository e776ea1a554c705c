"""Who is mixed with whom: the utterances that mixup adds to one fold's train part.

    labels, votes of the train part -> counts -> wanted counts -> pairs (major, minor, share), drawn from a seed

The plan is rows of the train part and numbers; frames are mixed where batches are made (`raysys.batches.batch`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Num

from raysys.balance.counts import (
    CLEAR,
    BalanceConfig,
    count_kinds,
    minor_emotions,
    wanted_counts,
)

_CLEAR_SHARE = 0.5
"""Mixup coefficient within one emotion (Liang et al. 2023, section 3.2)."""
_STREAM = 7_368_787
"""Keeps the draws apart from all others of the same seed and fold."""


@dataclass(frozen=True)
class BalancePlan:
    """The utterances to add. Rows are positions in the train part, both of clear utterances."""

    before: Int64[np.ndarray, "class class"]
    """Counts by major and minor emotion, clear ones on the diagonal."""
    after: Int64[np.ndarray, "class class"]
    major: Int64[np.ndarray, " added"]
    """Row whose emotion is the major one."""
    minor: Int64[np.ndarray, " added"]
    """Row whose emotion is the minor one; of the same emotion where a clear utterance is made."""
    share: Float64[np.ndarray, " added"]
    """Mixup coefficient: share of the major row."""

    def __len__(self) -> int:
        return len(self.major)


def plan_balance(
    labels: Int64[np.ndarray, " utterance"],
    votes: Num[np.ndarray, "utterance class"],
    config: BalanceConfig,
    *,
    seed: int,
    fold: int,
    elsewhere: Bool[np.ndarray, " utterance"] | None = None,
    emotions: Sequence[str] = (),
) -> BalancePlan:
    """Draw the utterances that a train part lacks. Nothing is ever taken away.

        x_mix = p x_major + (1 - p) x_minor,   y_mix = p y_major + (1 - p) y_minor

    Liang et al. 2023 (arXiv:2302.08650), Eq. 2-3. Clear utterances are added before, with p = 0.5 and
    both of one emotion. Pairs are drawn without repetition as long as there are enough.

    Args:
        labels: emotion of every utterance of the train part.
        votes: annotators by emotion; a row of zeros where there are none.
        config: method, sigma, p, n, top_up.
        seed: of the run.
        fold: index of the fold.
        elsewhere: see `minor_emotions`.
        emotions: names of the classes; needed where `config.top_up` has some.
    """
    n_classes = votes.shape[1]
    minors = minor_emotions(labels, votes, elsewhere)
    before = count_kinds(labels, minors, n_classes)
    named = {list(emotions).index(name): count for name, count in config.top_up.items()}
    after = wanted_counts(before, config, named)
    random = np.random.default_rng([seed, fold, _STREAM])
    clear = [np.flatnonzero((labels == k) & (minors == CLEAR)) for k in range(n_classes)]
    majors, partners, shares = [], [], []
    for i, j in np.argwhere(after > before):
        pairs = _draw(clear[i], clear[j], int(after[i, j] - before[i, j]), random)
        majors.append(pairs[:, 0])
        partners.append(pairs[:, 1])
        shares.append(np.full(len(pairs), _CLEAR_SHARE if i == j else config.p))
    empty = np.zeros(0, dtype=np.int64)
    return BalancePlan(
        before,
        after,
        np.concatenate([empty, *majors]),
        np.concatenate([empty, *partners]),
        np.concatenate([np.zeros(0), *shares]),
    )


def _draw(
    first: Int64[np.ndarray, " one"],
    second: Int64[np.ndarray, " other"],
    count: int,
    random: np.random.Generator,
) -> Int64[np.ndarray, "added 2"]:
    """Pairs of one of each; never an utterance with itself unless there is no other."""
    same = len(first) > 1 and bool(first[0] == second[0])
    width = len(second) - 1 if same else len(second)
    size = len(first) * width
    row, column = np.divmod(random.choice(size, size=count, replace=count > size), width)
    if same:
        column = column + (column >= row)
    return np.stack([first[row], second[column]], axis=1)
