"""Models that scikit-learn fits at once to statistics over time, kept as arrays: what they have in common.

    frames [time, dim] -> mean, deviation, 10 % and 90 % quantile over time, all modalities side by side [column]
    -> standardised by the train part = embedding -> logits

They are fitted at once, in one epoch, by their own objectives (classes balanced): settings of losses and of gradients
do nothing. Nothing is pickled: a fitted one is its buffers.
"""

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from raysys.batches.padded import Layout, Padded
from raysys.models.output import ModelOutput, ModelSettings
from raysys.settings import require

_ITERATIONS = 300
Statistics = Literal["mean", "mean_std", "mean_std_quantiles"]


def make_machine(kernel: Literal["linear", "rbf"], c: float, width: int) -> Any:
    """scikit-learn's machine for so many standardised columns: inner products are divided by their number."""
    from sklearn.svm import SVC  # a second, which workers of other models are spared

    scaled = c / width if kernel == "linear" else c
    return SVC(kernel=kernel, C=scaled, gamma=1 / width, class_weight="balanced")


def make_regression(c: float, **options: Any) -> Any:
    """scikit-learn's multinomial logistic regression for standardised columns."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, class_weight="balanced", max_iter=_ITERATIONS, **options)


@dataclass(frozen=True)
class FittedSettings(ModelSettings):
    """Settings of such a model; `c` and what is pooled over time."""

    reads_dialogues: ClassVar = False
    fits_at_once: ClassVar = True
    c: float = 1.0
    """C: how much a wrong utterance costs; the smaller, the simpler the model."""
    statistics: Statistics = "mean_std"
    """Over time: mean; with mean_std also the deviation; with mean_std_quantiles also the 10 % and 90 % quantiles."""

    def why_apart(self, modalities: Sequence[str]) -> str:
        """There is no training; see `ModelSettings`."""
        return "it has no gradients, and is fitted at once"

    def check(self, name: str) -> None:
        """The rules that hold for all of them.

        Raises:
            ConfigError: one does not hold.
        """
        require(0 < self.c <= 1e6, f"model.{name}.c", self.c, "above 0, at most 1e6")


class Fitted(nn.Module):
    """A model that is fitted at once, of buffers alone."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        settings: FittedSettings,
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
