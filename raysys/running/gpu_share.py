"""How much of a GPU a fold gets where that is to be found out: `cluster.gpus_per_fold auto`.

one fold, one epoch, alone on a GPU of the cluster -> most memory that it took -> as many folds a GPU as fit
"""

import sys
from collections.abc import Sequence

from raysys import gpu
from raysys.cluster.gpus import count_gpus, most_folds, on_a_gpu
from raysys.cluster.session import ray_session
from raysys.config import Config
from raysys.errors import ConfigError
from raysys.settings import replaced
from raysys.similarity.prior import FoldPrior
from raysys.training.memory import FoldMemory, measure_memory
from raysys.training.parts import FoldData

NAME = "cluster.gpus_per_fold"
_MARGIN = 1.1
"""What a fold is given, as a multiple of what it was measured to take: no two epochs draw the same batches."""


def with_gpu_share(config: Config, data: FoldData, prior: Sequence[FoldPrior] | None) -> Config:
    """The config with `cluster.gpus_per_fold` as a number, measured where it is auto; 0 in a cluster without a GPU.

    Args:
        config: everything.
        data: of all folds.
        prior: what the objective knows beforehand, fold by fold.

    Raises:
        PoolError: Ray cannot be reached, or no GPU has been free for `cluster.hello_seconds`.
        RaysysError: PyTorch cannot use the GPU, the fold cannot be trained, or not so many together.
    """
    if config.cluster.gpus_per_fold != "auto":
        return config
    share = _measured_share(config, data, prior) if _uses_gradients(config) else 0.0
    found: Config = replaced(config, {NAME: share})
    return found


def share_of(memory: FoldMemory, most: int, together: int = 1) -> float:
    """Share of a GPU for a fold: an n-th, of which n fit.

    Args:
        memory: what a fold takes.
        most: workers a GPU for which there are CPUs.
        together: folds of a worker.

    Raises:
        ConfigError: those of one worker do not fit.
    """
    fit = gpu.shares_that_fit(memory.fold_gb * _MARGIN, memory.gpu_gb)
    if fit < together:
        raise ConfigError(
            f"training.together is {together}, but no more than {fit} such folds fit on {memory.gpu}: set it to {fit}"
        )
    return 1 / max(1, min(fit // together, most) * together)


def idle_gpus(config: Config) -> str:
    """What to say where the cluster has GPUs and folds do not ask for one; empty otherwise. Ray is connected."""
    there = count_gpus()
    if not there or config.cluster.gpus_per_fold or not _uses_gradients(config):
        return ""
    return f"note: folds train on CPUs, {there:g} GPU(s) of the cluster are idle: --{NAME} auto trains on them"


def idle_together(config: Config) -> str:
    """What to say where folds are trained together on CPUs, which gains nothing; empty otherwise."""
    folds = config.training.together
    if folds == 1 or config.cluster.gpus or config.training.device == "cuda":
        return ""
    return (
        f"note: training.together {folds} is for GPUs; on CPUs {folds} folds take turns on the cores of one, and 1 is "
        "faster"
    )


def _uses_gradients(config: Config) -> bool:
    return config.training.device != "cpu" and not config.model.chosen.fits_at_once


def _measured_share(config: Config, data: FoldData, prior: Sequence[FoldPrior] | None) -> float:
    cluster = config.cluster
    with ray_session(cluster):
        if not count_gpus() and not cluster.max_workers:
            _say(f"{NAME} 0: the cluster has no GPU")
            return 0.0
        memory = on_a_gpu(measure_memory, config, data, prior, config=cluster)
        share = share_of(memory, most_folds(cluster), config.training.together)
    _say(
        f"{NAME} {share:.3g}: a fold took {memory.fold_gb:.1f} of {memory.gpu_gb:.0f} GB of {memory.gpu}, "
        f"{round(1 / share)} at a time on each"
    )
    return share


def _say(line: str) -> None:
    print(line, file=sys.stderr)
