"""Call `ray up` and `ray down`, and find the head of what they started.

python -m rosenblatt.cluster.ray_launcher FILE    prints address and key of the head as JSON
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from pydantic import BaseModel, ValidationError

from rosenblatt.errors import ClusterError, join_names

LOG_FILE = "ray.log"  # beside the cluster file
_PROVIDER_MODULES = {  # with which this machine starts the head, and the packages that have them
    "aws": {"boto3": "boto3"},
    "gcp": {"googleapiclient": "google-api-python-client", "google.auth": "google-auth"},
    "azure": {"azure.identity": "azure-identity", "azure.mgmt.compute": "azure-mgmt-compute",
              "azure.mgmt.network": "azure-mgmt-network", "azure.mgmt.resource": "azure-mgmt-resource"},
}  # fmt: skip


class HeadLocation(BaseModel):
    """How to reach the head by SSH."""

    address: str
    key: str  # path of the private key; "" for those of the SSH agent and configuration


def check_launcher(provider: str) -> None:
    """Raise ClusterError if something is missing here that `ray up` needs for a provider."""
    packages = [package for name, package in _PROVIDER_MODULES[provider].items() if not _is_installed(name)]
    if packages:
        raise ClusterError(f"Starting machines of {provider} needs {join_names(packages)}. Install them with pip.")
    programs = [program for program in ("ssh", "rsync") if which(program) is None]
    if programs:
        raise ClusterError(f"`ray up` needs {join_names(programs)} on this machine. Install them.")


def call_ray(command: str, file: Path) -> None:
    """Run `ray up` or `ray down` for a cluster file. Raises ClusterError with the end of its output."""
    log = file.with_name(LOG_FILE)
    with log.open("ab") as output:
        status = subprocess.run(  # noqa: S603 - Ray of this environment
            [sys.executable, "-m", "ray.scripts.scripts", command, "--yes", str(file)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
        ).returncode  # fmt: skip
    if status:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise ClusterError(f"`ray {command}` failed: {' | '.join(lines[-3:])}. All of its output is in {str(log)!r}.")


def locate_head(file: Path) -> HeadLocation:
    """Ask the provider for the head of a cluster. Raises ClusterError if none runs."""
    process = subprocess.run(  # noqa: S603 - this module
        [sys.executable, "-m", __name__, str(file)], capture_output=True, text=True, check=False
    )
    try:
        return HeadLocation.model_validate_json(process.stdout.strip().rpartition("\n")[2])
    except ValidationError:
        reason = (process.stderr.strip() or process.stdout.strip() or "no reason was given").splitlines()[-1]
        raise ClusterError(f"The head of the cluster of {str(file)!r} was not found: {reason}.") from None


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of a parent
        return False


def _print_head(file: str) -> None:
    import yaml
    from ray.autoscaler.sdk import bootstrap_config, get_head_node_ip

    address = get_head_node_ip(file)
    auth = bootstrap_config(yaml.safe_load(Path(file).read_text()))["auth"]
    print(json.dumps({"address": address, "key": auth.get("ssh_private_key") or ""}))


if __name__ == "__main__":
    _print_head(sys.argv[1])
