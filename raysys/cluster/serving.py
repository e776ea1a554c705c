"""Ray Serve for one model: replicas that answer in batches, behind one HTTP interface.

    HTTP -> door (one) -> batches of what came within a few milliseconds -> replicas

What is answered, and the interface itself, it is given.
"""

import errno
import logging
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from raysys.cluster.nodes import count_slots, describe, node_resources
from raysys.cluster.session import ray_address, ray_session
from raysys.config.running import ClusterConfig
from raysys.errors import ConfigError, PoolError

_WAIT_SECONDS = 0.01
"""Longest wait for others to be answered together with."""


def make_application(
    answering: Callable[[], Callable[[Sequence[Any]], list[Any]]],
    build: Callable[[Any], Any],
    *,
    replicas: int,
    batch: int,
    cpus: float,
    gpus: float,
) -> Any:
    """An application of Ray Serve.

    Args:
        answering: makes, in each replica, what answers a batch.
        build: from what answers one request to the ASGI interface.
        replicas: processes that answer.
        batch: most requests that are answered together.
        cpus: of each replica.
        gpus: of each replica.

    Raises:
        ConfigError: Ray Serve is not installed.
    """
    try:
        from ray import serve
    except ImportError as error:
        raise ConfigError("Ray Serve is not installed: pip install 'raysys[serve]'") from error

    class Replica:
        def __init__(self) -> None:
            self._answer = answering()

        @serve.batch(max_batch_size=batch, batch_wait_timeout_s=_WAIT_SECONDS)  # type: ignore[untyped-decorator]
        async def __call__(self, asked: list[Any]) -> list[Any]:
            return self._answer(asked)

    class Door:
        def __init__(self, replica: Any) -> None:
            self._replica = replica

        async def _ask(self, one: Any) -> Any:
            return await self._replica.remote(one)

        def __serve_build_asgi_app__(self) -> Any:
            return build(self._ask)

    options = {"num_cpus": cpus, "num_gpus": gpus}
    many = 8 * batch
    replica = serve.deployment(
        Replica, num_replicas=replicas, ray_actor_options=options, max_ongoing_requests=many
    )
    door = serve.deployment(
        serve.ingress()(Door), ray_actor_options={"num_cpus": 0}, max_ongoing_requests=1000
    )
    return door.bind(replica.bind())


def serve_until_interrupted(
    application: Callable[[], Any],
    config: ClusterConfig,
    *,
    host: str,
    port: int,
    replicas: int,
    takes: Mapping[str, float],
    ready: Callable[[], None],
) -> None:
    """Serve an application until Ctrl-C or SIGTERM.

    Args:
        application: makes it, inside Ray.
        config: which Ray.
        host: on which it listens.
        port: on which it listens.
        replicas: how many there are.
        takes: what each takes: resource of Ray -> amount.
        ready: called when it answers.

    Raises:
        ConfigError: the port is in use, or Ray Serve is not installed.
        PoolError: Ray cannot be reached, or a local one has no room for the replicas.
    """
    _refuse_taken(host, port)
    with ray_session(config):
        check_room(replicas, takes, grows=bool(ray_address(config)))
        made = application()
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        serve.start(
            http_options={"host": host, "port": port}, logging_config={"log_level": "ERROR"}
        )
        try:
            serve.run(made, name="raysys", route_prefix="/")
            ready()
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print("ended")
        finally:
            serve.shutdown()


def check_room(replicas: int, takes: Mapping[str, float], *, grows: bool) -> None:
    """Refuse replicas for which there is no room, or say that they wait for nodes where a cluster may grow.

    Args:
        replicas: how many there are.
        takes: what each takes: resource of Ray -> amount.
        grows: whether nodes may join.

    Raises:
        PoolError: there is no room, and none will be.
    """
    asked = {name: amount for name, amount in takes.items() if amount}
    if not asked or count_slots(node_resources(), asked) >= replicas:
        return
    has = describe(ray.cluster_resources())
    told = f"asked for {replicas} x {describe(asked)}, the cluster has {has}"
    if not grows:
        raise PoolError(
            f"{told}: lower --replicas, --cpus or --gpus, or set --address to a cluster"
        )
    print(f"{told}: waiting for nodes", file=sys.stderr)


def _refuse_taken(host: str, port: int) -> None:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((host, port))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = (
            f"port {port} is in use: choose another --port"
            if taken
            else f"{error.strerror or error}"
        )
        raise ConfigError(f"cannot listen on {host}:{port}: {why}") from error
