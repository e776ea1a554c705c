"""SVM: a support vector machine for each pair of classes, on statistics over time.

Cortes & Vapnik 1995, "Support-vector networks", Machine Learning 20. The logits are scikit-learn's decision function of
shape "ovr": votes of the pairs, ties broken by their margins.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from raysys.models.fitted import Fitted, FittedSettings, make_machine


@dataclass(frozen=True)
class SvmConfig(FittedSettings):
    """A support vector machine on statistics over time."""

    kernel: Literal["linear", "rbf"] = "rbf"
    """linear, or rbf with gamma 1 / columns."""

    def __post_init__(self) -> None:
        self.check("svm")

    def build(self, modalities: Sequence[str], *, dims: Mapping[str, int], n_outputs: int) -> "Svm":
        """The machine before it is fitted; see `ModelSettings`."""
        return Svm(self, modalities, dims=dims, n_outputs=n_outputs)


class Svm(Fitted):
    """See the module."""

    settings: SvmConfig
    vectors: Tensor
    weights: Tensor
    intercepts: Tensor

    def __init__(
        self,
        settings: SvmConfig,
        modalities: Sequence[str],
        *,
        dims: Mapping[str, int],
        n_outputs: int,
    ) -> None:
        super().__init__(settings, modalities, dims=dims, n_outputs=n_outputs)
        pairs, width = math.comb(n_outputs, 2), sum(self.widths.values())
        self.keep("vectors", np.zeros((0, width)))
        self.keep("weights", np.zeros((pairs, 0)))
        self.keep("intercepts", np.zeros(pairs))

    def _fit(
        self, columns: Float64[np.ndarray, "row column"], labels: Int64[np.ndarray, " row"]
    ) -> None:
        machine = make_machine(self.settings.kernel, self.settings.c, columns.shape[1]).fit(
            columns, labels
        )
        ends = np.cumsum([0, *machine.n_support_])
        own = [slice(a, b) for a, b in pairwise(ends)]
        # scikit-learn keeps the weights of class i against j in row j - 1 (j > i) or j (j < i) of its columns.
        weights = np.zeros((math.comb(len(own), 2), len(machine.support_)))
        for pair, (i, j) in enumerate(self._pairs):
            weights[pair, own[i]] = machine.dual_coef_[j - 1, own[i]]
            weights[pair, own[j]] = machine.dual_coef_[i, own[j]]
        # With two classes scikit-learn turns signs round.
        sign = -1.0 if len(own) == 2 else 1.0
        self.keep("vectors", machine.support_vectors_)
        self.keep("weights", sign * weights)
        self.keep("intercepts", sign * machine.intercept_)

    def _logits(self, columns: Float64[Tensor, "row column"]) -> Float64[Tensor, "row class"]:
        if self.settings.kernel == "linear":
            inner = columns @ self.vectors.T
        else:
            inner = torch.exp(-(torch.cdist(columns, self.vectors) ** 2) / columns.shape[1])
        margins = inner @ self.weights.T + self.intercepts
        votes = margins.new_zeros(len(columns), self.n_outputs)
        sums = votes.clone()
        for pair, (i, j) in enumerate(self._pairs):
            margin = margins[:, pair]
            sums[:, i] += margin
            sums[:, j] -= margin
            votes[:, i] += margin > 0
            votes[:, j] += margin <= 0
        return votes + sums / (3 * (sums.abs() + 1))

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(self.n_outputs) for j in range(i + 1, self.n_outputs)]
