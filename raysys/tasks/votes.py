"""Probabilities against what annotators said: how far a model is from the distribution of the votes.

q = votes / their sum,   KL(q | p) in nats,   JS(q, p) = (KL(q | m) + KL(p | m)) / 2 with m = (p + q) / 2, in bits
cross-entropy = KL(q | p) + H(q) = -sum q log p in nats
unanimous   one emotion has all votes;   majority   one has more than half;   none   no emotion has
"""

import math

import numpy as np
from jaxtyping import Float, Float64, Num

Scores = dict[str, float]


def score_votes(
    probabilities: Float[np.ndarray, "row class"], votes: Num[np.ndarray, "row class"]
) -> dict[str, Scores]:
    """How clear the votes are -> js, kl, cross_entropy, utterances; nothing where no row has votes.

    Args:
        probabilities: rows of sum 1.
        votes: annotators, or their share; rows of zeros are left out.
    """
    voted = votes.sum(axis=1) > 0
    if not voted.any():
        return {}
    shares = votes[voted] / votes[voted].sum(axis=1, keepdims=True)
    said = np.asarray(probabilities[voted], dtype=np.float64)
    kl, middle = _kl(shares, said), (shares + said) / 2
    js = (_kl(shares, middle) + _kl(said, middle)) / 2 / math.log(2)
    entropy = -_kl(shares, np.ones_like(shares))
    most = shares.max(axis=1)
    clear = most > 1 - 1e-9
    groups = {
        "all": np.ones(len(most), dtype=bool),
        "unanimous": clear,
        "majority": ~clear & (most > 0.5),
        "none": most <= 0.5,
    }
    return {
        name: {
            "js": float(js[own].mean()),
            "kl": float(kl[own].mean()),
            "cross_entropy": float((kl + entropy)[own].mean()),
            "utterances": int(own.sum()),
        }
        for name, own in groups.items()
        if own.any()
    }


def _kl(
    left: Float64[np.ndarray, "row class"], right: Float64[np.ndarray, "row class"]
) -> Float64[np.ndarray, " row"]:
    """In nats; 0 log 0 is 0, and a probability that float32 rounded to 0 counts as its smallest number."""
    smallest = float(np.finfo(np.float32).tiny)
    logs = np.log(np.maximum(left, smallest)) - np.log(np.maximum(right, smallest))
    found: np.ndarray = (left * logs).sum(axis=1)
    return found
