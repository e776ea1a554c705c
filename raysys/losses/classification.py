"""Losses between a predicted and a target distribution over emotions."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


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
    q, so it needs the KL term beside it.
    """
    cost = targets @ (1 - similarity)
    expected = (cost * logits.softmax(dim=1)).sum(dim=1)
    return (weights * expected).sum() / weights.sum()
