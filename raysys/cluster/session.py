"""Ray for the length of one command: a local one that ends with it, or a connection to a cluster."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar

import ray
import ray._private.utils as ray_utils

from raysys import gpu
from raysys.cluster.joining import check_address, join_ray, witnessed
from raysys.cluster.nodes import lacks, slots
from raysys.cluster.starting import start_ray
from raysys.config.running import ClusterConfig
from raysys.errors import HeadLostError, PoolError

_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",  # how soon a dead worker and the end are noticed
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # processes start slowly beside other work
    "OMP_NUM_THREADS": "1",
    "PYTORCH_ALLOC_CONF": "expandable_segments:True",  # folds that share a GPU lose little to fragments
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""What every process of the cluster must know; a variable that the user has set stays."""


_FORWARDED = ("AWS_ENDPOINT_URL", "AWS_REGION")
"""Variables of the user's environment that workers get too; secrets must be set on each node."""
_KEPT: ContextVar[ExitStack | None] = ContextVar("kept", default=None)
"""What ends with `ray_kept`."""


@contextmanager
def ray_kept() -> Iterator[None]:
    """Ray, once a `ray_session` inside has connected it, stays for the next one: starting it takes seconds."""
    if _KEPT.get() is not None:
        yield
        return
    with ExitStack() as stack:
        token = _KEPT.set(stack)
        try:
            yield
        finally:
            _KEPT.reset(token)


@contextmanager
def ray_session(config: ClusterConfig) -> Iterator[None]:
    """Ray is connected inside, and (unless it was before, or is kept) disconnected afterwards.

    Raises:
        PoolError: the cluster cannot be reached, or Ray cannot start here, or has no room here.
    """
    if ray.is_initialized():
        yield
    elif (kept := _KEPT.get()) is not None:
        kept.enter_context(_connected(config))
        yield
    else:
        with _connected(config):
            yield


@contextmanager
def _connected(config: ClusterConfig) -> Iterator[None]:
    address = ray_address(config)
    with (
        _environment() as fresh,
        witnessed() if address else nullcontext(),
        _initialised(config, address, fresh),
    ):
        yield


@contextmanager
def _environment() -> Iterator[dict[str, str]]:
    """What this process must have in its environment, and had not: it is taken out again, as is what Ray adds."""
    before = set(os.environ)
    own = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    wanted = {**_ENVIRONMENT, **own}
    fresh = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(fresh)
    try:
        yield {name: value for name, value in fresh.items() if name in _ENVIRONMENT}
    finally:
        for name in set(os.environ) - before:
            if name in fresh or name.startswith(("RAY_", "PYTHONBREAKPOINT")):
                del os.environ[name]


@contextmanager
def _initialised(config: ClusterConfig, address: str, fresh: dict[str, str]) -> Iterator[None]:
    with _own_sigterm():
        if address:
            known = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
            join_ray(address, fresh | known)
        else:
            start_ray()
    head_is_there = True
    try:
        workers = max(1, config.workers)
        if not address and slots(config) < workers:  # a local Ray does not grow
            raise PoolError(lacks(config, workers))
        yield
    except HeadLostError:
        head_is_there = False
        raise
    finally:
        if head_is_there:  # else it would be waited for, until Ray ends the process without a word
            ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """SIGTERM stays ours: Ray sets a handler when it starts that would end the process there, and another of C++."""
    handler, ray_sets = signal.getsignal(signal.SIGTERM), ray_utils.set_sigterm_handler
    ray_utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        ray_utils.set_sigterm_handler = ray_sets
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def check_cluster(config: ClusterConfig, device: str = "auto") -> None:
    """What can be said of the cluster without Ray.

    Args:
        config: address, and GPUs of a fold.
        device: on which folds train.

    Raises:
        PoolError: no cluster is at its address, or folds ask for a GPU and this machine has none for a local Ray.
    """
    if ray.is_initialized():
        return
    if address := ray_address(config):
        check_address(address)
    elif (config.gpus or device == "cuda") and (reason := gpu.why_not()):
        asks = (
            f"cluster.gpus_per_fold is {config.gpus:g}"
            if config.gpus
            else "training.device is cuda"
        )
        instead = "0 or auto" if config.gpus else "auto or cpu"
        raise PoolError(
            f"{asks}, but PyTorch can use no GPU on this machine ({reason}): set it to {instead}, or "
            "--cluster.address to a cluster that has some"
        )


def ray_address(config: ClusterConfig) -> str:
    """Address of the cluster; empty for a local Ray."""
    return config.address or os.environ.get("RAY_ADDRESS", "")
