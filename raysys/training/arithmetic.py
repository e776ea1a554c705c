"""How torch computes here: threads, determinism and device, the same when a fold is trained and when it predicts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from raysys import gpu
from raysys.config import Config

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
# cuBLAS reads it when it makes its handle. Of its deterministic values this is the one that cuDNN's recurrent networks
# need, too (PyTorch, "Reproducibility" and the note of `torch.nn.LSTM`).
os.environ.setdefault(_WORKSPACE, ":16:8")


def settle(config: Config) -> str:
    """Set threads and determinism for this process.

    Returns:
        The device on which to train.

    Raises:
        GpuError: a GPU is asked for and cannot be used.
    """
    torch.set_num_threads(max(1, int(config.cluster.cpus_per_fold)))
    torch.set_flush_denormal(True)
    # Not use_deterministic_algorithms, which also notifies torch's compiler and loads it for that: seconds.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False
    # By itself cuDNN would multiply in TF32, whose ten bits make a GPU's numbers others than a CPU's or an older GPU's.
    torch.backends.cudnn.allow_tf32 = False
    share = config.cluster.gpus * config.training.together
    setting = "cluster.gpus_per_fold" if share else "training.device"
    device = gpu.device_for(config.training.device, setting=setting, given=share > 0)
    # In this mode both have deterministic backward passes on a GPU; a CPU's numbers stay those that they were.
    torch.backends.cuda.enable_flash_sdp(device == "cuda")
    torch.backends.cuda.enable_mem_efficient_sdp(device == "cuda")
    if device == "cuda" and 0 < share < 1:  # others are on the same GPU, and must have their part
        torch.cuda.set_per_process_memory_fraction(gpu.memory_share(share, gpu.memory_gb()))
    return device


@contextmanager
def settled(config: Config) -> Iterator[None]:
    """As `settle`, for as long as it lasts: afterwards the process computes as it did before."""
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    threads, exact = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    flash, efficient = cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled()
    tries, tf32, flushes = cudnn.benchmark, cudnn.allow_tf32, _flushes_denormals()
    share = torch.cuda.get_per_process_memory_fraction() if torch.cuda.is_initialized() else 1.0
    settle(config)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(exact)
        torch.set_flush_denormal(flushes)
        cuda.enable_flash_sdp(flash)
        cuda.enable_mem_efficient_sdp(efficient)
        cudnn.benchmark, cudnn.allow_tf32 = tries, tf32
        if torch.cuda.is_initialized():
            torch.cuda.set_per_process_memory_fraction(share)


def _flushes_denormals() -> bool:
    """Whether numbers next to 0 are computed as 0; torch does not report it."""
    return bool(torch.full((1,), 1e-310, dtype=torch.float64).mul(1.0) == 0)
