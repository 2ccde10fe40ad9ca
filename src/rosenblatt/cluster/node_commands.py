"""What the controller runs on the machine of a node, by SSH: start, stop, report and renew; each prints JSON.

python -m rosenblatt.cluster.node_commands COMMAND NODE
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import psutil
from pydantic import BaseModel

from rosenblatt.cluster.node_process import STOP_TIMEOUT_S, cluster_processes, finish, last_lines
from rosenblatt.cluster.node_state import (
    CONFIG_FILE,
    LEASE_FILE,
    LOG_FILE,
    LOGS_FOLDER,
    SEARCHES_FOLDER,
    NodeConfig,
    NodeLogs,
    NodeReport,
    NodeState,
    RayMachine,
    read_state,
)
from rosenblatt.cluster.probe import Endpoint, require_ready
from rosenblatt.cluster.ray_state import list_ray_machines
from rosenblatt.cluster.security import TOKEN_FILE, Credentials
from rosenblatt.cluster.settings import ray_environment
from rosenblatt.errors import ClusterError
from rosenblatt.runs.store.locations import state_home
from rosenblatt.tuning.search_status import SearchStatus, read_searches

START_TIMEOUT_S = 120.0  # less than half of a lease: the head and then the other nodes start in it
POLL_INTERVAL_S = 0.1
CPU_SAMPLE_S = 0.3
_OWN_TITLES = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::SPILL", "ray::RESTORE")
MAX_LOG_TAIL = 20_000  # bytes of each log
KEEP_FOLDERS_S = 14 * 24 * 3600  # how long the logs of ended nodes are kept


class StartRequest(BaseModel):
    """A node to start: its configuration, and the files of its credentials, as base64."""

    config: NodeConfig
    files: dict[str, str]


def start(request: StartRequest) -> NodeState:
    """Make the folder of a node, start its supervisor detached, and wait until Ray runs or fails."""
    os.umask(0o077)
    folder = state_home() / "nodes" / request.config.node
    remove_old_folders(folder.parent)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:  # `stop` came first
        return read_state(folder)
    state = NodeState(folder=str(folder))
    state.write()
    for name, content in request.files.items():
        (folder / name).write_bytes(base64.b64decode(content))
    (folder / CONFIG_FILE).write_text(request.config.model_dump_json())
    (folder / LEASE_FILE).touch()
    if reason := explain_unreachable_head(request.config.head, folder):
        state.phase, state.reason = "ended", reason
        state.write()
        return state
    with (folder / LOG_FILE).open("ab") as log:
        supervisor = subprocess.Popen(  # noqa: S603 - this environment's own module
            [sys.executable, "-m", "rosenblatt.cluster.node_process", str(folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
        )  # fmt: skip
    deadline = time.monotonic() + START_TIMEOUT_S
    while state.phase == "starting" and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
        state = read_state(folder)
        if supervisor.poll() is not None and state.phase != "ended":
            state.phase, state.reason = "ended", f"its supervisor failed: {last_lines(folder / LOG_FILE)}"
    if state.phase == "starting":
        stop(folder)
        reason = f"Ray did not start within {START_TIMEOUT_S:g} s: {last_lines(folder / LOG_FILE)}"
        return state.model_copy(update={"phase": "ended", "reason": reason})
    return state


def explain_unreachable_head(head: str, folder: Path) -> str:
    """Why this machine does not reach the head of the cluster; "" if it does, or there is no head yet."""
    if not head:
        return ""
    try:
        require_ready(Endpoint.parse(head), Credentials.read(folder))
    except ClusterError as error:
        return str(error)
    return ""


def stop(folder: Path) -> NodeState:
    """End a node with all of its processes, also if its supervisor was killed; it can then not be started any more."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    deadline = time.monotonic() + 2 * STOP_TIMEOUT_S
    state = read_state(folder)
    while state.phase == "starting" and not state.supervisor and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)  # `start` is about to start it
        state = read_state(folder)
    if state.supervisor and state.supervisor.is_running():
        os.kill(state.supervisor.pid, signal.SIGTERM)
        while state.supervisor.is_running() and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_S)
        if state.supervisor.is_running():
            os.kill(state.supervisor.pid, signal.SIGKILL)
    if (folder / TOKEN_FILE).exists():  # its supervisor did not clean up
        finish(folder, state, folder.name.rpartition("-")[0], state.reason or "stopped")
    return read_state(folder)


def report(folder: Path) -> NodeReport:
    """Report what a node does, which may end meanwhile."""
    state = read_state(folder)
    if state.phase != "ended":
        with suppress(FileNotFoundError):  # of credentials and sessions, which a node removes at its end
            return _report_running(folder, state)
        state = read_state(folder)
        if state.phase == "ready":
            state.phase, state.reason = "ended", "it is about to end"
    logs = folder / LOGS_FOLDER
    return NodeReport(phase=state.phase, reason=state.reason, logs=str(logs if logs.exists() else folder))


def _report_running(folder: Path, state: NodeState) -> NodeReport:
    """Report what a node does that has not ended. Raises FileNotFoundError if it ends meanwhile."""
    view = view_cluster(folder, state)
    cluster_id = folder.name.rpartition("-")[0]
    processes = list(cluster_processes(cluster_id))
    used = _cpu_seconds(processes)
    time.sleep(CPU_SAMPLE_S)
    tasks, memory = [], 0
    for process in processes:
        with suppress(psutil.Error):
            memory += process.memory_info().rss
            title = " ".join(process.cmdline())
            if title.startswith("ray::") and not title.startswith(_OWN_TITLES):
                tasks.append(title.removeprefix("ray::").strip())
    return NodeReport(
        phase=state.phase,
        reason=view.reason,
        n_processes=len(processes),
        tasks=tuple(sorted(tasks)),
        cpu=(_cpu_seconds(processes) - used) / CPU_SAMPLE_S,
        memory=memory,
        free_disk=shutil.disk_usage(state.temp_folder).free,
        logs=f"{state.temp_folder}/session_latest/logs",
        ray_machines=view.ray_machines,
        searches=view.searches,
    )


class ClusterView(NamedTuple):
    """What a node sees of its cluster; machines and searches are only seen by the head."""

    reason: str = ""  # why the head cannot be used from here
    ray_machines: tuple[RayMachine, ...] = ()
    searches: tuple[SearchStatus, ...] = ()


def view_cluster(folder: Path, state: NodeState) -> ClusterView:
    """Look at the cluster from a node that runs."""
    cluster_id, _, number = folder.name.rpartition("-")
    reason = explain_unreachable_head(state.head, folder)
    if reason or not state.head or number != "0":
        return ClusterView(reason)
    os.environ.update(ray_environment(PurePosixPath(folder), cluster_id))
    try:
        return ClusterView("", list_ray_machines(state.head), read_searches(folder / SEARCHES_FOLDER))
    except ClusterError as error:
        return ClusterView(str(error))


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def renew(folder: Path) -> NodeState:
    """Renew the lease of a node."""
    (folder / LEASE_FILE).touch()
    return read_state(folder)


def logs(folder: Path) -> NodeLogs:
    """Read the ends of the logs of a node: what its training processes printed, and tracebacks."""
    state = read_state(folder)
    place = folder / LOGS_FOLDER if state.phase == "ended" else Path(state.temp_folder) / "session_latest" / "logs"
    files = {}
    for path in (folder / LOG_FILE, *sorted(place.glob("worker-*"))):
        with suppress(OSError), path.open("rb") as file:
            file.seek(max(path.stat().st_size - MAX_LOG_TAIL, 0))
            if text := file.read().decode(errors="replace").strip():
                files[path.name] = text
    return NodeLogs(files=files)


def remove_old_folders(parent: Path) -> None:
    """Remove the folders of nodes that ended long ago, with their logs."""
    for folder in parent.glob("*-*"):
        with suppress(OSError, ValueError):
            is_old = time.time() - folder.stat().st_mtime > KEEP_FOLDERS_S
            if is_old and read_state(folder).phase == "ended":
                shutil.rmtree(folder)


COMMANDS: dict[str, Callable[[Path], BaseModel]] = {"stop": stop, "report": report, "renew": renew, "logs": logs}

if __name__ == "__main__":
    if sys.argv[1] == "start":
        result: BaseModel = start(StartRequest.model_validate_json(sys.stdin.read()))
    else:
        result = COMMANDS[sys.argv[1]](state_home() / "nodes" / sys.argv[2])
    print(result.model_dump_json())
