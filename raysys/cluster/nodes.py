"""The nodes of the cluster, how many workers have room on each, and how workers are spread over them."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import ray
from ray._private.state import available_resources_per_node, state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup, remove_placement_group

from raysys.config.running import ClusterConfig

Placement = Literal["spread", "pack"]
_NIL = b"\xff"
"""What an id of nothing is made of."""


@dataclass(frozen=True)
class Node:
    """A node that is there, from the view of workers of one size."""

    slots: int
    """Workers for which it is large enough."""
    free: int
    """Workers for which there is room at this moment."""
    leaving: bool
    """Whether it has been given notice to end (as a spot node is), and takes nothing new."""
    address: str = ""
    """IP address."""


def survey(config: ClusterConfig) -> dict[str, Node]:
    """Id of a node -> node, the driver's first."""
    asked = resources(config)
    free, leaving = available_resources_per_node(), state.get_draining_nodes()
    own = ray.get_runtime_context().get_node_id()
    there = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    return {
        name: Node(
            _fit(there[name]["Resources"], asked),
            _fit(free.get(name, {}), asked),
            name in leaving,
            there[name]["NodeManagerAddress"],
        )
        for name in sorted(there, key=lambda name: (name != own, name))
    }


def release_orphans() -> None:
    """Give back what controllers of this job hold that have died.

    Ray Train has a cleaner for it, which must ask the dashboard; a cluster may have none.
    """
    job = ray.get_runtime_context().get_job_id()
    for packed in state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(packed)
        held = group.state != PlacementGroupTableData.PlacementGroupState.REMOVED
        # What the driver itself holds has no actor, which Ray counts as a dead one.
        orphaned = group.creator_actor_dead and group.creator_actor_id.strip(_NIL)
        if held and orphaned and group.creator_job_id.hex() == job:
            found = ray.PlacementGroupID(group.placement_group_id)
            remove_placement_group(PlacementGroup(found))


def slots(config: ClusterConfig) -> int:
    """Folds that fit into the cluster at the same time: a fold takes all that it needs from one node."""
    return count_slots(node_resources(), resources(config))


def node_resources() -> list[dict[str, float]]:
    """Resources of each node that is there."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def count_slots(nodes: Sequence[Mapping[str, float]], asked: Mapping[str, float]) -> int:
    """How often what is asked for is there, node by node.

    Args:
        nodes: resources of each.
        asked: amounts above 0.
    """
    return sum(_fit(node, asked) for node in nodes)


def divide(
    room: Mapping[str, int], taken: Mapping[str, int], count: int, placement: Placement
) -> dict[str, int]:
    """On which nodes to start how many workers.

    Args:
        room: node -> workers that can be started there; of equals, the first is taken.
        taken: node -> workers that are there already.
        count: workers to start, where there is room for them.
        placement: spread (to the emptiest node), or pack (to the fullest).
    """
    added: Counter[str] = Counter()
    for _ in range(count):
        open_nodes = [node for node in room if room[node] > added[node]]
        if not open_nodes:
            break
        sign = 1 if placement == "spread" else -1
        added[min(open_nodes, key=lambda node: sign * (taken.get(node, 0) + added[node]))] += 1
    return dict(added)


def resources(config: ClusterConfig) -> dict[str, float]:
    """What a fold takes."""
    asked = {"CPU": config.cpus_per_fold}
    return asked | ({"GPU": config.gpus} if config.gpus else {})


def lacks(config: ClusterConfig, workers: int, together: int = 1) -> str:
    """What was asked for, what there is, and the remedy.

    Args:
        config: of a worker.
        workers: that are wanted.
        together: folds that each trains at the same time.
    """
    asked, has = describe(resources(config)), describe(ray.cluster_resources())
    flags = ["cluster.workers"] if workers > 1 else []
    flags += ["cluster.cpus_per_fold"] if config.cpus_per_fold > 1 or not config.gpus else []
    flags += ["cluster.gpus_per_fold"] if config.gpus else []
    flags += ["training.together"] if config.gpus and together > 1 else []
    lower = " or ".join(f"--{flag}" for flag in flags)
    return f"asked for {workers} x {asked}, the cluster has {has}: lower {lower}, or add nodes"


def in_use(config: ClusterConfig) -> str:
    """What the cluster has, what of it is in use, and what a fold waits for."""
    has, free = ray.cluster_resources(), ray.available_resources()
    used = {name: amount - free.get(name, 0.0) for name, amount in has.items()}
    return f"{describe(used)} of {describe(has)} are in use, and a fold asks for {describe(resources(config))}"


def _fit(node: Mapping[str, float], asked: Mapping[str, float]) -> int:
    return min(math.floor(node.get(name, 0.0) / amount + 1e-9) for name, amount in asked.items())


def describe(resources: Mapping[str, float]) -> str:
    """CPUs and GPUs for people; what is not there is left out.

    Args:
        resources: of Ray -> amount.
    """
    known = [f"{resources[name]:g} {name}" for name in ("CPU", "GPU") if name in resources]
    return ", ".join(known) or "no CPU"
