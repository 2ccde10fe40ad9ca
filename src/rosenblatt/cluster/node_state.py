"""What is known of a node: its configuration, its state in a file of its folder, and its report."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rosenblatt.tuning.search_status import SearchStatus

SEARCHES_FOLDER = "searches"  # of the head: what its drivers do, see search_status.py
STATE_FILE, LEASE_FILE, LOG_FILE, LOGS_FOLDER, CONFIG_FILE = "state.json", "lease", "node.log", "logs", "config.json"


class NodeConfig(BaseModel):
    """What a node is started with.

    Attributes:
        name: of the host, in messages.
        number: of the node in its cluster; 0 is the head.
        address: of the machine in the network of the cluster.
        head: address and port of the head, "" for the head itself.
        lease_s: seconds without a sign of life of the controller after which the node ends; None: never.
    """

    model_config = ConfigDict(frozen=True)

    cluster_id: str
    name: str
    number: int
    address: str
    head: str = ""
    cores: int
    gpus: int = 0
    lease_s: float | None = None

    @property
    def node(self) -> str:
        """Name of the node, and of its folder on the machine."""
        return f"{self.cluster_id}-{self.number}"


class ProcessId(BaseModel):
    """A process: its number, and when it was started, since numbers are used again."""

    model_config = ConfigDict(frozen=True)

    pid: int
    start: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Identify a running process; None if there is none of this number. Zombies have ended."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid=pid, start=f"{boot}:{fields[19]}")

    def is_running(self) -> bool:
        """Whether this very process runs."""
        return ProcessId.of(self.pid) == self


class NodeState(BaseModel):
    """How far a node is.

    Attributes:
        phase: starting; ready: Ray runs; ended, with the reason.
        folder: the folder of the node on its machine.
        supervisor: the process that started Ray and ends it, a process group and session of its own.
        head: address and port of the head.
        temp_folder: Ray's folder for sessions.
        machine: on which it runs; several may share the folders of their nodes.
    """

    phase: Literal["starting", "ready", "ended"] = "starting"
    machine: str = Field(default_factory=socket.gethostname)
    reason: str = ""
    folder: str
    supervisor: ProcessId | None = None
    head: str = ""
    temp_folder: str = ""

    def write(self) -> None:
        """Write the state into the folder, so that readers see a whole file."""
        path = Path(self.folder) / STATE_FILE
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(self.model_dump_json())
        temporary.replace(path)


class RayMachine(BaseModel):
    """A machine as Ray's head sees it.

    Attributes:
        cores, free_cores, gpus, free_gpus: those that tasks may use, and of them those that are free.
    """

    address: str
    is_alive: bool
    cores: float
    free_cores: float
    gpus: float
    free_gpus: float


class NodeReport(BaseModel):
    """What a node does at the moment.

    Attributes:
        tasks: titles of the Ray workers that are not idle.
        cpu: cores that its processes use.
        memory: bytes that its processes use.
        free_disk: bytes in the folder of Ray's sessions.
        logs: folder of its logs.
        ray_machines: all machines that Ray's head has seen; of the head only.
        searches: searches that use the cluster; of the head only.
    """

    phase: Literal["starting", "ready", "ended"]
    reason: str = ""
    n_processes: int = 0
    tasks: tuple[str, ...] = ()
    cpu: float = 0.0
    memory: int = 0
    free_disk: int = 0
    logs: str = ""
    ray_machines: tuple[RayMachine, ...] = ()
    searches: tuple[SearchStatus, ...] = ()


class NodeLogs(BaseModel):
    """The ends of the logs of a node: of its start, and of the processes that train on it, by file name."""

    files: dict[str, str]


def read_state(folder: Path) -> NodeState:
    """Read the state of a node; it has ended if it was never started, or its supervisor vanished from this machine."""
    try:
        state = NodeState.model_validate_json((folder / STATE_FILE).read_text())
    except FileNotFoundError:
        return NodeState(folder=str(folder), phase="ended", reason="it was not started")
    is_here = state.machine == socket.gethostname()
    if is_here and state.phase != "ended" and state.supervisor and not state.supervisor.is_running():
        return state.model_copy(update={"phase": "ended", "reason": "its supervisor was killed"})
    return state
