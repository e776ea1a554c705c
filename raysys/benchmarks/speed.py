"""How fast a device multiplies, and how much arithmetic something takes: what speeds are compared with."""

import time
import warnings
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

_REPEATS = 4


def finish(device: str) -> None:
    """Wait until a device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object], device: str) -> float:
    """Seconds in which a device does something."""
    finish(device)
    started = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - started


def matrix_gflops(device: str = "cpu", side: int = 2048) -> float:
    """Speed of a large matrix product in float32: billions of operations a second, the best of several.

    Args:
        device: cpu or cuda.
        side: of the square matrices.
    """
    square = torch.randn(side, side, device=device)
    best = min(seconds_of(lambda: square @ square, device) for _ in range(_REPEATS))
    return 2 * side**3 / best / 1e9


def gflop_of(work: Callable[[], object]) -> float:
    """Billions of operations in the matrix products of something that runs on the CPU, attention's and LSTMs' included.

    The counter knows no fused attention or LSTM; as plain products they have the same arithmetic.
    """
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            work()
    return float(counter.get_total_flops()) / 1e9
