"""What Ray's head knows of the machines of its cluster, read on the head without joining the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from rosenblatt.cluster.node_state import RayMachine
from rosenblatt.errors import ClusterError

TIMEOUT_S = 5.0  # of each question


def list_ray_machines(head: str) -> tuple[RayMachine, ...]:
    """All machines that the head has seen; a machine that came back is listed once, as it is now.

    The client is internal to Ray: tests on machines must pass with each version of it. The settings of Ray must be in
    the environment.

    Args:
        head: its address and port.

    Raises:
        ClusterError: if the head does not answer.
    """
    try:
        client = import_module("ray._raylet").GcsClient(address=head)
        usages = client.get_all_resource_usage(timeout=TIMEOUT_S).resource_usage_data.batch
        nodes = client.get_all_node_info(timeout=TIMEOUT_S)
    except Exception as error:  # Ray has several classes, most of them internal
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ClusterError(f"Ray's head does not say which machines it has ({reason}).") from error
    free = {usage.node_id: usage.resources_available for usage in usages}
    machines: dict[str, RayMachine] = {}
    for node_id, node in nodes.items():
        machine = _describe(node, free.get(node_id.binary(), {}))
        if machine.is_alive or machine.address not in machines:
            machines[machine.address] = machine
    return tuple(machines.values())


def _describe(node: Any, free: Mapping[str, float]) -> RayMachine:
    total = node.resources_total
    is_alive = node.state == node.ALIVE
    return RayMachine(
        address=node.node_manager_address,
        is_alive=is_alive,
        cores=total.get("CPU", 0),
        free_cores=free.get("CPU", 0) if is_alive else 0,
        gpus=total.get("GPU", 0),
        free_gpus=free.get("GPU", 0) if is_alive else 0,
    )
