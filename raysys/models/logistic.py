"""Logistic regression (multinomial) on statistics over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from torch import Tensor

from raysys.models.fitted import Fitted, FittedSettings, make_regression


@dataclass(frozen=True)
class LogisticConfig(FittedSettings):
    """Logistic regression on statistics over time."""

    c: float = 0.1
    """C: the smaller, the stronger the weights are held down."""

    def __post_init__(self) -> None:
        self.check("logistic")

    def build(
        self, modalities: Sequence[str], *, dims: Mapping[str, int], n_outputs: int
    ) -> "Logistic":
        """The model before it is fitted; see `ModelSettings`."""
        return Logistic(self, modalities, dims=dims, n_outputs=n_outputs)


class Logistic(Fitted):
    """See the module."""

    settings: LogisticConfig
    weights: Tensor
    intercepts: Tensor

    def __init__(
        self,
        settings: LogisticConfig,
        modalities: Sequence[str],
        *,
        dims: Mapping[str, int],
        n_outputs: int,
    ) -> None:
        super().__init__(settings, modalities, dims=dims, n_outputs=n_outputs)
        self.keep("weights", np.zeros((n_outputs, sum(self.widths.values()))))
        self.keep("intercepts", np.zeros(n_outputs))

    def _fit(
        self, columns: Float64[np.ndarray, "row column"], labels: Int64[np.ndarray, " row"]
    ) -> None:
        model = make_regression(self.settings.c).fit(columns, labels)
        weights, intercepts = model.coef_, model.intercept_
        if len(weights) == 1:  # two classes: the weights of the second
            weights = np.concatenate([np.zeros_like(weights), weights])
            intercepts = np.array([0.0, intercepts[0]])
        self.keep("weights", weights)
        self.keep("intercepts", intercepts)

    def _logits(self, columns: Float64[Tensor, "row column"]) -> Float64[Tensor, "row class"]:
        return columns @ self.weights.T + self.intercepts
