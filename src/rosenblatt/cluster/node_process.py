"""The supervisor of a node, on its machine: starts Ray, ends it with all of its processes, and keeps its logs.

python -m rosenblatt.cluster.node_process FOLDER
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import psutil

from rosenblatt.cluster.node_state import (
    CONFIG_FILE,
    LEASE_FILE,
    LOG_FILE,
    LOGS_FOLDER,
    NodeConfig,
    NodeState,
    ProcessId,
)
from rosenblatt.cluster.security import CA_FILE, CERTIFICATE_FILE, KEY_FILE, TOKEN_FILE
from rosenblatt.cluster.settings import ID_VARIABLE, ray_environment

POLL_INTERVAL_S = 0.2
MAX_ATTEMPTS = 3  # to start Ray, which waits only 30 s for its own processes, also on a busy machine
STOP_TIMEOUT_S = 8.0  # for Ray to end by itself before its processes are killed
KILL_TIMEOUT_S = 10.0
MAX_OBJECT_STORE = 0.3  # of the memory of the machine
MAX_SHARED_MEMORY = 0.8  # of what is free in /dev/shm
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where Ray keeps objects
MIN_OBJECT_STORE = 80 * 2**20  # bytes; Ray refuses less
ADDRESS_FILE = "ray_current_cluster"  # in Ray's folder of sessions, written once a node is part of the cluster
PR_SET_CHILD_SUBREAPER = 36
ENDED_LEASE = 0  # time of the file of a lease that the controller has ended
N_REASON_LINES = 3  # of the log, in messages
MAX_LOG_BYTES = 50 * 2**20  # of one file that is kept


class Supervisor:
    """Runs Ray as a child until it ends, the lease expires, or a signal arrives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config = NodeConfig.model_validate_json((folder / CONFIG_FILE).read_text())
        self._reason = ""
        self._renewal, self._renewed_at = 0, time.monotonic()  # of the lease: time of its file, and when it was seen
        self._state = NodeState(
            folder=str(folder),
            supervisor=ProcessId.of(os.getpid()),
            temp_folder=tempfile.mkdtemp(prefix="rb-", dir="/tmp"),
        )

    def run(self) -> None:
        """Start Ray, wait for its end, and clean up."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # descendants cannot get lost
        self._state.write()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= ray_environment(PurePosixPath(self._folder), self._config.cluster_id)
        for attempt in range(MAX_ATTEMPTS):
            with (self._folder / LOG_FILE).open("ab") as log:
                ray = subprocess.Popen(  # noqa: S603 - Ray of this environment
                    ray_command(self._config, self._state.temp_folder),
                    env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                )  # fmt: skip
            self._watch(ray, may_retry=attempt < MAX_ATTEMPTS - 1)
            with suppress(ProcessLookupError):
                ray.terminate()
            with suppress(subprocess.TimeoutExpired):
                ray.wait(STOP_TIMEOUT_S)
            kill_processes(lambda: psutil.Process().children(recursive=True))
            if self._reason:
                break
        finish(self._folder, self._state, self._config.cluster_id, self._reason)

    def _watch(self, ray: subprocess.Popen[bytes], *, may_retry: bool) -> None:
        """Wait until the node is to end, and set the reason; without one, Ray did not start and may be tried again."""
        address_file = Path(self._state.temp_folder) / ADDRESS_FILE
        while not self._reason:
            if ray.poll() is not None:
                if self._state.phase == "starting" and may_retry:
                    return
                self._reason = f"Ray ended: {last_lines(self._folder / LOG_FILE)}"
            elif self._is_lease_over():
                self._reason = f"no sign of life of the controller for {self._config.lease_s:g} s"
            elif self._state.phase == "starting" and address_file.exists() and address_file.read_text():
                self._state.phase, self._state.head = "ready", address_file.read_text().strip()
                self._state.write()
            time.sleep(POLL_INTERVAL_S)

    def _is_lease_over(self) -> bool:
        if self._config.lease_s is None:
            return False
        try:
            renewal = (self._folder / LEASE_FILE).stat().st_mtime_ns
        except FileNotFoundError:  # its folder was removed: nobody knows of the node any more
            return True
        except OSError:  # of a file system that does not answer at the moment
            return False
        if renewal == ENDED_LEASE:
            return True
        if renewal != self._renewal:  # the clock of the machine may be set meanwhile, and differ from that of the file
            self._renewal, self._renewed_at = renewal, time.monotonic()
        return time.monotonic() - self._renewed_at > self._config.lease_s

    def _on_signal(self, number: int, _: object) -> None:
        self._reason = self._reason or f"stopped by {signal.Signals(number).name}"


def ray_command(config: NodeConfig, temp_folder: str) -> list[str]:
    """The command that starts Ray, with ports that the system chooses."""
    role = [f"--address={config.head}"]
    if not config.head:
        role = ["--head", "--port=0", "--include-dashboard=false", f"--ray-client-server-port={free_port()}"]
    shared_memory = MAX_SHARED_MEMORY * shutil.disk_usage(SHARED_MEMORY).free
    memory = min(MAX_OBJECT_STORE * psutil.virtual_memory().total, shared_memory)
    return [
        sys.executable, "-m", "ray.scripts.scripts", "start", *role, "--block", "--no-monitor",
        f"--node-ip-address={config.address}", f"--node-name={config.name}", f"--temp-dir={temp_folder}",
        f"--num-cpus={config.cores}", f"--num-gpus={config.gpus}", "--disable-usage-stats",
        f"--object-store-memory={max(int(memory), MIN_OBJECT_STORE)}", "--min-worker-port=0", "--max-worker-port=0",
        "--dashboard-agent-listen-port=0", "--metrics-export-port=0", "--log-color=false",
        "--include-log-monitor=false",  # it sends what workers print to drivers, which do not want it
    ]  # fmt: skip


def free_port() -> int:
    """A port on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


def cluster_processes(cluster_id: str) -> Iterator[psutil.Process]:
    """All processes of this user that carry the id of a cluster in their environment, but for supervisors."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(ID_VARIABLE) == cluster_id:
                yield process


def kill_processes(list_processes: Callable[[], list[psutil.Process]]) -> None:
    """Kill processes, and what they start meanwhile, until none is left."""
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while (processes := list_processes()) and time.monotonic() < deadline:
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=1)


def finish(folder: Path, state: NodeState, cluster_id: str, reason: str) -> None:
    """Kill what is left of a node, keep its logs, remove its credentials and sessions, and record its end."""
    kill_processes(lambda: list(cluster_processes(cluster_id)))
    keep_logs(Path(state.temp_folder), folder / LOGS_FOLDER)
    shutil.rmtree(state.temp_folder, ignore_errors=True)
    for name in (TOKEN_FILE, CA_FILE, CERTIFICATE_FILE, KEY_FILE):
        (folder / name).unlink(missing_ok=True)
    state.phase, state.reason = "ended", reason
    state.write()


def keep_logs(temp_folder: Path, target: Path) -> None:
    """Copy the logs of all Ray processes of a node, without empty and overlong files."""
    for path in temp_folder.glob("session_2*/logs/*"):
        with suppress(OSError):  # a full disk: the node must end all the same
            if path.is_file() and 0 < path.stat().st_size <= MAX_LOG_BYTES:
                target.mkdir(mode=0o700, exist_ok=True)
                shutil.copyfile(path, target / path.name)


def last_lines(path: Path) -> str:
    """The end of a log, in one line."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-N_REASON_LINES:]) or "it printed nothing"


if __name__ == "__main__":
    Supervisor(Path(sys.argv[1])).run()
