"""What is known of the emotion of every utterance, and the distribution over emotions that a model is trained on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64, Num


@dataclass(frozen=True)
class ClassTargets:
    """What is known of the emotion of every utterance."""

    labels: Int64[np.ndarray, " utterance"]
    votes: Num[np.ndarray, "utterance class"]
    """Annotators, or their share, by emotion; a row of zeros where there are none."""
    elsewhere: Num[np.ndarray, " utterance"]
    """Annotators, or their share, who named an emotion that is no class."""


def target_distributions(
    labels: Int64[np.ndarray, " utterance"],
    votes: Num[np.ndarray, "utterance class"],
    kind: Literal["label", "votes"],
) -> Float32[np.ndarray, "utterance class"]:
    """Target distribution of every utterance.

    Args:
        labels: class of every utterance.
        votes: annotators for each class; a row of zeros where there are none.
        kind: `label` gives one-hot rows; `votes` the share of annotators for each emotion, and the one-hot label
            where an utterance has no votes for the corpus' emotions.
    """
    one_hot = np.eye(votes.shape[1], dtype=np.float32)[labels]
    if kind == "label":
        return one_hot
    total = votes.sum(axis=1, keepdims=True)
    return np.where(total > 0, votes / np.where(total > 0, total, 1), one_hot).astype(np.float32)
