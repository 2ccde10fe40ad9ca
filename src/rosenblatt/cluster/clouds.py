"""Clusters of machines of a cloud: what they cost, bringing them up with `ray up`, and taking them down."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rosenblatt.cluster.cluster_file import CloudFile, KubernetesFile, read_cluster_file
from rosenblatt.cluster.environment import EnvironmentSource, check_ray_version
from rosenblatt.cluster.kubernetes import connect_to_kubernetes
from rosenblatt.cluster.node_state import ProcessId
from rosenblatt.cluster.ray_config import PYTHON, export_settings, ray_cluster_config, validate_ray_config
from rosenblatt.cluster.ray_launcher import HeadLocation, call_ray, check_launcher, locate_head
from rosenblatt.cluster.security import CertificateAuthority
from rosenblatt.errors import ClusterError, Notify, format_count, format_list
from rosenblatt.runs.store.locations import state_home
from rosenblatt.tuning.ray_connection import CLOUD_MACHINE_START_S, DRIVER_MODULE, RayConnection

CLUSTER_FILE, RAY_FILE, ID_FILE = "cluster.yaml", "ray.yaml", "id"
OWNER_FILE = "owner"  # the process that a cluster ends with
ID_BYTES = 6
PYTHON_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
CLUSTER_FILE_SUFFIXES = (".yaml", ".yml")


def describe_cost(file: CloudFile, hours: float | None = None) -> str:
    """Describe the machines of a cluster and what they cost at most, for a number of hours or an hour.

    The prices are those of the cluster file: this library knows none.
    """
    kind = "spot machines" if file.spot else "machines"
    text = (
        f"{file.min_machines} to {file.max_machines:,} {kind} {file.machine} in {file.region}, and a head "
        f"{file.head_machine or file.machine} for as long as the cluster is up"
    )
    head_price = file.head_price_per_hour or (None if file.head_machine or file.spot else file.price_per_hour)
    if file.price_per_hour is None or head_price is None:
        missing = "price_per_hour" if file.price_per_hour is None else "head_price_per_hour"
        return f"{text}. The cost is not known; give {missing} in the cluster file."
    price = file.price_per_hour * file.max_machines + head_price
    idle = file.price_per_hour * file.min_machines + head_price
    text += f". At most {price:,.2f} per hour, {idle:,.2f} while idle"
    return f"{text}; at most {price * hours:,.2f} for {hours:g} h." if hours is not None else f"{text}."


def bring_cloud_up(
    path: Path,
    notify: Notify,
    confirm: Callable[[str], bool] | None,
    wheels: Path | None = None,
    *,
    is_temporary: bool = False,
) -> str:
    """Start the head of a cluster of a cloud, which starts the other machines when they are needed.

    Args:
        path: The cluster file.
        notify: Receives what is done.
        confirm: Asks the user after the cost is shown; None: nobody can be asked, and nothing is started.
        wheels: Folder of wheels for machines that reach no package index; see `EnvironmentSource`.
        is_temporary: The cluster ends with this process: if that is killed, the next command takes it over.

    Returns:
        The name of the cluster, which stays until `take_cloud_down`.

    Raises:
        ClusterError: If the file is invalid, something is missing here, it was not confirmed, or `ray up` failed.
    """
    file = read_cluster_file(path)
    if not isinstance(file, CloudFile):
        raise ClusterError(f"{str(path)!r} is for Kubernetes. Use `rosenblatt cluster manifest {path}`.")
    check_ray_version()
    check_launcher(file.provider)
    folder = cloud_folder(file.name)
    if folder.exists():
        raise ClusterError(
            f"There is a cluster {file.name!r} already. Take it down with `rosenblatt cluster down {file.name}`, or "
            "choose another `name` in the cluster file."
        )
    cost = describe_cost(file)
    if confirm is None:
        raise ClusterError(
            f"This would start {cost} Confirm it on a terminal, or with `rosenblatt cluster up {path} --yes`, and "
            f"use it with --on {file.name}."
        )
    if not confirm(f"Start {cost} Continue?"):
        raise ClusterError("Nothing was started.")
    write_cloud_files(file, path, folder, EnvironmentSource(wheels))
    if is_temporary:
        _own(folder)
    notify(f"starting the head {file.head_machine or file.machine} in {file.region}; log: {folder / 'ray.log'}")
    try:
        call_ray("up", folder / RAY_FILE)
        head = locate_head(folder / RAY_FILE)
    except BaseException:
        notify(f"Taking down what was started of {file.name!r}.")
        take_cloud_down(file.name, notify)
        raise
    notify(f"{file.name}: head {head.address} is up")
    return file.name


def write_cloud_files(file: CloudFile, path: Path, folder: Path, source: EnvironmentSource) -> None:
    """Write credentials, the parts of the environment and the file of `ray up` to a new folder of this user.

    Raises ClusterError if Ray does not accept the file.
    """
    import yaml

    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    try:
        credentials, parts = folder / "credentials", folder / "parts"
        for place in (credentials, parts):
            place.mkdir(mode=0o700)
        CertificateAuthority(file.name).write(credentials)
        name, wheel = source.wheel
        (parts / name).write_bytes(wheel)
        (parts / "requirements.txt").write_text("".join(f"{line}\n" for line in source.requirements))
        cluster_id = secrets.token_hex(ID_BYTES)
        config = ray_cluster_config(file, cluster_id, credentials, parts, PYTHON_VERSION)
        validate_ray_config(config)
        (folder / RAY_FILE).write_text(yaml.safe_dump(config, sort_keys=False))
        (folder / ID_FILE).write_text(cluster_id)
        shutil.copyfile(path, folder / CLUSTER_FILE)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def preview(file: CloudFile) -> dict[str, Any]:
    """What `ray up` would get, with the places of files that do not exist yet. Raises ClusterError."""
    folder = cloud_folder(file.name)
    config = ray_cluster_config(file, "0" * 2 * ID_BYTES, folder / "credentials", folder / "parts", PYTHON_VERSION)
    validate_ray_config(config)
    return config


@contextmanager
def open_cluster_file(path: Path, notify: Notify, confirm: Callable[[str], bool] | None) -> Iterator[RayConnection]:
    """Open the cluster of a cluster file for one command.

    Machines of a cloud are started, and taken down afterwards, unless a cluster of this name is up; those of a command
    that was killed are taken over. Pods of Kubernetes must run: `rosenblatt cluster manifest` makes their manifest.

    Raises:
        ClusterError: If the file is invalid, or its machines cannot be started.
    """
    file = read_cluster_file(path)
    if isinstance(file, KubernetesFile):
        yield connect_to_kubernetes(file)
        return
    is_up, name = file.name in list_clouds(), file.name
    if is_up and not _is_abandoned(cloud_folder(name)):
        notify(f"{name}: it is up, and stays so")
        yield connect_to_cloud(name)
        return
    if is_up:
        notify(f"{name}: the command that started it was killed; this one takes it over, and takes it down at the end")
        _own(cloud_folder(name))
    else:
        bring_cloud_up(path, notify, confirm, is_temporary=True)
    try:
        yield connect_to_cloud(name)
    finally:
        take_cloud_down(name, notify)


def _own(folder: Path) -> None:
    """Record that a cluster ends with this process."""
    if process := ProcessId.of(os.getpid()):  # of Linux
        (folder / OWNER_FILE).write_text(f"{socket.gethostname()}\n{process.model_dump_json()}")


def _is_abandoned(folder: Path) -> bool:
    """Whether a cluster should have ended with a process of this machine that was killed."""
    owner = folder / OWNER_FILE
    if not owner.exists():
        return False
    machine, _, process = owner.read_text().partition("\n")  # several machines may share this user's folders
    return machine == socket.gethostname() and not ProcessId.model_validate_json(process).is_running()


def load_authority(name: str) -> CertificateAuthority:
    """The authority of a cluster of Kubernetes, which is made once: its pods start at different times."""
    folder = cloud_folder(name) / "credentials"
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        CertificateAuthority(name).write(folder)
    return CertificateAuthority.from_files(folder)


def connect_to_cloud(name: str) -> RayConnection:
    """The connection to a cluster of a cloud that is up: its driver runs on the head, and asks for the machines there.

    Raises ClusterError if there is no such cluster, or its head does not run.
    """
    folder = _require_folder(name)
    file = read_cluster_file(folder / CLUSTER_FILE)
    if not isinstance(file, CloudFile):
        raise ClusterError(f"The record {str(folder)!r} of the cluster {name!r} is damaged.")
    head = locate_cloud(name)
    command = driver_command(file, head, (folder / ID_FILE).read_text())
    return RayConnection(name, command, {}, "auto", CLOUD_MACHINE_START_S)


def locate_cloud(name: str) -> HeadLocation:
    """Ask the provider for the head of a cluster. Raises ClusterError if none runs."""
    return locate_head(_require_folder(name) / RAY_FILE)


def driver_command(file: CloudFile, head: HeadLocation, cluster_id: str) -> tuple[str, ...]:
    """The command that starts a driver on the head by SSH."""
    key = ("-i", head.key, "-o", "IdentitiesOnly=yes") if head.key else ()
    options: tuple[str, ...] = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new")
    options += ("-o", "ServerAliveInterval=5")
    options += ("-o", "ForwardAgent=no", "-o", "ForwardX11=no", "-o", "ClearAllForwardings=yes")
    python = f'"{PYTHON}"'
    driver = f"{python} -P -m {DRIVER_MODULE}"
    demand = f"{python} -P -m rosenblatt.cluster.ray_demand auto {file.max_machines} {driver}"
    return ("ssh", *key, *options, f"{file.user}@{head.address}", f"{export_settings(cluster_id)} exec {demand}")


def take_cloud_down(name: str, notify: Notify) -> None:
    """Take all machines of a cluster down, and forget it. Raises ClusterError if `ray down` fails: they may run on."""
    folder = _require_folder(name)
    try:
        call_ray("down", folder / RAY_FILE)
    except KeyboardInterrupt:
        notify(f"{name}: its machines may still run and cost. Run `rosenblatt cluster down {name}`.")
        raise
    except ClusterError as error:
        raise ClusterError(
            f"{error} Its machines may still run and cost: try `rosenblatt cluster down {name}` again, or end them in "
            "the console of the provider."
        ) from error
    shutil.rmtree(folder)
    notify(f"{name}: all of its machines are taken down")


def list_clouds() -> list[str]:
    """The names of the clusters of clouds that this user brought up."""
    return sorted(path.name for path in (state_home() / "clouds").glob("*/") if (path / RAY_FILE).exists())


def cloud_folder(name: str) -> Path:
    """The folder of a cluster of a cloud, which only this user can read."""
    return state_home() / "clouds" / name


def _require_folder(name: str) -> Path:
    folder = cloud_folder(name)
    if not (folder / RAY_FILE).exists():
        names = list_clouds()
        running = f"{format_count(len(names), 'cluster')} of clouds: {format_list(names)}" if names else "none is up"
        raise ClusterError(f"There is no cluster {name!r} of a cloud; {running}.")
    return folder
