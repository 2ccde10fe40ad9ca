"""Bring a cluster up on machines that are reached by SSH, and take it down."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rosenblatt.cluster.checks import HostCheck, Machine, check_hosts
from rosenblatt.cluster.environment import (
    EnvironmentSource,
    check_ray_version,
    check_wheels_folder,
    prepare_environment,
)
from rosenblatt.cluster.hosts import Host
from rosenblatt.cluster.node_state import NodeConfig, NodeLogs, NodeReport, NodeState, ProcessId
from rosenblatt.cluster.nodes import Node, read_logs, report_node, start_node, stop_node
from rosenblatt.cluster.record import (
    ClusterRecord,
    add_record,
    check_name,
    list_records,
    remove_record,
    update_record,
)
from rosenblatt.cluster.security import CertificateAuthority
from rosenblatt.cluster.ssh import Item, Result, SshSessions, run_at_once
from rosenblatt.cluster.wheel import pinned_requirements
from rosenblatt.errors import ClusterError, Notify, format_count

ID_BYTES = 6


@dataclass(frozen=True)
class UpOptions:
    """How to bring a cluster up.

    Attributes:
        name: of the cluster.
        skip_failed: continue without machines that cannot be used.
        wheels: folder of wheels for machines that reach no package index.
        lease_s: seconds without a sign of life of this process after which the nodes end; None: the cluster stays.
    """

    name: str
    skip_failed: bool = False
    wheels: Path | None = None
    lease_s: float | None = None


def bring_up(
    hosts: Sequence[Host],
    options: UpOptions,
    notify: Notify,
    on_checks: Callable[[list[HostCheck]], None] = lambda _: None,
) -> ClusterRecord:
    """Check all machines, prepare their environments, and start a node on each, the head on the first.

    Args:
        hosts: the machines.
        options: how to do it.
        notify: receives what is done, and what is left out.
        on_checks: receives the results of the checks of all machines.

    Raises:
        ClusterError: if a machine cannot be used. What was started is taken down then, as after Ctrl-C.
    """
    check_name(options.name)
    check_ray_version()
    if options.wheels:
        check_wheels_folder(options.wheels)
    skip = _Skipping(options.skip_failed, notify)
    with SshSessions() as sessions:
        checks = check_hosts(hosts, sessions)
        on_checks(checks)
        machines = skip.filter_checks(checks)
        source = EnvironmentSource(options.wheels)
        labelled = pinned_requirements()[1] if not all(machine.host.python for machine in machines) else []
        if labelled:
            notify(f"Builds of this machine only, whose versions are installed from the index: {', '.join(labelled)}")
        pythons = skip.run(machines, lambda machine: prepare_environment(machine, source, sessions, notify))
        nodes = _plan_nodes(pythons, options)
        record = ClusterRecord(
            name=options.name,
            cluster_id=nodes[0].config.cluster_id,
            created=time.time(),
            nodes=nodes,
            owner=ProcessId.of(os.getpid()) if options.lease_s else None,
        )
        add_record(record)
        try:
            return _start(record, sessions, skip)
        except BaseException:
            notify(f"Taking down the nodes of {record.name!r} that were started.")
            take_down(record, notify)
            raise


class _Skipping:
    """Runs a step for all machines at once, and leaves out those that fail, if that is wanted."""

    def __init__(self, skip_failed: bool, notify: Notify) -> None:
        self._skip_failed = skip_failed
        self._notify = notify

    def run(self, items: Sequence[Item], step: Callable[[Item], Result], n_ready: int = 0) -> list[tuple[Item, Result]]:
        """Run a step; returns the items for which it succeeded, with its results. Raises ClusterError.

        Args:
            items: machines, checks or nodes.
            step: what to do with each.
            n_ready: number of further machines that are ready already.
        """
        outcomes = run_for_each(items, step)
        problems = [str(outcome) for outcome in outcomes if isinstance(outcome, ClusterError)]
        self._handle(problems, len(items) + n_ready)
        return [
            (item, outcome)
            for item, outcome in zip(items, outcomes, strict=True)
            if not isinstance(outcome, ClusterError)
        ]

    def filter_checks(self, checks: Sequence[HostCheck]) -> list[Machine]:
        """Return the machines that can be used. Raises ClusterError."""
        self._handle(
            [f"{check.host.name}: {' '.join(check.problems)}" for check in checks if check.problems], len(checks)
        )
        return [Machine(host=check.host, facts=check.facts) for check in checks if check.facts and not check.problems]

    def _handle(self, problems: list[str], n_items: int) -> None:
        if not problems:
            return
        text = "\n".join(problems)
        if len(problems) == n_items:
            raise ClusterError(f"No machine can be used:\n{text}")
        if not self._skip_failed:
            count = format_count(len(problems), "machine")
            raise ClusterError(f"{count} of {n_items} cannot be used (--skip-failed goes on without):\n{text}")
        self._notify(f"Going on with {n_items - len(problems)} of {n_items} machines, without:\n{text}")


def run_for_each(items: Sequence[Item], step: Callable[[Item], Result]) -> list[Result | ClusterError]:
    """Run a step for all items at once; returns the result or the error of each."""

    def attempt(item: Item) -> Result | ClusterError:
        try:
            return step(item)
        except ClusterError as error:
            return error

    return run_at_once(items, attempt)


def _plan_nodes(pythons: Sequence[tuple[Machine, str]], options: UpOptions) -> tuple[Node, ...]:
    cluster_id = secrets.token_hex(ID_BYTES)
    nodes: list[Node] = []
    for number, (machine, python) in enumerate(pythons):
        for other in nodes:
            if other.config.address == machine.facts.address:
                raise ClusterError(
                    f"{other.host.name} and {machine.host.name} have the same address {machine.facts.address} in their "
                    "own networks, so that they cannot reach one another. Use an address of a network that they share."
                )
        if machine.facts.address == "127.0.0.1" and len(pythons) > 1:
            raise ClusterError(
                f"{machine.host.name}: its address for the other machines is not known, since it is this machine and "
                "has no network. Write its address in the hosts file."
            )
        config = NodeConfig(
            cluster_id=cluster_id,
            name=machine.host.name,
            number=number,
            address=machine.facts.address,
            cores=machine.host.cores or machine.facts.cores,
            gpus=machine.facts.gpus if machine.host.gpus is None else machine.host.gpus,
            lease_s=options.lease_s,
        )
        nodes.append(Node(host=machine.host, config=config, python=python))
    return tuple(nodes)


def _start(record: ClusterRecord, sessions: SshSessions, skip: _Skipping) -> ClusterRecord:
    """Start the head, then all other nodes at once; returns the record with what runs."""
    authority = CertificateAuthority(record.name)

    def start(node: Node) -> NodeState:
        return start_node(node, authority.issue([node.config.address, node.host.address]), sessions)

    head = record.nodes[0]
    state = start(head)
    nodes = [head.model_copy(update={"folder": state.folder})]
    nodes += [
        node.model_copy(update={"config": node.config.model_copy(update={"head": state.head})})
        for node in record.nodes[1:]
    ]
    record = record.model_copy(update={"head": state.head, "nodes": tuple(nodes)})
    update_record(record)
    for node, other in skip.run(nodes[1:], start, n_ready=1):
        nodes[node.config.number] = node.model_copy(update={"folder": other.folder})
    record = record.model_copy(update={"nodes": tuple(nodes)})
    update_record(record)
    return record


def take_down(record: ClusterRecord, notify: Notify) -> bool:
    """End all nodes of a cluster and remove its record.

    Nodes of machines that cannot be reached stay in the record; they end by themselves, about a minute after the head.

    Returns:
        Whether all nodes have ended.
    """
    try:
        with SshSessions() as sessions:
            outcomes = run_for_each(record.nodes, lambda node: stop_node(node, sessions))
    except KeyboardInterrupt:
        notify(f"{record.name!r} was not taken down. Run `rosenblatt cluster down {record.name}`.")
        raise
    left = [node for node, outcome in zip(record.nodes, outcomes, strict=True) if isinstance(outcome, ClusterError)]
    if not left:
        remove_record(record.name)
        return True
    for outcome in outcomes:
        if isinstance(outcome, ClusterError):
            notify(str(outcome))
    update_record(record.model_copy(update={"nodes": tuple(left)}))
    notify(
        f"{format_count(len(left), 'node')} of {record.name!r} could not be ended; it stays in the record. Run "
        f"`rosenblatt cluster down {record.name}` again when the machine is back, or with --forget if it never is."
    )
    return False


def take_down_abandoned(notify: Notify) -> None:
    """Take down clusters that should have ended with a process that was killed."""
    for record in list_records(notify):
        if record.is_abandoned:
            notify(f"Taking down {record.name!r}, whose command was killed.")
            take_down(record, notify)


def report_nodes(record: ClusterRecord) -> list[NodeReport | ClusterError]:
    """Ask all nodes of a cluster what they do; returns the report, or why there is none, of each."""
    with SshSessions() as sessions:
        return run_for_each(record.nodes, lambda node: report_node(node, sessions))


def collect_logs(record: ClusterRecord) -> list[NodeLogs | ClusterError]:
    """Read the ends of the logs of all nodes; returns them, or why there are none, of each."""
    with SshSessions() as sessions:
        return run_for_each(record.nodes, lambda node: read_logs(node, sessions))
