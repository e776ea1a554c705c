"""Losses of the multi-way mapping model: between label formats, and between their decoders.

Buechel, Modersohn & Hahn 2023, arXiv:2308.07871 (seeds/002), sections 3.1 and 3.2. Losses of ratings are means over the
pairs of formats that an item is rated in, then over items: no rating counts more because a batch has others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from raysys.batches.batch import Batch
from raysys.corpus.formats import Format
from raysys.models.output import ModelOutput
from raysys.settings import require


@dataclass(frozen=True)
class LabelMappingLossConfig:
    """The main loss of a label mapping; 0 switches a part off."""

    mapping: float = 1.0
    """label_mapping: weight of predicting a format from another one."""
    autoencoding: float = 1.0
    """label_mapping: weight of predicting a format from itself."""
    closeness: float = 1.0
    """label_mapping: weight of the mean squared difference between the embeddings of one item's formats."""
    sharing: float = 0.1
    """label_mapping: weight of 1 - cosine between the decoders' weight vectors of variables that mean the same; 1 in
    the authors' code, which names 0.1 and does not multiply by it."""
    left_out: tuple[str, ...] = ()
    """label_mapping: formats that are left out of training, so that they can be added to the space afterwards."""

    def check(self) -> None:
        """Refuse values out of range."""
        names = ("mapping", "autoencoding", "closeness", "sharing")
        for name in names:
            value = getattr(self, name)
            require(value >= 0, f"loss.{name}", value, "0 or more")
        once = len(set(self.left_out)) == len(self.left_out)
        require(once, "loss.left_out", self.left_out, "different formats")
        some = self.mapping + self.autoencoding
        require(some > 0, "loss.mapping", self.mapping, "above 0 where loss.autoencoding is 0")


@dataclass(frozen=True)
class LabelMappingLoss:
    """mapping L_map + autoencoding L_auto + closeness L_close + sharing L_share."""

    weights: LabelMappingLossConfig
    formats: Sequence[Format]
    equivalent: Sequence[tuple[tuple[int, int], tuple[int, int]]]
    """Pairs of variables, see `raysys.corpus.formats.equivalents`."""
    mean: Float[Tensor, " output"]
    """Mean of each output's true values in the train part; 0 for those that are no numbers."""
    std: Float[Tensor, " output"]
    """Their standard deviation; 1 for those that are no numbers."""

    @property
    def taught(self) -> list[bool]:
        """Whether each format is."""
        return [one.name not in self.weights.left_out for one in self.formats]

    def __call__(self, output: ModelOutput, batch: Batch) -> Float[Tensor, ""]:
        """The loss of one batch; its targets are NaN where an item is not rated in one of the two formats."""
        losses, known = self._pairs(output.logits, batch.targets)
        own = torch.eye(len(self.formats), dtype=torch.bool, device=known.device).flatten()
        loss = self.weights.mapping * _mean(losses, known & ~own)
        loss = loss + self.weights.autoencoding * _mean(losses, known & own)
        if self.weights.closeness and output.vectors:
            loss = loss + self.weights.closeness * self._closeness(output, known[:, own])
        if self.weights.sharing and output.weights and self.equivalent:
            loss = loss + self.weights.sharing * self._sharing(output)
        return loss

    def validation(self, output: ModelOutput, batch: Batch) -> Float[Tensor, ""]:
        """L_map of one batch."""
        losses, known = self._pairs(output.logits, batch.targets)
        own = torch.eye(len(self.formats), dtype=torch.bool, device=known.device).flatten()
        return _mean(losses, known & ~own)

    def _pairs(
        self, logits: Float[Tensor, "batch output"], targets: Float[Tensor, "batch output"]
    ) -> tuple[Float[Tensor, "batch pair"], Bool[Tensor, "batch pair"]]:
        """The loss of every item from every format to every format, and whether it is rated in both."""
        sizes = [len(one.variables) for one in self.formats] * len(self.formats)
        known, losses = [], []
        taught, count = self.taught, len(self.formats)
        truth, shown = targets.nan_to_num().split(sizes, dim=1), targets.split(sizes, dim=1)
        scales = zip(self.mean.split(sizes), self.std.split(sizes), strict=True)
        pairs = zip(logits.split(sizes, dim=1), truth, scales, strict=True)
        for k, (one, wanted, (mean, std)) in enumerate(pairs):
            kind = self.formats[k % len(self.formats)].kind
            there = ~shown[k].isnan().any(dim=1)
            pair_is_taught = taught[k // count] and taught[k % count]
            known.append(there if pair_is_taught else torch.zeros_like(there))
            if kind == "numeric":
                each = (one - (wanted - mean) / std).square().mean(dim=1)
            elif kind == "binary":
                apart = functional.binary_cross_entropy_with_logits(one, wanted, reduction="none")
                each = apart.mean(dim=1)
            else:
                each = functional.cross_entropy(one, wanted, reduction="none")
            losses.append(each)
        return torch.stack(losses, dim=1), torch.stack(known, dim=1)

    def _closeness(
        self, output: ModelOutput, known: Bool[Tensor, "batch format"]
    ) -> Float[Tensor, ""]:
        """Mean squared difference over each two formats of an item."""
        vectors = list(output.vectors.values())
        first, second = torch.triu_indices(len(vectors), len(vectors), offset=1)
        apart = [
            (vectors[a] - vectors[b]).square().mean(dim=1)
            for a, b in zip(first, second, strict=True)
        ]
        return _mean(torch.stack(apart, dim=1), known[:, first] & known[:, second])

    def _sharing(self, output: ModelOutput) -> Float[Tensor, ""]:
        """1 - cosine, mean over the pairs of equivalent variables."""
        assert output.weights is not None
        pairs = [
            (one, other)
            for one, other in self.equivalent
            if self.taught[one[0]] and self.taught[other[0]]
        ]
        if not pairs:
            return output.logits.new_zeros(())
        decoders = list(output.weights.values())
        ours, others = (
            torch.stack([decoders[f][v] for f, v in side]) for side in zip(*pairs, strict=True)
        )
        return (1 - functional.cosine_similarity(ours, others, dim=1)).mean()


def _mean(
    losses: Float[Tensor, "batch pair"], known: Bool[Tensor, "batch pair"]
) -> Float[Tensor, ""]:
    """Over the known pairs of every item, then over all items; one without any counts 0."""
    counts = known.sum(dim=1).clamp(min=1)
    return ((losses * known).sum(dim=1) / counts).mean()
