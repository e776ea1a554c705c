"""GPUs of the cluster: how many there are, for how many folds each there are CPUs, and work on one of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from raysys.cluster.nodes import node_resources
from raysys.config.running import ClusterConfig
from raysys.errors import PoolError, RaysysError


def count_gpus() -> float:
    """GPUs of the nodes that are there; Ray is connected."""
    return float(ray.cluster_resources().get("GPU", 0.0))


def most_folds(config: ClusterConfig) -> int:
    """See `folds_a_gpu`, of the nodes that are there."""
    return folds_a_gpu(node_resources(), config.cpus_per_fold)


def folds_a_gpu(nodes: Sequence[Mapping[str, float]], cpus_per_fold: float) -> int:
    """Folds a GPU for which there are CPUs, on the node that has most of them for each of its GPUs; at least 1.

    Args:
        nodes: resources of each.
        cpus_per_fold: of a fold.
    """
    able = [node["CPU"] / cpus_per_fold / node["GPU"] for node in nodes if node.get("GPU", 0) >= 1]
    return max([1, *(math.floor(one + 1e-9) for one in able)])


def on_a_gpu(work: Callable[..., Any], *arguments: Any, config: ClusterConfig) -> Any:
    """What a function returns in a process that has a whole GPU of the cluster, and ends with it.

    Args:
        work: a function of a module.
        arguments: of the function.
        config: CPUs of the process, and how long to wait for a GPU.

    Raises:
        PoolError: no GPU has been free for `hello_seconds`, or the process has died.
        RaysysError: what the function has raised.
    """
    options = {"num_cpus": config.cpus_per_fold, "num_gpus": 1, "max_calls": 1, "max_retries": 0}
    asked = ray.remote(**options)(_answer).remote(work, *map(ray.put, arguments))
    try:
        found = ray.get(asked, timeout=config.hello_seconds)
    except ray.exceptions.GetTimeoutError as error:
        ray.cancel(asked, force=True)
        raise PoolError(
            f"no GPU of the cluster has been free for {config.hello_seconds:g} s: wait for one, or raise "
            "--cluster.hello_seconds"
        ) from error
    except ray.exceptions.WorkerCrashedError as error:
        raise PoolError("a process on a GPU of the cluster has died: see its log") from error
    if isinstance(found, RaysysError):
        raise found
    return found


def _answer(work: Callable[..., Any], *arguments: Any) -> Any:
    """An error is returned, since Ray would put a traceback into what it raises."""
    try:
        return work(*arguments)
    except RaysysError as error:
        return error
