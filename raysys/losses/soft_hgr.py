"""Soft-HGR loss: the modality vectors of an utterance carry what they have in common."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from raysys.losses.term import Mode, ModeConfig, Term


@dataclass(frozen=True)
class SoftHgrConfig(ModeConfig):
    """Soft-HGR on the modality vectors."""

    weight: ClassVar = "mu2"
    mu2: float = 0.0
    """Weight of the Soft-HGR loss on the modality vectors; mu1 + mu2 is at most 1."""

    def term(self, class_counts: Float[Tensor, " class"]) -> Term:
        """Soft-HGR of a batch."""
        return lambda output, batch: soft_hgr_loss(list(output.vectors.values()), mode=self.mode)

    def check(self) -> None:
        """Nothing but the weight, which the objective checks."""


def soft_hgr_loss(
    modalities: Sequence[Float[Tensor, "utterance dim"]], *, mode: Mode
) -> Float[Tensor, ""]:
    """Soft Hirschfeld-Gebelein-Renyi correlation of every pair of modalities, negated.

        L = - sum_{Q != V} ( E[Q^T V] - 1/2 tr(cov(Q) cov(V)) ),   E[Q] = 0

    Shi & Huang 2023 (MultiEMO, ACL 2023), Eq. 20, after Wang et al. 2019 (arXiv:1811.08979). Each unordered pair counts
    once. Time is linear in the batch in both modes.

    Args:
        modalities: two or more tensors over the same utterances, of one width.
        mode: `paper` centres each modality over the utterances and takes dim x dim covariances over them (divisor
            utterances - 1). `official` is the authors' code: nothing is centred, cov is the covariance of the
            utterances over the dimensions (utterance x utterance, divisor dim - 1), its trace is divided by
            the number of utterances, and so is the sum once more: its weight depends on the batch size.

    Raises:
        ValueError: fewer than two modalities.
    """
    if len(modalities) < 2:
        raise ValueError(f"Soft-HGR compares modalities, but was given {len(modalities)}")
    pair = _official if mode == "official" else _paper
    total: Tensor = sum(
        (pair(first, second) for first, second in itertools.combinations(modalities, 2)),
        start=modalities[0].new_zeros(()),
    )
    return -total / len(modalities[0]) if mode == "official" else -total


def _official(
    first: Float[Tensor, "utterance dim"], second: Float[Tensor, "utterance dim"]
) -> Float[Tensor, ""]:
    """Mean <x, y> - tr(cov(X) cov(Y)) / 2n. With rows centred, tr(X X^T Y Y^T) = |X^T Y|^2, so n x n never exists."""
    count, dim = first.shape
    x, y = (rows - rows.mean(dim=1, keepdim=True) for rows in (first, second))
    trace = (x.T @ y).square().sum() / max(dim - 1, 1) ** 2
    return (first * second).sum() / count - trace / (2 * count)


def _paper(
    first: Float[Tensor, "utterance dim"], second: Float[Tensor, "utterance dim"]
) -> Float[Tensor, ""]:
    """Mean <x, y> - tr(cov(X) cov(Y)) / 2, columns centred."""
    count = len(first)
    x, y = (columns - columns.mean(dim=0) for columns in (first, second))
    trace = ((x.T @ x) * (y.T @ y)).sum() / max(count - 1, 1) ** 2
    return (x * y).sum() / count - trace / 2
