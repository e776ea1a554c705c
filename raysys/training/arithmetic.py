"""How torch computes here: threads, determinism and device, the same when a fold is trained and when it predicts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from raysys.config import Config


def settle(config: Config) -> str:
    """Set threads and determinism for this process.

    Returns:
        The device on which to train.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(max(1, int(config.cluster.cpus_per_fold)))
    torch.set_flush_denormal(True)
    # Not use_deterministic_algorithms, which also tells torch's compiler and loads it for that: seconds.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_flash_sdp(False)  # their backward passes are not deterministic
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    wanted, share = config.training.device, config.cluster.gpus_per_fold
    if wanted == "auto":
        wanted = "cuda" if share and torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and 0 < share < 1:  # others are on the same GPU, and must have their part
        torch.cuda.set_per_process_memory_fraction(share)
    return wanted


@contextmanager
def settled(config: Config) -> Iterator[None]:
    """As `settle`, for as long as it lasts."""
    threads, exact = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    settle(config)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(exact)
        torch.set_flush_denormal(False)
