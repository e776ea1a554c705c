"""What opened test predictions of label formats say: correlations by pair of formats and variable."""

from dataclasses import dataclass

import numpy as np

from raysys.tasks.exhibits import Table
from raysys.tasks.task import LOSS, Metric

METRICS = (
    Metric("pearson", "r", "number"),
    Metric("rmse", "RMSE", "number", higher_is_better=False),
    LOSS,
)
"""Pearson's correlation, and root mean squared error of ratings in 0..1."""
BASELINES = ("ridge", "knn")
"""Names of the baselines."""
NEIGHBOURS = 50
"""Number of neighbours of the kNN baseline."""


@dataclass(frozen=True)
class LabelMappingSummary:
    """Held-out correlations by pair of formats and variable, means over folds and seeds."""

    pairs: dict[str, dict[str, dict[str, int | float]]]
    """SOURCE to TARGET -> variable -> r, RMSE, items (of all folds)."""
    baselines: dict[str, dict[str, float | None]]
    """SOURCE to TARGET -> ridge and kNN: r, mean over variables and folds."""

    def tables(self) -> list[Table]:
        """Tables by pair, and by variable of each pair."""
        rows = [
            (
                pair,
                f"{np.mean([one['pearson'] for one in variables.values()]):.3f}",
                *("-" if (r := self.baselines[pair][n]) is None else f"{r:.3f}" for n in BASELINES),
            )
            for pair, variables in self.pairs.items()
        ]
        heads = ("from to", "r", "ridge r", f"kNN ({NEIGHBOURS}) r")
        by_pair = Table("by pair of formats, held-out", heads, rows, strong=("r",))
        each = [
            (f"{pair}: {name}", f"{one['pearson']:.3f}", f"{one['rmse']:.3f}", f"{one['items']}")
            for pair, variables in self.pairs.items()
            for name, one in variables.items()
        ]
        return [by_pair, Table("by variable, held-out", ("variable", "r", "RMSE", "n"), each)]

    def scores(self) -> dict[str, float]:
        """R by pair and variable."""
        return {
            f"pearson/{pair}.{name}": one["pearson"]
            for pair, variables in self.pairs.items()
            for name, one in variables.items()
        }

    def figures(self) -> dict[str, float]:
        """None."""
        return {}


def score_ratings(outputs: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """R (0 where one does not vary) and RMSE, mean over the columns."""
    x, y = (one.astype(np.float64) - one.mean(axis=0) for one in (outputs, truth))
    both = np.sqrt((x**2).mean(axis=0) * (y**2).mean(axis=0))
    r = np.divide((x * y).mean(axis=0), both, out=np.zeros_like(both), where=both > 0)
    apart = outputs.astype(np.float64) - truth
    return {
        "pearson": float(r.mean()),
        "rmse": float(np.sqrt((apart**2).mean(axis=0)).mean()),
    }
