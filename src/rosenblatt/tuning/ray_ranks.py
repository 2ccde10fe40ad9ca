"""Driver of a cluster that trains each network by several machines together."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

from rosenblatt.errors import format_count, format_list
from rosenblatt.tuning.attempts import Collection, PackedItem
from rosenblatt.tuning.rank_worker import RankWorker
from rosenblatt.tuning.ray_connection import write_report
from rosenblatt.tuning.ray_dispatch import Node, RayDriver

MAX_FAILED_MEETINGS = 5  # of machines in succession, none of which was lost, after which they cannot train together


@dataclass
class _Group:
    """Machines that train an item together; the first one leads."""

    item: PackedItem
    nodes: list[Node]
    hosts: list[str]  # their addresses
    n_loading: int  # machines that do not have the data yet
    is_training: bool = False


class RankDriver(RayDriver):
    """Distributes work items over groups of machines; all machines of a group train one item.

    An item whose machine is lost starts again, on those that are left, from the state that it had when the controller
    sent it. Items of few epochs therefore lose little.

    Args:
        ray: the module, connected to the cluster.
        reports: the pipe to the controller.
        device: "cpu", or the device of PyTorch that trains the items.
        nodes_per_network: machines, or GPUs, of a group; fewer only if the cluster has no more.
    """

    def __init__(self, ray: Any, reports: IO[bytes], device: str, nodes_per_network: int) -> None:
        super().__init__(ray, reports, device, RankWorker)
        self._nodes_per_network, self._last_size = nodes_per_network, nodes_per_network
        self._busy: dict[int, _Group] = {}  # by the id of the machine
        self._n_failed_meetings = 0

    def _collect(self, node: Node) -> None:
        """Do nothing, because `lead` returns the results."""

    def _enqueue(self, item: PackedItem) -> None:
        self._wait(item)  # also one that may end its process, as each is trained without others

    def _assign(self) -> None:
        """Give waiting items to groups of free machines."""
        while self._waiting and self._is_started:
            hosts = {node["NodeID"]: node["NodeManagerAddress"] for node in self._ray.nodes() if node["Alive"]}
            ready = [node for node in self._nodes if node.threads]
            free = [node for node in ready if id(node) not in self._busy and node.node_id in hosts]
            size = min(self._nodes_per_network, len(ready))
            if not size or len(free) < size:
                return
            if size != self._last_size:
                count, usual = format_count(size, "machine"), self._nodes_per_network
                message = f"each network is trained by {count} of {usual}, with the same batches"
                write_report(self._reports, "notice", message=message)
                self._last_size = size
            nodes = free[:size]
            self._load(_Group(self._waiting.popleft(), nodes, [hosts[node.node_id] for node in nodes], size))

    def _load(self, group: _Group) -> None:
        """Load what an item needs on all machines of a group, then train."""
        group.nodes[0].assigned[group.item.attempt] = group.item
        self._busy |= {id(node): group for node in group.nodes}
        for node in group.nodes:
            keys = sorted(set(group.item.keys) - node.loaded)
            self._call(node, self._load_objects(node, keys), partial(self._on_group_loaded, group, node, keys))

    def _on_group_loaded(self, group: _Group, node: Node, keys: list[int], _threads: int) -> None:
        node.loaded.update(keys)
        group.n_loading -= 1
        if not group.n_loading and group is self._busy.get(id(node)):
            leader, host, secret = group.nodes[0], group.hosts[0], secrets.token_hex(16)
            ref = leader.actor.listen.remote(host, secret)
            self._call(leader, ref, lambda port: self._train(group, (host, port, secret)))

    def _train(self, group: _Group, rendezvous: tuple[str, int, str]) -> None:
        """Train an item by all machines of a group."""
        if any(self._busy.get(id(node)) is not group for node in group.nodes):
            return
        group.is_training = True
        content, size = group.item.content, len(group.nodes)
        for rank, (node, host) in enumerate(zip(group.nodes, group.hosts, strict=True)):
            on_result: Callable[[Any], None]
            if rank == 0:
                node.n_open_calls += 1
                ref = node.actor.lead.remote(group.item.attempt, content, host, size)
                on_result = partial(self._on_lead_end, group, node)
            else:
                ref = node.actor.follow.remote(content, rendezvous, host, rank, size)
                on_result = partial(self._release, node)
            self._call(node, ref, on_result)

    def _on_lead_end(self, group: _Group, node: Node, outcome: Collection | str) -> None:
        """Report the result of an item, or train it again if a machine was lost."""
        self._release(node)
        if isinstance(outcome, Collection):
            self._n_failed_meetings = 0
            self._on_collected(node, outcome)
            return
        node.n_open_calls -= 1
        self._put_back(group)
        self._n_failed_meetings += 1
        if self._n_failed_meetings >= MAX_FAILED_MEETINGS and self._closes_at is None:
            names = format_list([other.name for other in group.nodes])
            message = f"{names} cannot train a network together: {outcome}. Train without --nodes-per-network."
            write_report(self._reports, "error", name="ClusterError", message=message)

    def _put_back(self, group: _Group) -> None:
        leader, item = group.nodes[0], group.item
        if leader.assigned.pop(item.attempt, None) is not None:
            self._waiting.appendleft(item)

    def _release(self, node: Node, _result: None = None) -> None:
        self._busy.pop(id(node), None)

    def _lose(self, node: Node, reason: str, *, is_machine_alive: bool) -> None:
        """Forget an actor as the others do; a group that waits for its data starts again without it."""
        self._n_failed_meetings = 0
        group = self._busy.get(id(node))
        super()._lose(node, reason, is_machine_alive=is_machine_alive)
        self._release(node)
        if group is not None and not group.is_training:
            for other in group.nodes:
                self._release(other)
            if node is not group.nodes[0]:
                self._put_back(group)
