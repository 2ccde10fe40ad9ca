"""Cluster files of `ray up` for machines of a cloud, generated from ours and validated by Ray's own schema.

The head is never a spot machine and trains nothing. Workers start when a search asks for machines (ray_demand.py), and
are taken down when they are idle. Each machine makes its certificate when it starts, from the authority of the cluster.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path, PurePosixPath
from typing import Any

from rosenblatt.cluster.cluster_file import CloudFile
from rosenblatt.cluster.ray_demand import MACHINE_RESOURCE
from rosenblatt.cluster.settings import ray_environment
from rosenblatt.errors import ClusterError

GCS_PORT = 6379
FOLDER = PurePosixPath("$HOME/rosenblatt")  # on each machine
CREDENTIALS = FOLDER / "credentials"
PARTS = FOLDER / "parts"  # from which the environment is built
PYTHON = FOLDER / "env" / "bin" / "python"
UV_INSTALLER = "https://astral.sh/uv/install.sh"
PROVIDER_PACKAGES = {  # with which the head starts machines
    "aws": ("boto3",),
    "gcp": ("google-api-python-client", "google-auth", "cryptography"),
    "azure": ("azure-identity", "azure-mgmt-compute", "azure-mgmt-network", "azure-mgmt-resource", "msrestazure"),
}
_IMAGES = {  # unless the cluster file names one; for AWS that of Ray for the region
    "gcp": "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64",
    "azure": "Canonical:ubuntu-24_04-lts:server:latest",
}
_HEAD_OPTIONS = (
    f"--head --port={GCS_PORT} --include-dashboard=false --num-cpus=0 "
    "--autoscaling-config=$HOME/ray_bootstrap_config.yaml"
)
_AZURE_IMAGE = ("imagePublisher", "imageOffer", "imageSku", "imageVersion")


def ray_cluster_config(
    file: CloudFile, cluster_id: str, credentials: Path, parts: Path, python_version: str
) -> dict[str, Any]:
    """Make the content of a cluster file for `ray up`.

    Args:
        file: The machines.
        cluster_id: Of the cluster, which all its processes carry.
        credentials: Local folder with the token and the authority of the cluster, as `CertificateAuthority` writes it.
        parts: Local folder with what the environment is built from; see environment_builder.py.
        python_version: Of the environment, such as 3.12.

    Raises:
        ClusterError: If the image is not written as the provider needs it.
    """
    resources = {"CPU": file.cores, MACHINE_RESOURCE: 1} | ({"GPU": file.gpus} if file.gpus else {})
    head = {"resources": {"CPU": 0}, "min_workers": 0, "max_workers": 0}
    worker = {"resources": resources, "min_workers": file.min_machines, "max_workers": file.max_machines}
    return {
        "cluster_name": file.name,
        "max_workers": file.max_machines,
        "upscaling_speed": float(file.max_machines),  # all at once
        "idle_timeout_minutes": file.idle_minutes,
        "provider": _provider(file),
        "auth": {"ssh_user": file.user},
        "head_node_type": "head",
        "available_node_types": {
            "head": head | {"node_config": _node_config(file, file.head_machine or file.machine, spot=False)},
            "worker": worker | {"node_config": _node_config(file, file.machine, spot=file.spot)},
        },
        "file_mounts": {_in_home(CREDENTIALS): str(credentials), _in_home(PARTS): str(parts)},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "initialization_commands": [],
        "setup_commands": _setup_commands(python_version),
        "head_setup_commands": [
            _uv("pip", "install", "--quiet", "--python", PYTHON, *PROVIDER_PACKAGES[file.provider])
        ],
        "worker_setup_commands": [],
        "head_start_ray_commands": _start_commands(cluster_id, _HEAD_OPTIONS),
        "worker_start_ray_commands": _start_commands(cluster_id, _worker_options(resources)),
    }


def validate_ray_config(config: dict[str, Any]) -> None:
    """Fill in Ray's defaults and check the result by the schema that Ray ships. Raises ClusterError."""
    try:
        import jsonschema
        from ray.autoscaler._private.util import prepare_config, validate_config
    except ImportError:
        raise ClusterError("Machines of a cloud need: pip install 'rosenblatt[cluster]'.") from None
    try:
        validate_config(prepare_config(deepcopy(config)))
    except (jsonschema.ValidationError, ValueError, KeyError) as error:
        reason = error.message if isinstance(error, jsonschema.ValidationError) else error
        raise ClusterError(
            f"The installed version of Ray does not accept the generated cluster file: {reason}."
        ) from error


def export_settings(cluster_id: str, folder: PurePosixPath = CREDENTIALS) -> str:
    """Commands of a shell that set the environment of nodes and drivers; the folder may name variables."""
    settings = ray_environment(folder, cluster_id)
    return " ".join(f'export {name}="{value}";' for name, value in settings.items())


def _provider(file: CloudFile) -> dict[str, Any]:
    if file.provider == "azure":
        subscription = {"subscription_id": file.subscription} if file.subscription else {}
        zone = {"availability_zone": file.zone} if file.zone else {}
        return {"type": "azure", "location": file.region, "resource_group": file.resource_group} | subscription | zone
    provider: dict[str, Any] = {"type": file.provider, "region": file.region, "cache_stopped_nodes": False}
    provider |= {"availability_zone": file.zone} if file.zone else {}
    return provider | ({"project_id": file.project} if file.provider == "gcp" else {})


def _node_config(file: CloudFile, machine: str, *, spot: bool) -> dict[str, Any]:
    """What the provider needs to know of a machine."""
    image = file.image or _IMAGES.get(file.provider, "")
    if file.provider == "aws":
        disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": file.disk_gb, "VolumeType": "gp3"}}
        node: dict[str, Any] = {"InstanceType": machine, "BlockDeviceMappings": [disk]}
        node |= {"ImageId": image} if image else {}
        return node | ({"InstanceMarketOptions": {"MarketType": "spot"}} if spot else {})
    if file.provider == "gcp":
        source = {"diskSizeGb": file.disk_gb, "sourceImage": image}
        disks = [{"boot": True, "autoDelete": True, "type": "PERSISTENT", "initializeParams": source}]
        return {"machineType": machine, "disks": disks} | ({"scheduling": [{"preemptible": True}]} if spot else {})
    parts = image.split(":")
    if len(parts) != len(_AZURE_IMAGE):
        raise ClusterError(f"image is {image!r}, but images of Azure are written PUBLISHER:OFFER:SKU:VERSION.")
    machine_type = {"vmSize": machine, "osDiskSizeGB": file.disk_gb}
    priority = {"priority": "Spot"} if spot else {}
    return {"azure_arm_parameters": machine_type | dict(zip(_AZURE_IMAGE, parts, strict=True)) | priority}


def _setup_commands(python_version: str) -> list[str]:
    """Build the environment on a machine with uv, which brings the interpreter."""
    installer = (
        f"curl -LsSf {UV_INSTALLER} | env UV_INSTALL_DIR={_quoted(FOLDER / 'bin')} INSTALLER_NO_MODIFY_PATH=1 sh"
    )
    return [
        f"chmod -R go-rwx {_quoted(CREDENTIALS)}",
        f"test -x {_quoted(FOLDER / 'bin' / 'uv')} || {installer}",
        f"test -x {_quoted(PYTHON)} || {_uv('venv', '--quiet', '--python', python_version, FOLDER / 'env')}",
        _uv("pip", "install", "--quiet", "--python", PYTHON, "--requirement", PARTS / "requirements.txt")
        + f" {_quoted(PARTS)}/*.whl",
    ]


def _worker_options(resources: Mapping[str, int]) -> str:
    custom = shlex.quote(json.dumps({MACHINE_RESOURCE: resources[MACHINE_RESOURCE]}))
    counts = f"--num-cpus={resources['CPU']} --num-gpus={resources.get('GPU', 0)}"
    return f"--address=$RAY_HEAD_IP:{GCS_PORT} {counts} --resources={custom}"


def _start_commands(cluster_id: str, options: str) -> list[str]:
    start = f"{_quoted(PYTHON)} -m ray.scripts.scripts start --disable-usage-stats {options}"
    certificate = (
        f"{_quoted(PYTHON)} -m rosenblatt.cluster.node_certificate {_quoted(CREDENTIALS)} {_quoted(CREDENTIALS)}"
    )
    return [certificate, f"{export_settings(cluster_id)} ulimit -n 65536; {start}"]


def _uv(*arguments: str | PurePosixPath) -> str:
    words = [_quoted(word) if isinstance(word, PurePosixPath) else shlex.quote(word) for word in arguments]
    return " ".join([_quoted(FOLDER / "bin" / "uv"), *words])


def _quoted(path: PurePosixPath) -> str:
    return f'"{path}"'


def _in_home(path: PurePosixPath) -> str:
    """A path as `ray up` writes one in the home of its user."""
    return str(path).replace("$HOME", "~")
