"""Loss of content encoders: what they say in an emotion space is read by its frozen decoders.

Buechel, Modersohn & Hahn 2023, arXiv:2308.07871 (seeds/002), section 3.3, with emotion label augmentation: formats that
an item is not rated in are trained on what the space makes of its ratings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from raysys.batches.batch import Batch
from raysys.models.emotion_space import Answers, EmotionSpace, as_ratings
from raysys.models.output import ModelOutput
from raysys.settings import require


@dataclass(frozen=True)
class EmotionEmbeddingLossConfig:
    """The main loss of content encoders."""

    space: str = ""
    """emotion_embedding: the run of jobs.map_labels whose emotion space is used: its name in storage.runs, or its
    folder. label_mapping: one whose formats stay as they are, while those that it was not trained on are added."""
    supervised: tuple[str, ...] = ()
    """emotion_embedding: label formats trained on directly; all others are evaluated zero-shot. Empty: all that people
    rated."""
    augmented: tuple[str, ...] = ()
    """emotion_embedding: further formats of the space, trained on what it makes of the supervised ratings."""

    def check(self) -> None:
        """Refuse formats that are named twice."""
        names = (*self.supervised, *self.augmented)
        rule = "formats that are not in loss.supervised, each once"
        require(len(set(names)) == len(names), "loss.augmented", self.augmented, rule)


@dataclass(frozen=True)
class EmotionEmbeddingLoss:
    """Mean per item of squared error, binary or categorical cross-entropy over the formats that are trained on."""

    space: EmotionSpace
    answers: Answers
    supervised: Sequence[int]
    """Formats of the answers whose ratings are trained on."""
    augmented: Sequence[int]
    """Those that the space supplies."""

    def __call__(self, output: ModelOutput, batch: Batch) -> Float[Tensor, ""]:
        """The loss of one batch; its targets are ratings in 0..1, NaN where an item has none."""
        return self._loss(output, batch, augmented=True)

    def validation(self, output: ModelOutput, batch: Batch) -> Float[Tensor, ""]:
        """The loss of the supervised formats alone."""
        return self._loss(output, batch, augmented=False)

    def _loss(self, output: ModelOutput, batch: Batch, *, augmented: bool) -> Float[Tensor, ""]:
        logits = self.answers.logits(output.logits)
        truth = list(batch.targets.split(self.answers.sizes, dim=1))
        taught = {k: truth[k] for k in self.supervised}
        if augmented and self.augmented:
            taught |= self._supplied(truth)
        losses, known = [], []
        for k, wanted in taught.items():
            known.append(~wanted.isnan().any(dim=1))
            losses.append(self._each(k, logits[k], wanted.nan_to_num()))
        there = torch.stack(known, dim=1)
        total = (torch.stack(losses, dim=1) * there).sum(dim=1)
        return (total / there.sum(dim=1).clamp(min=1)).mean()

    def _each(
        self, k: int, logits: Float[Tensor, "item _"], wanted: Float[Tensor, "item _"]
    ) -> Float[Tensor, " item"]:
        kind = self.answers.formats[k].kind
        if kind == "categorical":
            return functional.cross_entropy(logits, wanted, reduction="none")
        if kind == "binary":
            apart = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
            return apart.mean(dim=1)
        std = self.answers.std.split(self.answers.sizes[: len(self.answers.spaces)])[k]
        return ((logits - wanted) / std).square().mean(dim=1)

    def _supplied(self, truth: Sequence[Float[Tensor, "item _"]]) -> dict[int, Tensor]:
        """Ratings in the augmented formats, made of the first supervised one that an item is rated in."""
        with torch.no_grad():
            rows = len(truth[0])
            embeddings = torch.full((rows, self.space.dim), torch.nan, device=truth[0].device)
            for k in self.supervised:
                known = ~truth[k].isnan().any(dim=1) & embeddings[:, 0].isnan()
                embeddings[known] = self._embedded(k, truth[k][known])
            logits = self.answers.logits(embeddings)
            return {k: as_ratings(self.answers.formats[k].kind, logits[k]) for k in self.augmented}

    def _embedded(self, k: int, ratings: Float[Tensor, "item _"]) -> Float[Tensor, "item dim"]:
        """Where a format's ratings lie; those of classes are their prototypes."""
        count = len(self.answers.spaces)
        if k < count:
            return self.space.encode(self.answers.formats[k].name, ratings)
        assert self.answers.prototypes is not None
        points = self.answers.prototypes.split(self.answers.sizes[count:])[k - count]
        return ratings @ points
