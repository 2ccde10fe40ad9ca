"""Print checks of machines, clusters, and what their nodes do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from rosenblatt.cli.console.tables import Cell, make_console, print_table
from rosenblatt.cluster.node_state import NodeReport
from rosenblatt.errors import ClusterError, format_count, format_list

if TYPE_CHECKING:
    from rosenblatt.cluster.checks import HostCheck
    from rosenblatt.cluster.nodes import Node
    from rosenblatt.cluster.record import ClusterRecord

GB = 2**30
MAX_TRIALS = 5  # of a machine, in the table
_COLORS = {
    "ready": "green",
    "alive": "green",
    "starting": "yellow",
    "ended": "red",
    "lost": "red",
    "ok": "green",
    "failed": "red",
}


def print_checks(checks: Sequence[HostCheck]) -> None:
    """Print the results of the checks of all machines; what failed is explained by the error that follows."""
    rows: list[list[Cell]] = []
    for check in checks:
        facts, result = check.facts, _state("failed" if check.problems else "ok")
        if facts is None:
            rows.append([check.host.name, result, *[None] * 6])
            continue
        rows.append(
            [
                check.host.name,
                result,
                ".".join(map(str, facts.python)),
                check.host.cores or facts.cores,
                facts.gpus if check.host.gpus is None else check.host.gpus,
                f"{facts.memory / GB:.0f} GB",
                f"{min(facts.free_disk.values()) / GB:.1f} GB",
                f"{check.clock_offset:+.0f} s",
            ]
        )
    titles = ["machine", "check", "Python", "cores", "GPUs", "memory", "free disk", "clock"]
    print_table(make_console(), titles, rows, right=("memory", "free disk", "clock"))


def print_up(record: ClusterRecord) -> None:
    """Print that a cluster is up, and what to do with it."""
    console = make_console()
    console.print(f"{record.name!r} is up: {_size(record)}.")
    console.print(f"Use it with --on {record.name}; end it with: rosenblatt cluster down {record.name}")


def print_clusters(records: Sequence[ClusterRecord]) -> None:
    """Print all clusters."""
    console = make_console()
    if not records:
        console.print("No cluster is up. Bring one up with: rosenblatt cluster up hosts.txt")
        return
    rows: list[list[Cell]] = [
        [
            record.name,
            record.nodes[0].host.name,
            len(record.nodes),
            sum(node.config.cores for node in record.nodes),
            sum(node.config.gpus for node in record.nodes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created)),
            "with its command" if record.owner else "with `cluster down`",
        ]
        for record in records
    ]
    print_table(console, ["cluster", "head", "machines", "cores", "GPUs", "since", "ends"], rows)


def print_status(record: ClusterRecord, reports: Sequence[NodeReport | ClusterError]) -> None:
    """Print what each node of a cluster does, then why nodes are lost, and where logs are."""
    console = make_console()
    console.print(f"{record.name!r}: {_size(record)}, up for {_duration(time.time() - record.created)}.")
    head = reports[0]
    view = NodeReport(phase="ended") if isinstance(head, ClusterError) else head
    rows = [_status_row(node, report, view) for node, report in zip(record.nodes, reports, strict=True)]
    titles = ["machine", "state", "Ray", "cores", "GPUs", "load", "memory", "free disk", "does"]
    print_table(console, titles, rows, right=("cores", "GPUs"))
    for search in view.searches:
        console.print(f"search for {_duration(time.time() - search.started)} by {search.controller}", soft_wrap=True)
    for node, report in zip(record.nodes, reports, strict=True):
        if isinstance(report, ClusterError):
            console.print(f"lost: {report}")
        elif report.reason:
            console.print(f"{node.host.name}: {report.reason}")
    for node, report in zip(record.nodes, reports, strict=True):
        if not isinstance(report, ClusterError) and report.logs:
            console.print(Text(f"logs: {node.host.name}:{report.logs}", "dim"))


def _status_row(node: Node, report: NodeReport | ClusterError, view: NodeReport) -> list[Cell]:
    """The row of a node; `view` is the report of the head."""
    ray = next((machine for machine in view.ray_machines if machine.address == node.config.address), None)
    state = "lost" if isinstance(report, ClusterError) else report.phase
    start: list[Cell] = [node.host.name, _state(state)]
    if ray is None:
        start += [None, node.config.cores, node.config.gpus]
    else:
        used_cores, used_gpus = ray.cores - ray.free_cores, ray.gpus - ray.free_gpus
        start.append(_state("alive" if ray.is_alive else "lost"))
        start += [f"{used_cores:g} of {ray.cores:g}", f"{used_gpus:g} of {ray.gpus:g}"]
    if isinstance(report, ClusterError) or report.phase == "ended":
        return [*start, None, None, None, None]
    trials = {
        trial
        for search in view.searches
        for machine in search.machines
        if machine.address == node.config.address
        for trial in machine.trials
    }
    does = f"trains trials {format_list(sorted(trials), MAX_TRIALS)}" if trials else "idle"
    return [
        *start, f"{report.cpu:.1f} cores", f"{report.memory / GB:.1f} GB", f"{report.free_disk / GB:.1f} GB",
        does if trials else ", ".join(report.tasks) or does,
    ]  # fmt: skip


def _state(name: str) -> Text:
    return Text(name, _COLORS[name])


def _size(record: ClusterRecord) -> str:
    cores = sum(node.config.cores for node in record.nodes)
    gpus = sum(node.config.gpus for node in record.nodes)
    text = f"{format_count(len(record.nodes), 'machine')}, {format_count(cores, 'core')}"
    return f"{text}, {format_count(gpus, 'GPU')}" if gpus else text


def _duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{minutes // 1440} days"
