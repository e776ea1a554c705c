"""The GPU of this process: whether it can be used and why not, how much of it is ours, and what its errors mean."""

import gc
import os
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from raysys.errors import GpuError

Device = Literal["auto", "cpu", "cuda"]
GB = 1e9
"""A gigabyte: 10^9 bytes."""
_CONTEXT_GB = 0.7
"""Memory that CUDA and its libraries take for each process besides what PyTorch allocates: 0.3 to 0.6 GB, with room."""
_DEVICES = "/dev/nvidiactl"
_REMEDY = "install a driver or a build of PyTorch that fit each other"
_SPOILT = ("CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS", "device-side assert")


@cache
def why_not() -> str:
    """Why PyTorch cannot use a GPU here, in the words of the driver or of PyTorch; empty where it can."""
    if torch.cuda.is_available():
        return ""
    if not torch.backends.cuda.is_built():
        return "this build of PyTorch has no CUDA"
    try:
        torch.cuda.init()
    except Exception as error:  # whatever the driver's state makes of it
        return " ".join(str(error).split())
    return "no CUDA device is visible to this process"


def is_there() -> bool:
    """Whether this process may see a GPU of this machine, whatever PyTorch makes of it."""
    # Ray empties it for work that asked for no GPU.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    return Path(_DEVICES).exists() and not hidden


def device_for(asked: str, *, setting: str, given: bool) -> str:
    """What auto, cpu or cuda comes to in this process.

    Args:
        asked: auto, cpu or cuda.
        setting: dotted name of what asks, for the message.
        given: a GPU was set aside for this process, so that auto means it.

    Raises:
        GpuError: a GPU is asked for and cannot be used.
    """
    if asked == "cpu" or (asked == "auto" and not given):
        return "cpu"
    if reason := why_not():
        raise GpuError(f"{setting} asks for a GPU that cannot be used: {reason}: {_REMEDY}")
    return "cuda"


def memory_gb() -> float:
    """Memory of the GPU, in 10^9 bytes."""
    return float(torch.cuda.get_device_properties(0).total_memory) / GB


def memory_share(share: float, total_gb: float) -> float:
    """Share of a GPU's memory that PyTorch may allocate in a process that was given a share of the GPU.

    CUDA's own memory is left out, that of this process and that of the driver, which may have extracted on it.

    Args:
        share: of the GPU, in (0, 1].
        total_gb: memory of the GPU.
    """
    usable = (total_gb - _CONTEXT_GB) * share - _CONTEXT_GB
    return max(usable, 0.05 * total_gb * share) / total_gb


def shares_that_fit(needed_gb: float, total_gb: float) -> int:
    """How many processes that allocate so much fit on one GPU; at least 1.

    Args:
        needed_gb: what PyTorch reserves at most in one of them.
        total_gb: memory of the GPU.
    """
    return max(1, int((total_gb - _CONTEXT_GB) / (needed_gb + _CONTEXT_GB)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU had no memory left: freed, it can be used again."""
    return isinstance(error, torch.OutOfMemoryError)


def is_spoilt(error: BaseException) -> bool:
    """Whether an error leaves CUDA unusable in this process: every later call would fail, whoever makes it.

    Args:
        error: that PyTorch raised.
    """
    if is_out_of_memory(error):
        return False
    if isinstance(error, torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _SPOILT)


def release() -> None:
    """Give back what PyTorch keeps of the GPU without using it."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
