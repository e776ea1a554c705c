"""The objective that training minimises: two auxiliary losses and the classification loss, weighted to 1."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from raysys.config import LossConfig
from raysys.features.batch import Batch
from raysys.losses.classification import emotion_aware_loss, kl_loss
from raysys.losses.soft_hgr import soft_hgr_loss
from raysys.losses.swfc import swfc_loss
from raysys.models.output import ModelOutput


@dataclass(frozen=True)
class Objective:
    """Maps a model's output and a batch to a scalar.

        L = mu1 L_SWFC + mu2 L_Soft-HGR + (1 - mu1 - mu2) L_class,   L_class = L_KL + omega L_emotion-aware

    Shi & Huang 2023 (MultiEMO, ACL 2023), Eq. 22, whose 1/N makes L_class a mean over the batch; the lambda term is
    the optimiser's weight decay. SWFC sees the embedding (or what the model keeps for it), Soft-HGR the modality
    vectors. In `paper` mode both are divided by N here, as Eq. 22 has it; the authors' code has that factor inside.
    """

    config: LossConfig
    class_weights: Float[Tensor, " class"]
    """Weight of an utterance by its class in L_class; all ones without weighting."""
    class_counts: Float[Tensor, " class"]
    """Utterances of every class in the train part, for SWFC."""
    similarity: Float[Tensor, "class class"] | None
    """S of the emotion-aware term; needed when omega is above 0."""
    label_smoothing: float = 0.0

    def __call__(self, output: ModelOutput, batch: Batch) -> Float[Tensor, ""]:
        """The loss of one batch."""
        mu1, mu2 = self.config.mu1, self.config.mu2
        loss = self.classification(output, batch)
        if not mu1 and not mu2:
            return loss
        per_utterance = len(batch.labels) if self.config.mode == "paper" else 1
        loss = (1 - mu1 - mu2) * loss
        if mu1:
            contrast = swfc_loss(
                output.embedding if output.contrast is None else output.contrast,
                batch.labels,
                self.class_counts,
                temperature=self.config.tau,
                focus=self.config.gamma,
                alpha=self.config.alpha,
                mode=self.config.mode,
            )
            loss = loss + mu1 * contrast / per_utterance
        if mu2:
            agreement = soft_hgr_loss(list(output.vectors.values()), mode=self.config.mode)
            loss = loss + mu2 * agreement / per_utterance
        return loss

    def classification(self, output: ModelOutput, batch: Batch) -> Float[Tensor, ""]:
        """L_class alone: of every utterance by itself, so it does not depend on how batches are made up."""
        n_classes = batch.targets.shape[1]
        targets = (1 - self.label_smoothing) * batch.targets + self.label_smoothing / n_classes
        weights = self.class_weights[batch.labels]
        loss = kl_loss(output.logits, targets, weights)
        if self.config.omega and self.similarity is not None:
            aware = emotion_aware_loss(output.logits, batch.targets, self.similarity, weights)
            loss = loss + self.config.omega * aware
        return loss


def class_counts(labels: Tensor, n_classes: int) -> Float[Tensor, " class"]:
    """Utterances of every class."""
    return torch.bincount(labels, minlength=n_classes).float()


def balanced_class_weights(labels: Tensor, n_classes: int) -> Float[Tensor, " class"]:
    """Weights inverse to the class counts, such that the mean over utterances is 1 (scikit-learn's `balanced`)."""
    return len(labels) / (n_classes * class_counts(labels, n_classes).clamp(min=1))
