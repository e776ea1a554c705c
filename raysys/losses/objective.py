"""The objective that training minimises: KL plus omega times the emotion-aware term."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from raysys.config import LossConfig
from raysys.features.batch import Batch
from raysys.losses.classification import emotion_aware_loss, kl_loss
from raysys.models.output import ModelOutput


@dataclass(frozen=True)
class Objective:
    """Maps a model's output and a batch to a scalar.

    L = L_KL + omega * L_emotion_aware
    """

    config: LossConfig
    class_weights: Float[Tensor, " class"]
    """Weight of an utterance by its class; all ones without weighting."""
    similarity: Float[Tensor, "class class"] | None
    """S of the emotion-aware term; needed when omega is above 0."""
    label_smoothing: float = 0.0

    def __call__(self, output: ModelOutput, batch: Batch) -> Float[Tensor, ""]:
        """The loss of one batch."""
        n_classes = batch.targets.shape[1]
        targets = (1 - self.label_smoothing) * batch.targets + self.label_smoothing / n_classes
        weights = self.class_weights[batch.labels]
        loss = kl_loss(output.logits, targets, weights)
        if self.config.omega and self.similarity is not None:
            aware = emotion_aware_loss(output.logits, batch.targets, self.similarity, weights)
            loss = loss + self.config.omega * aware
        return loss


def balanced_class_weights(labels: Tensor, n_classes: int) -> Float[Tensor, " class"]:
    """Weights inverse to the class counts, such that the mean over utterances is 1 (scikit-learn's `balanced`)."""
    counts = torch.bincount(labels, minlength=n_classes).clamp(min=1)
    return len(labels) / (n_classes * counts.float())
