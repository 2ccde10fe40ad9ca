"""Clusters in an allocation of Slurm: one job whose tasks are the nodes, submitted by submitit.

The nodes find one another in a folder of the user's home, which the machines share. The driver runs on the head's
machine, started by `srun` in the same allocation, so that no port of a compute node needs to be open from outside.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Event, Thread
from typing import Any, Literal

from pydantic import ValidationError

from rosenblatt.cluster.environment import check_ray_version
from rosenblatt.cluster.node_process import ENDED_LEASE
from rosenblatt.cluster.security import CertificateAuthority
from rosenblatt.cluster.settings import ID_VARIABLE, ray_environment
from rosenblatt.cluster.slurm_node import AUTHORITY_FOLDER, HEAD_FILE, SHARED_LEASE, SlurmHead, run_node
from rosenblatt.errors import ClusterError, Notify, did_you_mean, format_count
from rosenblatt.runs.store.locations import state_home
from rosenblatt.tuning.ray_connection import DRIVER_MODULE, RayConnection

PREFIX = "slurm:"
RENEWAL_INTERVAL_S = 30.0
POLL_INTERVAL_S = 0.5
GRACE_S, CANCEL_TIMEOUT_S = 20.0, 60.0
_OPTIONS = ("nodes", "minutes", "cores", "gpus", "account", "qos", "constraint")
SQUEUE_TIMEOUT_S = 30.0
ENDED = "ENDED"  # of a job that `squeue` does not list any more
_RUNNING_STATES = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "UNKNOWN")


@dataclass(frozen=True)
class SlurmRequest:
    """What to ask Slurm for."""

    partition: str
    nodes: int = 1
    minutes: int = 60
    cores: int | None = None  # of each node; None: whole nodes
    gpus: int = 0  # of each node
    account: str = ""
    qos: str = ""
    constraint: str = ""


def parse_slurm(on: str) -> SlurmRequest:
    """Parse `slurm:PARTITION[,nodes=4][,minutes=240][,cores=16][,gpus=1][,account=lab]`. Raises ClusterError."""
    partition, *words = on.removeprefix(PREFIX).split(",")
    if not partition:
        raise ClusterError(f"{on!r} names no partition. Write slurm:PARTITION, such as slurm:gpu,nodes=4,minutes=240.")
    values: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in _OPTIONS or not equals or not value:
            hint = did_you_mean(name, _OPTIONS)
            raise ClusterError(f"{on!r}: {word!r} is no option of Slurm.{hint} Options are {', '.join(_OPTIONS)}.")
        if name in ("account", "qos", "constraint"):
            values[name] = value
        elif value.isascii() and value.isdecimal() and (int(value) or name == "gpus"):
            values[name] = int(value)
        else:
            raise ClusterError(f"{on!r}: {name} must be a whole number above 0, but it is {value!r}.")
    return SlurmRequest(partition, **values)


@contextmanager
def open_slurm(
    request: SlurmRequest, notify: Notify, executor: Literal["slurm", "local"] = "slurm"
) -> Iterator[RayConnection]:
    """Wait for an allocation with a cluster inside, and cancel it at the end of the block.

    Args:
        request: What to ask Slurm for.
        notify: Receives what is done.
        executor: `local` runs the tasks as processes of this machine, all on one node.

    Raises:
        ClusterError: If Slurm or submitit is not there, or the job ends before its head is up.
    """
    check_ray_version()
    if executor == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise ClusterError(
            "slurm: this machine has no sbatch and srun. Run the command on a login node of the cluster."
        )
    cluster_id = secrets.token_hex(6)
    folder = state_home() / "slurm" / cluster_id
    try:
        _prepare_folder(folder)
        job, is_over = _submit(request, folder, executor), Event()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # it has the key of an authority
        raise
    renewal = Thread(target=_renew_lease, args=(folder, is_over), name="rosenblatt-lease", daemon=True)
    renewal.start()
    try:
        notify(
            f"Slurm job {job.job_id}: {format_count(request.nodes, 'node')} of {request.partition}, waiting for them"
        )
        head = _wait_for_head(job, folder)
        notify(f"Slurm job {job.job_id}: the head is up on {head.host}")
        yield driver_connection(job, head, executor)
    finally:
        is_over.set()
        try:
            renewal.join()
            _end(job, folder / SHARED_LEASE, notify)
        finally:  # also after a second Ctrl-C: nodes without a lease end
            shutil.rmtree(folder, ignore_errors=True)


def _prepare_folder(folder: Path) -> None:
    (folder / AUTHORITY_FOLDER).mkdir(mode=0o700, parents=True)
    folder.chmod(0o700)
    CertificateAuthority("slurm").write(folder / AUTHORITY_FOLDER)
    (folder / SHARED_LEASE).touch()


def _submit(request: SlurmRequest, folder: Path, executor: str) -> Any:
    """Submit the job with a task for each node. Raises ClusterError."""
    try:
        import submitit
    except ImportError:
        raise ClusterError("Slurm needs submitit. Run: pip install 'rosenblatt[cluster,slurm]'") from None
    submitter = submitit.AutoExecutor(folder=folder / "jobs", cluster=executor)
    submitter.update_parameters(name="rosenblatt", timeout_min=request.minutes)
    if executor == "local":
        submitter.update_parameters(nodes=1, tasks_per_node=request.nodes)
    else:
        submitter.update_parameters(nodes=request.nodes, tasks_per_node=1, **_slurm_parameters(request))
    try:
        return submitter.submit(run_node, str(folder), request.cores, request.gpus)
    except Exception as error:  # submitit raises those of sbatch in classes of its own
        raise ClusterError(f"Slurm did not accept the job: {str(error).strip().splitlines()[-1]}.") from error


def _slurm_parameters(request: SlurmRequest) -> dict[str, Any]:
    """What `sbatch` gets beyond the number of nodes."""
    parameters: dict[str, Any] = {"slurm_partition": request.partition}
    more: dict[str, Any] = {name: getattr(request, name) for name in ("account", "qos") if getattr(request, name)}
    parameters |= {"cpus_per_task": request.cores} if request.cores else {}
    more |= {} if request.cores else {"exclusive": True}
    parameters |= {"slurm_gpus_per_node": request.gpus} if request.gpus else {}
    parameters |= {"slurm_constraint": request.constraint} if request.constraint else {}
    return parameters | {"slurm_additional_parameters": more}


def _wait_for_head(job: Any, folder: Path) -> SlurmHead:
    """Wait until the head is up, however long the queue of Slurm is. Raises ClusterError if the job ends before."""
    path = folder / HEAD_FILE
    while not path.exists():
        state = job_state(job)
        if state not in _RUNNING_STATES and not path.exists():
            errors = (job.stderr() or job.stdout() or "it printed nothing").strip().splitlines()
            raise ClusterError(f"Slurm job {job.job_id} ended ({state.lower()}) before its head was up: {errors[-1]}")
        time.sleep(POLL_INTERVAL_S)
    try:
        return SlurmHead.model_validate_json(path.read_text())
    except ValidationError as error:
        raise ClusterError(f"{str(path)!r} cannot be read: {error.errors()[0]['msg']}.") from error


def job_state(job: Any) -> str:
    """The state of a job: that of `squeue`, which works without accounting, unlike what submitit asks.

    Returns:
        A state of Slurm, such as PENDING; ENDED if Slurm does not list the job any more, UNKNOWN if it does not answer.
    """
    from submitit import SlurmJob

    if not isinstance(job, SlurmJob):  # of this machine
        return str(job.state)
    program = ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job.job_id}"]
    try:
        squeue = subprocess.run(  # noqa: S603 - of Slurm
            program, capture_output=True, text=True, timeout=SQUEUE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "UNKNOWN"
    if squeue.returncode:
        return ENDED if "Invalid job id" in squeue.stderr else "UNKNOWN"
    return squeue.stdout.strip().partition("\n")[0] or ENDED


def driver_connection(job: Any, head: SlurmHead, executor: str) -> RayConnection:
    """The connection to a job: its driver runs on the machine of the head."""
    driver = ("env", f"{ID_VARIABLE}={head.cluster_id}", sys.executable, "-P", "-m", DRIVER_MODULE)
    place = (f"--jobid={job.job_id}", f"--nodelist={head.host}", "--nodes=1", "--ntasks=1")
    srun = ("srun", *place, "--overlap", "--unbuffered", "--quiet") if executor == "slurm" else ()
    settings = ray_environment(PurePosixPath(head.folder), head.cluster_id)
    return RayConnection(f"Slurm job {job.job_id}", (*srun, *driver), settings, head.address)


def _renew_lease(folder: Path, is_over: Event) -> None:
    while not is_over.wait(RENEWAL_INTERVAL_S):
        with suppress(OSError):  # of a file system that does not answer at the moment
            (folder / SHARED_LEASE).touch()


def _end(job: Any, lease: Path, notify: Notify) -> None:
    """Let the nodes end by themselves, cancel the job if they have not soon, and wait for its end."""
    os.utime(lease, ns=(ENDED_LEASE, ENDED_LEASE))
    if _has_ended(job, GRACE_S):
        return
    job.cancel(check=False)
    if not _has_ended(job, CANCEL_TIMEOUT_S):
        notify(f"Slurm job {job.job_id} was cancelled, but has not ended after {CANCEL_TIMEOUT_S:g} s: see squeue")


def _has_ended(job: Any, timeout: float) -> bool:
    """Wait for the end of a job; returns False after the timeout."""
    deadline = time.monotonic() + timeout
    while job_state(job) in _RUNNING_STATES:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True
