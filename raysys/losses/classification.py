"""Losses between a predicted and a target distribution over emotions."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from raysys.batches.batch import Batch
from raysys.models.output import ModelOutput
from raysys.settings import require


@dataclass(frozen=True)
class ClassificationLossConfig:
    """The main loss of a classification: KL + omega emotion-aware."""

    targets: Literal["label", "votes"] = "label"
    """label (one-hot) or votes (share of the annotators; utterances without votes fall back to the label)."""
    omega: float = 0.0
    """Weight of the emotion-aware term that is added to KL; 0 leaves plain KL."""
    similarity: str = "preset"
    """Similarity matrix S of the emotion-aware term: preset (hand-written), vad (from people's ratings of the emotions'
    names), the path of a .json or .npy file, or mlflow:RUN_ID for that of an earlier run."""
    measured_on: Literal["val", "test"] = "val"
    """Which matrices of an earlier run S is: those of val parts, where each fold takes what its own model measured on
    its own val part; or test, the average over the other folds' test parts, on which this fold's labels have a bearing
    (their models trained on them): the result is marked."""
    class_weights: bool = False
    """Weigh utterances by the inverse frequency of their class in the train part."""

    def check(self) -> None:
        """Refuse values out of range."""
        require(self.omega >= 0, "loss.omega", self.omega, "0 or more")
        require(
            bool(self.similarity), "loss.similarity", "", "preset, vad, a file or mlflow:RUN_ID"
        )


@dataclass(frozen=True)
class ClassificationLoss:
    """L_KL + omega L_emotion-aware, of every utterance by itself: it does not depend on how batches are made up."""

    omega: float
    class_weights: Float[Tensor, " class"]
    """Weight of an utterance by its class; all ones without weighting."""
    similarity: Float[Tensor, "class class"] | None = None
    """S of the emotion-aware term; needed when omega is above 0."""
    label_smoothing: float = 0.0

    def __call__(self, output: ModelOutput, batch: Batch) -> Float[Tensor, ""]:
        """The loss of one batch."""
        n_classes = batch.targets.shape[1]
        targets = (1 - self.label_smoothing) * batch.targets + self.label_smoothing / n_classes
        weights = self.class_weights[batch.labels]
        loss = kl_loss(output.logits, targets, weights)
        if self.omega and self.similarity is not None:
            aware = emotion_aware_loss(output.logits, batch.targets, self.similarity, weights)
            loss = loss + self.omega * aware
        return loss


def kl_loss(
    logits: Float[Tensor, "batch class"],
    targets: Float[Tensor, "batch class"],
    weights: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Kullback-Leibler divergence from the targets to the prediction, averaged over the batch.

        L = sum_b w_b sum_i y_bi log(y_bi / q_bi) / sum_b w_b,   q = softmax(logits),  0 log 0 = 0

    Liang et al. 2023 (arXiv:2302.08650), Eq. 6; y is `targets`. For one-hot targets it is the cross-entropy. The
    weights w are ours (class weights); all ones give the paper's mean.

    Args:
        logits: before the softmax.
        targets: rows that sum to 1.
        weights: weight of each utterance, not all 0.
    """
    divergence = functional.kl_div(logits.log_softmax(dim=1), targets, reduction="none").sum(dim=1)
    return (weights * divergence).sum() / weights.sum()


def emotion_aware_loss(
    logits: Float[Tensor, "batch class"],
    targets: Float[Tensor, "batch class"],
    similarity: Float[Tensor, "class class"],
    weights: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Expected dissimilarity between the true and the predicted emotion.

        L = sum_b w_b sum_y t_by sum_j q_bj (1 - S[y, j]) / sum_b w_b,   q = softmax(logits)

    The emotion-aware loss of the project's source 000: confusing similar emotions costs less. S is `similarity` with a
    unit diagonal, t is `targets`. The source gives no formula; this is the expectation that it describes, linear in
    q, so it needs the KL term as well.
    """
    cost = targets @ (1 - similarity)
    expected = (cost * logits.softmax(dim=1)).sum(dim=1)
    return (weights * expected).sum() / weights.sum()


def class_counts(labels: Tensor, n_classes: int) -> Float[Tensor, " class"]:
    """Utterances of every class."""
    return torch.bincount(labels, minlength=n_classes).float()


def balanced_class_weights(labels: Tensor, n_classes: int) -> Float[Tensor, " class"]:
    """Weights inverse to the class counts, such that the mean over utterances is 1 (scikit-learn's `balanced`)."""
    return len(labels) / (n_classes * class_counts(labels, n_classes).clamp(min=1))
