"""Losses between predicted and true values, in units of the train part's standard deviation."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from raysys.batches.batch import Batch
from raysys.models.output import ModelOutput

_TINY = 1e-8


@dataclass(frozen=True)
class RegressionLossConfig:
    """The main loss of a regression."""

    regression: Literal["ccc", "mse"] = "ccc"
    """regression: ccc (1 - concordance of a batch, mean over the targets) or mse (mean squared error)."""

    def check(self) -> None:
        """Nothing can be out of range."""


@dataclass(frozen=True)
class RegressionLoss:
    """The loss of standardised values.

    Validation always takes the squared error, since concordance depends on how batches are made up.
    """

    kind: Literal["ccc", "mse"]
    mean: Float[Tensor, " target"]
    """Mean of each target in the train part."""
    std: Float[Tensor, " target"]
    """Its standard deviation there."""

    def __call__(self, output: ModelOutput, batch: Batch) -> Float[Tensor, ""]:
        """The loss of one batch."""
        truth = (batch.targets - self.mean) / self.std
        return (ccc_loss if self.kind == "ccc" else mse_loss)(output.logits, truth)

    def validation(self, output: ModelOutput, batch: Batch) -> Float[Tensor, ""]:
        """The squared error of one batch."""
        return mse_loss(output.logits, (batch.targets - self.mean) / self.std)


def mse_loss(
    values: Float[Tensor, "batch target"], truth: Float[Tensor, "batch target"]
) -> Float[Tensor, ""]:
    """Mean squared error over utterances and targets."""
    return (values - truth).square().mean()


def ccc_loss(
    values: Float[Tensor, "batch target"], truth: Float[Tensor, "batch target"]
) -> Float[Tensor, ""]:
    """One less the concordance correlation coefficient, mean over the targets.

        CCC = 2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2)

    Lin 1989 (Biometrics 45), Eq. 3, with divisor n; as a loss over a batch as in Trigeorgis et al. 2016 (ICASSP). Of a
    batch with one utterance it is 1 and has no gradient.
    """
    x, y = values - values.mean(dim=0), truth - truth.mean(dim=0)
    shift = (values.mean(dim=0) - truth.mean(dim=0)).square()
    spread = x.square().mean(dim=0) + y.square().mean(dim=0) + shift
    return (1 - 2 * (x * y).mean(dim=0) / (spread + _TINY)).mean()
