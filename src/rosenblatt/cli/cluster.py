"""The commands on clusters: up, status, logs, down, manifest and requirements."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rosenblatt.cli.options import ask_confirmation, make_reporter, shared_options
from rosenblatt.errors import ClusterError, format_list

if TYPE_CHECKING:
    from rosenblatt.cluster.node_state import NodeReport
    from rosenblatt.cluster.record import ClusterRecord


@click.group()
def cluster() -> None:
    """Use several machines as one: bring a cluster up, look at it, take it down.

    \b
    rosenblatt cluster up hosts.txt --name lab       check, install, start
    rosenblatt fit people.csv -t income --on lab     search on all of its machines
    rosenblatt cluster status lab                    what each machine does
    rosenblatt cluster logs lab                      what its machines printed
    rosenblatt cluster down lab                      end all of its processes
    rosenblatt cluster up cluster.yaml               machines of a cloud, after the cost was confirmed
    rosenblatt cluster manifest pods.yaml            a manifest for Kubernetes

    `rosenblatt fit --on hosts.txt` does all of this for one command. A hosts file has one machine per line, as for ssh,
    the head first:

    \b
    ann@lab1             cores=8         # [user@]host[:port], reached without a password
    10.0.0.7:2222        gpus=1          # default: all cores and all GPUs
    lab3                 python=/opt/ml/bin/python   # an environment that is there already

    The machines need Linux, the same Python version as here or uv, and a network in which they reach one another. All
    connections are encrypted and need the token of the cluster. Needs pip install 'rosenblatt[cluster]'.
    """


@cluster.command()
@click.argument("hosts", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--name", default="cluster", show_default=True, metavar="NAME", help="Name for --on, status and down.")
@click.option("--skip-failed", is_flag=True, help="Go on without machines that cannot be used, and list them.")
@click.option(
    "--wheels",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of wheels to install from, for machines that reach no package index (see `cluster requirements`).",
)
@click.option("--yes", is_flag=True, help="Start machines of a cloud without asking.")
@shared_options("json")
def up(hosts: Path, name: str, skip_failed: bool, wheels: Path | None, yes: bool, as_json: bool) -> None:
    """Bring a cluster up on the machines of a hosts file, or on machines of a cloud.

    \b
    rosenblatt cluster up hosts.txt
    rosenblatt cluster up hosts.txt --name lab --skip-failed
    rosenblatt cluster up hosts.txt --wheels wheels/
    rosenblatt cluster up cluster.yaml               machines of AWS, Google Cloud or Azure (docs/cluster.md)

    All machines are checked first: reachable, Python, clock, free disk, memory, cores, GPUs. Then each gets an
    environment with the versions that are installed here, which is built once, and a node is started on it. If
    something fails, or after Ctrl-C, what was started is taken down. The cluster stays up until `cluster down`.
    """
    from rosenblatt.cli.console.cluster import print_checks, print_up
    from rosenblatt.cluster.clouds import CLUSTER_FILE_SUFFIXES, bring_cloud_up
    from rosenblatt.cluster.hosts import read_hosts
    from rosenblatt.cluster.up import UpOptions, bring_up, take_down_abandoned

    reporter = make_reporter(as_json)
    if hosts.suffix in CLUSTER_FILE_SUFFIXES:
        started = bring_cloud_up(hosts, reporter, ask_confirmation(yes), wheels)
        reporter(f"use it with --on {started}; end it with `rosenblatt cluster down {started}`")
        if as_json:
            click.echo(json.dumps({"name": started}))
        return
    take_down_abandoned(reporter)
    options = UpOptions(name, skip_failed, wheels)
    record = bring_up(read_hosts(hosts), options, reporter, print_checks if not as_json else lambda _: None)
    if as_json:
        click.echo(json.dumps(_describe(record), indent=2))
    else:
        print_up(record)


@cluster.command()
@click.argument("name", required=False)
@shared_options("json")
def status(name: str | None, as_json: bool) -> None:
    """Show the clusters, or what each machine of one does.

    \b
    rosenblatt cluster status
    rosenblatt cluster status lab
    rosenblatt cluster status lab --json

    For a cluster that was started by SSH: whether the processes of each machine run ("state"), whether Ray's head
    hears from it ("Ray"), its cores and GPUs in use, and which trials it trains; then the searches that use the
    cluster, with the machine on which their command runs. The exit status is 2 if a machine of NAME is lost.
    """
    from rosenblatt.cli.console.cluster import print_clusters, print_status
    from rosenblatt.cluster.clouds import list_clouds, locate_cloud
    from rosenblatt.cluster.record import list_records, read_record
    from rosenblatt.cluster.up import report_nodes

    if name is None:
        records, clouds = list_records(make_reporter(as_json)), list_clouds()
        if as_json:
            described = [*map(_describe, records), *({"name": cloud, "kind": "cloud"} for cloud in clouds)]
            click.echo(json.dumps(described, indent=2))
            return
        if records or not clouds:
            print_clusters(records)
        for cloud in clouds:
            click.echo(f"{cloud}: machines of a cloud; `rosenblatt cluster down {cloud}` ends them")
        return
    if name in list_clouds():
        head = locate_cloud(name).address
        click.echo(
            json.dumps({"name": name, "kind": "cloud", "head": head}) if as_json else f"{name}: head {head} is up"
        )
        return
    record = read_record(name)
    reports = report_nodes(record)
    if as_json:
        click.echo(json.dumps(_describe(record) | _describe_reports(record, reports), indent=2))
    else:
        print_status(record, reports)
    if any(isinstance(report, ClusterError) or report.phase != "ready" or report.reason for report in reports):
        sys.exit(2)


@cluster.command()
@click.argument("name")
@click.option("--machine", metavar="HOST", help="Only those of one machine, as `cluster status NAME` names it.")
def logs(name: str, machine: str | None) -> None:
    """Print the ends of the logs of the machines of a cluster: of the start of each node, and what its training
    processes printed, with tracebacks.

    \b
    rosenblatt cluster logs lab
    rosenblatt cluster logs lab --machine 10.0.0.7

    The exit status is 2 if a machine cannot be reached.
    """
    from rosenblatt.cli.console.tables import printable_lines
    from rosenblatt.cluster.record import read_record
    from rosenblatt.cluster.up import collect_logs

    record = read_record(name)
    nodes = tuple(node for node in record.nodes if machine in (None, node.host.name))
    if not nodes:
        names = [node.host.name for node in record.nodes]
        raise ClusterError(f"{name!r} has no machine {machine!r}. It has {format_list(names)}.")
    is_complete = True
    for node, outcome in zip(nodes, collect_logs(record.model_copy(update={"nodes": nodes})), strict=True):
        if isinstance(outcome, ClusterError):
            is_complete = False
            click.echo(printable_lines(f"lost: {outcome}"), err=True)
            continue
        for file, text in outcome.files.items():
            click.echo(printable_lines(f"==> {node.host.name}: {file}\n{text}\n"))
    if not is_complete:
        sys.exit(2)


@cluster.command()
@click.argument("names", nargs=-1)
@click.option("--all", "take_all", is_flag=True, help="Take all clusters down.")
@click.option("--forget", is_flag=True, help="Remove machines that cannot be reached from the record.")
def down(names: tuple[str, ...], take_all: bool, forget: bool) -> None:
    """Take clusters down: end all of their processes on all of their machines.

    \b
    rosenblatt cluster down lab
    rosenblatt cluster down --all

    Only processes that the cluster started are ended, also if the command that brought it up was killed. Logs stay on
    the machines for two weeks. A machine that cannot be reached stays in the record, and the exit status is 2.
    """
    from rosenblatt.cluster.clouds import list_clouds, take_cloud_down
    from rosenblatt.cluster.record import list_records, read_record, remove_record
    from rosenblatt.cluster.up import take_down

    if bool(names) == take_all:
        raise click.UsageError("Name the clusters to take down, or give --all.")
    clouds = [name for name in list_clouds() if take_all or name in names]
    reporter, unreadable = make_reporter(False), list[str]()
    records = (
        list_records(unreadable.append) if take_all else [read_record(name) for name in names if name not in clouds]
    )
    for message in unreadable:
        reporter(message)
    is_down = not unreadable
    for name in clouds:
        take_cloud_down(name, reporter)
    for record in records:
        if take_down(record, reporter):
            reporter(f"{record.name!r} is down.")
        elif forget:
            remove_record(record.name)
            reporter(f"{record.name!r} is forgotten.")
        else:
            is_down = False
    if not is_down:
        sys.exit(2)


@cluster.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--skypilot", is_flag=True, help="Print a task for `sky launch`, and the hosts file of its machines.")
def manifest(file: Path, skypilot: bool) -> None:
    """Print the manifest of a cluster for Kubernetes, or the file of `ray up` for a cloud, without starting anything.

    \b
    rosenblatt cluster manifest pods.yaml | kubectl apply -f -
    rosenblatt fit people.csv -t income --trials 5000 --on pods.yaml
    rosenblatt cluster manifest cluster.yaml         what `cluster up` would give to `ray up`, and the cost
    rosenblatt cluster manifest cluster.yaml --skypilot > sky.yaml

    The manifest needs KubeRay 1.5.1 or later. It contains the key of the cluster's certificates: do not store it where
    others can read it.
    """
    from importlib import metadata

    import yaml

    from rosenblatt.cluster.clouds import describe_cost, load_authority, preview
    from rosenblatt.cluster.cluster_file import CloudFile, read_cluster_file
    from rosenblatt.cluster.kubernetes import kubernetes_manifest
    from rosenblatt.cluster.skypilot import skypilot_hosts, skypilot_task

    settings = read_cluster_file(file)
    if isinstance(settings, CloudFile) and skypilot:
        click.echo(yaml.safe_dump(skypilot_task(settings), sort_keys=False), nl=False)
        command = f"sky launch --cluster {settings.name} sky.yaml"
        click.echo(f"Run `{command}`. The hosts file of its machines:", err=True)
        click.echo("\n".join(skypilot_hosts(settings)), err=True)
        return
    if isinstance(settings, CloudFile):
        click.echo(describe_cost(settings), err=True)
        click.echo(yaml.safe_dump(preview(settings), sort_keys=False), nl=False)
        return
    objects = kubernetes_manifest(settings, load_authority(settings.name), metadata.version("ray"))
    click.echo(yaml.safe_dump_all(objects, sort_keys=False), nl=False)


@cluster.command()
def requirements() -> None:
    """Print the packages that machines need, with the versions installed here.

    \b
    rosenblatt cluster requirements > requirements.txt
    pip download -r requirements.txt -d wheels/
    rosenblatt cluster up hosts.txt --wheels wheels/
    """
    from rosenblatt.cluster.wheel import pinned_requirements

    pins, labelled = pinned_requirements()
    for pin in pins:
        click.echo(pin)
    if labelled:
        click.echo(f"Without the local label of the version here: {', '.join(labelled)}", err=True)


def _describe(record: ClusterRecord) -> dict[str, object]:
    return {
        "name": record.name,
        "created": record.created,
        "head": record.head,
        "temporary": record.owner is not None,
        "nodes": [
            {"host": node.host.name, "cores": node.config.cores, "gpus": node.config.gpus} for node in record.nodes
        ],
    }


def _describe_reports(record: ClusterRecord, reports: list[NodeReport | ClusterError]) -> dict[str, object]:
    head = reports[0]
    ray_machines, searches = ((), ()) if isinstance(head, ClusterError) else (head.ray_machines, head.searches)
    nodes = [
        {"host": node.host.name, "cores": node.config.cores, "gpus": node.config.gpus}
        | (
            {"phase": "lost", "reason": str(report)}
            if isinstance(report, ClusterError)
            else report.model_dump(exclude={"ray_machines", "searches"})
        )
        for node, report in zip(record.nodes, reports, strict=True)
    ]
    return {
        "nodes": nodes,
        "ray_machines": [machine.model_dump() for machine in ray_machines],
        "searches": [search.model_dump() for search in searches],
    }
