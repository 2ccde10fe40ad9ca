"""What each task of a job of Slurm runs: a node of the cluster, until the job or its controller ends."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

from pydantic import BaseModel, ConfigDict

from rosenblatt.cluster.node_certificate import own_addresses
from rosenblatt.cluster.node_process import Supervisor
from rosenblatt.cluster.node_state import CONFIG_FILE, LEASE_FILE, NodeConfig, read_state
from rosenblatt.cluster.security import CertificateAuthority
from rosenblatt.data.cores import cores

AUTHORITY_FOLDER, HEAD_FILE, SHARED_LEASE = "authority", "head.json", "lease"  # in the shared folder
LEASE_S = 300.0  # without a sign of life of the controller, after which the nodes end
POLL_INTERVAL_S = 0.2
HEAD_TIMEOUT_S = 300.0


class SlurmHead(BaseModel):
    """Where the head of a cluster runs."""

    model_config = ConfigDict(frozen=True)

    cluster_id: str
    address: str  # with its port
    host: str  # its name for Slurm
    folder: str  # of its credentials, on its machine


def run_node(shared: str, n_cores: int | None, n_gpus: int) -> None:
    """Run a node until the job ends; the first task of the job is the head.

    Args:
        shared: Folder that all machines of the job see.
        n_cores: Of the node; None: all.
        n_gpus: Of the node.
    """
    import submitit

    rank = submitit.JobEnvironment().global_rank
    folder = Path(tempfile.mkdtemp(prefix="rosenblatt-node-"))
    try:
        names = own_addresses()
        credentials = CertificateAuthority.from_files(Path(shared) / AUTHORITY_FOLDER).issue(names)
        for name, content in credentials.files().items():
            with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
        (folder / LEASE_FILE).symlink_to(Path(shared) / SHARED_LEASE)
        config = NodeConfig(
            cluster_id=secrets.token_hex(6),  # of this node alone: several may run on one machine
            name=socket.gethostname(),
            number=rank,
            address=_reachable_address(),
            head="" if rank == 0 else _wait_for_head(Path(shared)).address,
            cores=n_cores or cores(),
            gpus=n_gpus,
            lease_s=LEASE_S,
        )
        (folder / CONFIG_FILE).write_text(config.model_dump_json())
        if rank == 0:
            Thread(target=_publish_head, args=(folder, config, Path(shared)), daemon=True).start()
        Supervisor(folder).run()
        print(read_state(folder).reason)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish_head(folder: Path, config: NodeConfig, shared: Path) -> None:
    """Write where the head runs, once it is up."""
    while (state := read_state(folder)).phase != "ready":
        time.sleep(POLL_INTERVAL_S)
    host = os.environ.get("SLURMD_NODENAME", config.name)  # the host name may have a domain, unlike the node's
    head = SlurmHead(cluster_id=config.cluster_id, address=state.head, host=host, folder=str(folder))
    temporary = shared / f"{HEAD_FILE}.new"
    temporary.write_text(head.model_dump_json())
    temporary.replace(shared / HEAD_FILE)


def _wait_for_head(shared: Path) -> SlurmHead:
    deadline = time.monotonic() + HEAD_TIMEOUT_S
    while not (shared / HEAD_FILE).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the head was not up after {HEAD_TIMEOUT_S:g} s")
        time.sleep(POLL_INTERVAL_S)
    return SlurmHead.model_validate_json((shared / HEAD_FILE).read_text())


def _reachable_address() -> str:
    """The address by which other machines of the network know this one.

    /etc/hosts may map the name of a machine to its loopback device.
    """
    candidates = []
    with suppress(OSError):
        candidates.append(socket.gethostbyname(socket.gethostname()))
    launcher = os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "")  # the machine of the head
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((launcher or "127.0.0.1", 9))  # sends nothing
        candidates.append(probe.getsockname()[0])
    candidates += [address for address in own_addresses()[1:] if ":" not in address]
    return next((address for address in candidates if not address.startswith("127.")), candidates[0])
