"""SVM and logistic regression on statistics over time: the simplest models, by scikit-learn, kept as arrays.

    frames [time, dim] -> mean, deviation, 10 % and 90 % quantile over time, all modalities side by side [column]
    -> standardised by the train part = embedding -> logits

They are fitted at once, in one epoch, by their own objectives (classes balanced): settings of losses and of gradients
do nothing. Nothing is pickled: a fitted one is its buffers.

SVM: Cortes & Vapnik 1995, "Support-vector networks", Machine Learning 20; one machine for each pair of classes. Its
logits are scikit-learn's decision function of shape "ovr": votes of the pairs, ties broken by their margins.
"""

import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from raysys.batches.batch import Layout, Padded
from raysys.models.output import ModelOutput, ModelSettings
from raysys.settings import require

Statistics = Literal["mean", "mean_std", "mean_std_quantiles"]
_ITERATIONS = 300


def svm(kernel: Literal["linear", "rbf"], c: float, width: int) -> Any:
    """scikit-learn's machine for so many standardised columns: inner products are divided by their number."""
    from sklearn.svm import SVC  # a second, which workers of other models are spared

    scaled = c / width if kernel == "linear" else c
    return SVC(kernel=kernel, C=scaled, gamma=1 / width, class_weight="balanced")


def logistic(c: float, **options: Any) -> Any:
    """scikit-learn's multinomial logistic regression for standardised columns."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, class_weight="balanced", max_iter=_ITERATIONS, **options)


@dataclass(frozen=True)
class _FittedSettings(ModelSettings):
    reads_dialogues: ClassVar = False
    fits_at_once: ClassVar = True
    c: float = 1.0
    """C: how much a wrong utterance costs; the smaller, the simpler the model."""
    statistics: Statistics = "mean_std"
    """Over time: mean; with mean_std also the deviation; with mean_std_quantiles also the 10 % and 90 % quantiles."""

    def _check(self, name: str) -> None:
        require(0 < self.c <= 1e6, f"model.{name}.c", self.c, "above 0, at most 1e6")


@dataclass(frozen=True)
class SvmConfig(_FittedSettings):
    """A support vector machine on statistics over time."""

    kernel: Literal["linear", "rbf"] = "rbf"
    """linear, or rbf with gamma 1 / columns."""

    def __post_init__(self) -> None:
        self._check("svm")

    def build(self, modalities: Sequence[str], *, dims: Mapping[str, int], n_outputs: int) -> "Svm":
        """The machine before it is fitted; see `ModelSettings`."""
        return Svm(self, modalities, dims=dims, n_outputs=n_outputs)


@dataclass(frozen=True)
class LogisticConfig(_FittedSettings):
    """Logistic regression on statistics over time."""

    c: float = 0.1
    """C: the smaller, the stronger the weights are held down."""

    def __post_init__(self) -> None:
        self._check("logistic")

    def build(
        self, modalities: Sequence[str], *, dims: Mapping[str, int], n_outputs: int
    ) -> "Logistic":
        """The model before it is fitted; see `ModelSettings`."""
        return Logistic(self, modalities, dims=dims, n_outputs=n_outputs)


class Fitted(nn.Module):
    """A model that is fitted at once, of buffers alone."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        settings: SvmConfig | LogisticConfig,
        modalities: Sequence[str],
        *,
        dims: Mapping[str, int],
        n_outputs: int,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.n_outputs = n_outputs
        kinds = {"mean": 1, "mean_std": 2, "mean_std_quantiles": 4}[settings.statistics]
        self.widths = {modality: kinds * dims[modality] for modality in modalities}
        width = sum(self.widths.values())
        self.keep("mean", np.zeros(width))
        self.keep("scale", np.ones(width))

    def keep(self, name: str, values: np.ndarray) -> None:
        """Make an array part of the model."""
        there = getattr(self, name, None)
        tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
        self.register_buffer(name, tensor if there is None else tensor.to(there.device))

    def fit(
        self,
        batches: Sequence[Mapping[str, Padded]],
        labels: Int64[Tensor, " utterance"],
    ) -> None:
        """Fit to the utterances of some batches.

        Args:
            batches: their modalities.
            labels: classes of all of them, in the same order.
        """
        columns = torch.cat([self._pool(batch) for batch in batches]).cpu().numpy()
        self.keep("mean", columns.mean(axis=0))
        scale = columns.std(axis=0)
        self.keep("scale", np.where(scale > 0, scale, 1.0))
        standardised = (columns - self.mean.cpu().numpy()) / self.scale.cpu().numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that lbfgs has not converged, where C is large
            self._fit(standardised, labels.cpu().numpy())

    def forward(self, modalities: Mapping[str, Padded], layout: Layout | None) -> ModelOutput:
        """Logits, standardised statistics as embedding, and those of each modality."""
        embedding = (self._pool(modalities) - self.mean) / self.scale
        parts = embedding.split(list(self.widths.values()), dim=1)
        return ModelOutput(
            self._logits(embedding), embedding, dict(zip(self.widths, parts, strict=True))
        )

    @abstractmethod
    def _fit(
        self, columns: Float64[np.ndarray, "row column"], labels: Int64[np.ndarray, " row"]
    ) -> None: ...

    @abstractmethod
    def _logits(self, columns: Float64[Tensor, "row column"]) -> Float64[Tensor, "row class"]: ...

    def _pool(self, modalities: Mapping[str, Padded]) -> Float64[Tensor, "row column"]:
        """Statistics of each utterance by itself, so that neither padding nor company counts."""
        columns = []
        for name in self.widths:
            padded = modalities[name]
            rows = zip(padded.values, padded.mask, strict=True)
            columns.append(torch.stack([self._statistics(v[m].double()) for v, m in rows]))
        by_kind = [column.chunk(self._kinds, dim=1) for column in columns]
        return torch.cat([torch.cat(kinds, dim=1) for kinds in by_kind], dim=1)

    @property
    def _kinds(self) -> int:
        return {"mean": 1, "mean_std": 2, "mean_std_quantiles": 4}[self.settings.statistics]

    def _statistics(self, frames: Float[Tensor, "time dim"]) -> Float[Tensor, " statistic"]:
        found = [frames.mean(dim=0)]
        if self._kinds > 1:
            found.append(frames.std(dim=0, correction=0))
        if self._kinds > 2:
            ends = torch.tensor([0.1, 0.9], dtype=frames.dtype, device=frames.device)
            found += list(torch.quantile(frames, ends, dim=0))
        return torch.cat(found)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Buffers take the shapes of what is loaded: how many support vectors there are, only a fit says."""
        for name in list(self._buffers):
            if prefix + name in state_dict:
                own = self._buffers[name]
                device = None if own is None else own.device
                self.register_buffer(name, state_dict[prefix + name].to(device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


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
        machine = svm(self.settings.kernel, self.settings.c, columns.shape[1]).fit(columns, labels)
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
        model = logistic(self.settings.c).fit(columns, labels)
        weights, intercepts = model.coef_, model.intercept_
        if len(weights) == 1:  # two classes: the weights of the second
            weights = np.concatenate([np.zeros_like(weights), weights])
            intercepts = np.array([0.0, intercepts[0]])
        self.keep("weights", weights)
        self.keep("intercepts", intercepts)

    def _logits(self, columns: Float64[Tensor, "row column"]) -> Float64[Tensor, "row class"]:
        return columns @ self.weights.T + self.intercepts
