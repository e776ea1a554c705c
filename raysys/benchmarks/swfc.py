"""What vectorising the SWFC loss is worth: one matrix product against loops over utterances, same formula, same batch.

    loop       for each utterance: gather the others, their similarities, the positives     (Eq. 18-19 as written)
    lean loop  the same without copying the others: similarities to all, oneself masked
    ours       raysys.losses.swfc_loss

Forward and backward of 2,600 utterances of width 256 in 6 emotions. Peak memory is what the process grows by in one of
our steps, after the loops' smaller one.
"""

import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from raysys.losses.classification import class_counts
from raysys.losses.swfc import swfc_loss
from raysys.storage import Folder

_UTTERANCES, _DIM, _CLASSES = 2600, 256, 6
_TAU, _GAMMA, _ALPHA = 0.8, 2.4, 1.1
_REPEATS = 5


def measure(console: Console, folder: Folder) -> dict[str, Any]:
    """Time the three on the same batch.

    Args:
        console: for progress.
        folder: not used.

    Returns:
        Seconds of each (the best of several for ours), ratios loop / ours, the largest difference of the losses, and
        peak memory in MB.
    """
    torch.manual_seed(0)
    vectors = torch.randn(_UTTERANCES, _DIM)
    labels = torch.arange(_UTTERANCES) % _CLASSES
    counts = class_counts(labels, _CLASSES)
    small = vectors[:200], labels[:200]
    ours = partial(swfc_loss, temperature=_TAU, focus=_GAMMA, alpha=_ALPHA, mode="official")
    for loss in (ours, _loop, _lean_loop):
        _seconds(loss, *small, counts)  # first use of torch's kernels
    console.print(f"{_UTTERANCES} x {_DIM}, {torch.get_num_threads()} threads")
    before = _peak_mb()
    ours_seconds, ours_loss = _seconds(ours, vectors, labels, counts)
    memory = _peak_mb() - before
    for _ in range(_REPEATS - 1):
        ours_seconds = min(ours_seconds, _seconds(ours, vectors, labels, counts)[0])
    lean_seconds, lean_loss = _seconds(_lean_loop, vectors, labels, counts)
    loop_seconds, loop_loss = _seconds(_loop, vectors, labels, counts)
    return {
        "loop_seconds": loop_seconds,
        "lean_loop_seconds": lean_seconds,
        "ours_seconds": ours_seconds,
        "ratio": loop_seconds / ours_seconds,
        "lean_ratio": lean_seconds / ours_seconds,
        "difference": max(abs(ours_loss - loop_loss), abs(ours_loss - lean_loss)),
        "peak_memory_mb": memory,
    }


def _seconds(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    vectors: Tensor,
    labels: Tensor,
    counts: Tensor,
) -> tuple[float, float]:
    """Wall time of forward and backward, and the loss."""
    leaf = vectors.clone().requires_grad_()
    started = time.perf_counter()
    value = loss(leaf, labels, counts)
    value.backward()
    return time.perf_counter() - started, float(value.detach())


def _loop(vectors: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    unit, weights = functional.normalize(vectors), _weights(counts)
    total = torch.zeros(())
    for j in range(len(unit)):
        others = torch.arange(len(unit)) != j
        log_s = (unit[others] @ unit[j] / _TAU).log_softmax(dim=0)
        total = total - weights[labels[j]] * _focal(log_s[labels[others] == labels[j]])
    return total / len(unit)


def _lean_loop(vectors: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    unit, weights = functional.normalize(vectors), _weights(counts)
    total = torch.zeros(())
    for j in range(len(unit)):
        oneself = torch.arange(len(unit)) == j
        log_s = (unit @ unit[j] / _TAU).masked_fill(oneself, -torch.inf).log_softmax(dim=0)
        total = total - weights[labels[j]] * _focal(log_s[(labels == labels[j]) & ~oneself])
    return total / len(unit)


def _focal(log_s: Tensor) -> Tensor:
    return ((1 - log_s.exp()) ** _GAMMA * log_s).mean() if len(log_s) else torch.zeros(())


def _weights(counts: Tensor) -> Tensor:
    weights = (counts.sum() / counts) ** _ALPHA
    return weights / weights.sum()


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
