"""Print checks of machines, clusters, and what their nodes do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from rosenblatt.cli.console.tables import Cell, make_console, print_table
from rosenblatt.errors import ClusterError, format_count

if TYPE_CHECKING:
    from rosenblatt.cluster.checks import HostCheck
    from rosenblatt.cluster.node_state import NodeReport
    from rosenblatt.cluster.nodes import Node
    from rosenblatt.cluster.record import ClusterRecord

GB = 2**30
_COLORS = {"ready": "green", "starting": "yellow", "ended": "red", "lost": "red", "ok": "green", "failed": "red"}


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
    rows = [_status_row(node, report) for node, report in zip(record.nodes, reports, strict=True)]
    print_table(console, ["machine", "state", "cores", "GPUs", "in use", "memory", "free disk", "does"], rows)
    for node, report in zip(record.nodes, reports, strict=True):
        if isinstance(report, ClusterError):
            console.print(f"lost: {report}")
        elif report.reason:
            console.print(f"{node.host.name}: {report.reason}")
    for node, report in zip(record.nodes, reports, strict=True):
        if not isinstance(report, ClusterError) and report.logs:
            console.print(Text(f"logs: {node.host.name}:{report.logs}", "dim"))


def _status_row(node: Node, report: NodeReport | ClusterError) -> list[Cell]:
    start: list[Cell] = [node.host.name]
    size: list[Cell] = [node.config.cores, node.config.gpus]
    if isinstance(report, ClusterError):
        return [*start, _state("lost"), *size, None, None, None, None]
    if report.phase == "ended":
        return [*start, _state("ended"), *size, None, None, None, None]
    return [
        *start, _state(report.phase), *size, f"{report.cpu:.1f} cores", f"{report.memory / GB:.1f} GB",
        f"{report.free_disk / GB:.1f} GB", ", ".join(report.tasks) or "idle",
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
