"""What a fold takes of a GPU's memory: measured in an epoch of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from raysys import gpu
from raysys.config import Config
from raysys.settings import replaced
from raysys.similarity.prior import FoldPrior
from raysys.training.arithmetic import settle
from raysys.training.epoch import train_epoch, validate
from raysys.training.fold import make_learner
from raysys.training.parts import FoldData, Parts, balanced


@dataclass(frozen=True)
class FoldMemory:
    """What a fold took of a GPU."""

    fold_gb: float
    """Most memory that PyTorch reserved, in 10^9 bytes; that of the whole GPU where it did not do."""
    gpu_gb: float
    """Memory of the GPU."""
    gpu: str
    """Name of the GPU."""


def measure_memory(config: Config, data: FoldData, prior: Sequence[FoldPrior] | None) -> FoldMemory:
    """Train the first fold for an epoch on a GPU of its own and look at the most memory that it took.

    Args:
        config: everything; nothing is written.
        data: of all folds.
        prior: what the objective knows beforehand, fold by fold.

    Raises:
        GpuError: there is no GPU that can be used.
        FoldFailedError: the fold cannot be trained.
    """
    alone = {
        "cluster.gpus_per_fold": 1.0,
        "training.device": "cuda",
        "training.start_from": "",
        "training.together": 1,
    }
    config = replaced(config, alone)
    device = settle(config)
    total, name = gpu.memory_gb(), torch.cuda.get_device_name()
    torch.cuda.reset_peak_memory_stats()
    try:
        _one_epoch(config, data, None if prior is None else prior[0], device)
    except RuntimeError as error:
        if not gpu.is_out_of_memory(error):
            raise
        return FoldMemory(total, total, name)
    return FoldMemory(torch.cuda.max_memory_reserved() / gpu.GB, total, name)


def _one_epoch(config: Config, data: FoldData, prior: FoldPrior | None, device: str) -> None:
    fold = data.folds[0]
    parts = Parts.of(config, data, fold, device)
    train, val, _test = (
        balanced(parts.train(fold), config, data, fold),
        parts(fold.val),
        parts(fold.test),
    )
    tops = data.tops_of(config)
    learner = make_learner(config, data.task, fold=fold.index, train=train, prior=prior, tops=tops)
    train_epoch(learner, train, config)
    validate(learner, data.task, val, config)
