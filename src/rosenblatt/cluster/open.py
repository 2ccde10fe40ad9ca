"""Open a cluster for one command: bring it up or find it, and take down afterwards what was brought up."""

from __future__ import annotations

import getpass
import os
import secrets
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from threading import Event, Thread

from rosenblatt.cluster.clouds import CLUSTER_FILE_SUFFIXES, connect_to_cloud, list_clouds, open_cluster_file
from rosenblatt.cluster.hosts import read_hosts
from rosenblatt.cluster.node_state import SEARCHES_FOLDER
from rosenblatt.cluster.nodes import renew_lease
from rosenblatt.cluster.probe import CLIENT_SERVICE, Endpoint, require_ready
from rosenblatt.cluster.record import ClusterRecord, read_record
from rosenblatt.cluster.security import Credentials
from rosenblatt.cluster.settings import FAILURE_DETECTION, ID_VARIABLE, ray_environment
from rosenblatt.cluster.slurm import PREFIX as SLURM_PREFIX
from rosenblatt.cluster.slurm import open_slurm, parse_slurm
from rosenblatt.cluster.ssh import SshSessions, ssh_command
from rosenblatt.cluster.up import UpOptions, bring_up, report_nodes, run_for_each, take_down, take_down_abandoned
from rosenblatt.errors import ClusterError, Notify
from rosenblatt.runs.redaction import redact_arguments
from rosenblatt.tuning.ray_connection import DRIVER_MODULE, RayConnection
from rosenblatt.tuning.search_status import CONTROLLER_VARIABLE, FOLDER_VARIABLE

LEASE_S = 300.0  # without a sign of life of the command, after which its nodes end
RENEWAL_INTERVAL_S = 30.0
CLIENT_SCHEME = "ray://"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
CERTIFICATE_VARIABLES = "RAY_TLS_CA_CERT", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY"  # of Ray, also for clients


@contextmanager
def open_cluster(on: str, notify: Notify, confirm: Callable[[str], bool] | None = None) -> Iterator[RayConnection]:
    """Open a cluster for the time of a command.

        with open_cluster("hosts.txt", print) as connection:
            ...

    Args:
        on: a hosts file or a cluster file of a cloud, whose cluster ends with the command; the cluster file of pods
            that run; the name of a cluster that is up; slurm:PARTITION; or the address ray://host:port of a cluster
            that was started otherwise.
        notify: receives what is done.
        confirm: asks the user before machines of a cloud start; None: nobody can be asked.

    Raises:
        ClusterError: if the cluster cannot be brought up or used.
    """
    if on.startswith(CLIENT_SCHEME):
        yield client_connection(on, notify)
    elif on.startswith(SLURM_PREFIX):
        with open_slurm(parse_slurm(on), notify) as connection:
            yield connection
    elif Path(on).suffix in CLUSTER_FILE_SUFFIXES:
        with open_cluster_file(Path(on), notify, confirm) as connection:
            yield connection
    elif on in list_clouds():
        yield connect_to_cloud(on)
    elif Path(on).is_file():
        with _temporary_cluster(Path(on), notify) as record:
            yield driver_connection(record)
    elif "/" in on or Path(on).suffix == ".txt":
        raise ClusterError(f"There is no hosts file {on!r}.")
    else:
        record = read_record(on)
        _require_running(record)
        yield driver_connection(record)


def driver_connection(record: ClusterRecord) -> RayConnection:
    """The connection to a cluster of machines that are reached by SSH: its driver runs on the head."""
    head = record.nodes[0]
    environment = ray_environment(PurePosixPath(head.folder), record.cluster_id)
    environment |= {FOLDER_VARIABLE: f"{head.folder}/{SEARCHES_FOLDER}", CONTROLLER_VARIABLE: describe_controller()}
    command = ["env", f"{ID_VARIABLE}={record.cluster_id}", head.python, "-P", "-m", DRIVER_MODULE]
    return RayConnection(record.name, ssh_command(head.host, command), environment, record.head)


def describe_controller() -> str:
    """User, machine, process and command of this process, without credentials."""
    program = Path(sys.argv[0]).name.replace("__main__.py", "rosenblatt")
    command = shlex.join(redact_arguments([program, *sys.argv[1:]]))
    return f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}: {command}"


def client_connection(address: str, notify: Notify) -> RayConnection:
    """The connection to a cluster that was started otherwise: its driver runs here.

    Raises:
        ClusterError: if no token is set, or the cluster cannot be reached with it or accepts everybody.
    """
    endpoint = Endpoint.parse(address.removeprefix(CLIENT_SCHEME))
    credentials = _client_credentials(address)
    require_ready(endpoint, credentials, CLIENT_SERVICE)
    if not credentials.ca and endpoint.host not in LOOPBACK:
        notify(
            f"{address}: the connection is not encrypted, so that others in the network can read the token and the "
            "data. Start the cluster with RAY_USE_TLS=1, and set it here"
        )
    settings = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    settings |= {name: str(value) for name, value in FAILURE_DETECTION.items()}
    return RayConnection(name=str(endpoint), environment=settings, address=address)


def _client_credentials(address: str) -> Credentials:
    """Token and certificates that Ray reads from the environment. Raises ClusterError."""
    variables = list(CERTIFICATE_VARIABLES) if os.environ.get("RAY_USE_TLS", "0") in ("1", "true") else []
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    variables += [] if token else ["RAY_AUTH_TOKEN_PATH"]
    if not token and not os.environ.get("RAY_AUTH_TOKEN_PATH"):
        raise ClusterError(
            f"{address}: no token is set. A cluster without authentication lets anyone in the network run commands on "
            "it, so it is not used. Start it with RAY_AUTH_MODE=token, and set RAY_AUTH_TOKEN_PATH here."
        )
    contents = {}
    for name in variables:
        try:
            contents[name] = Path(os.environ[name]).read_bytes()
        except KeyError:
            raise ClusterError(f"{address}: RAY_USE_TLS is set, so {name} must name a file.") from None
        except OSError as error:
            raise ClusterError(f"{address}: the file of {name} cannot be read: {error.strerror}.") from error
    token = token or contents["RAY_AUTH_TOKEN_PATH"].decode(errors="replace").strip()
    return Credentials(token, *(contents.get(name, b"") for name in CERTIFICATE_VARIABLES))


@contextmanager
def _temporary_cluster(path: Path, notify: Notify) -> Iterator[ClusterRecord]:
    """A cluster that ends with the command, or some minutes after the command was killed."""
    take_down_abandoned(notify)
    name = f"{path.stem[:40]}-{secrets.token_hex(3)}"
    record = bring_up(read_hosts(path), UpOptions(name, lease_s=LEASE_S), notify)
    is_over = Event()
    renewal = Thread(target=_renew_leases, args=(record, is_over), name="rosenblatt-leases", daemon=True)
    renewal.start()
    try:
        yield record
    finally:
        is_over.set()
        take_down(record, notify)  # first, since a renewal may wait for a lost machine
        renewal.join()


def _renew_leases(record: ClusterRecord, is_over: Event) -> None:
    """Renew the leases of all nodes until the event is set; nodes that are lost are noticed by the search."""
    with SshSessions() as sessions:
        while not is_over.wait(RENEWAL_INTERVAL_S):
            run_for_each(record.nodes, lambda node: renew_lease(node, sessions))


def _require_running(record: ClusterRecord) -> None:
    report = report_nodes(record.model_copy(update={"nodes": record.nodes[:1]}))[0]
    if isinstance(report, ClusterError) or report.phase != "ready" or report.reason:
        reason = str(report) if isinstance(report, ClusterError) else report.reason
        raise ClusterError(
            f"The head of the cluster {record.name!r} does not run ({reason.rstrip('.')}). Take the cluster down with "
            f"`rosenblatt cluster down {record.name}`, and bring it up again."
        )
