"""A node is started detached, reports, and ends with all of its processes, whatever happened to its supervisor."""

from __future__ import annotations

import base64
import os
import signal
import stat
import time
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest

from rosenblatt.cluster import node_commands, node_process
from rosenblatt.cluster.node_commands import StartRequest, report, start, stop
from rosenblatt.cluster.node_process import cluster_processes
from rosenblatt.cluster.node_state import NodeConfig, NodeState, ProcessId, read_state
from rosenblatt.cluster.security import CertificateAuthority
from tests.waiting import wait_until

# `start` leaves the supervisor to itself
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
CLUSTER = f"test{os.getpid()}"


def make_request(**settings):
    files = CertificateAuthority("lab").issue(["127.0.0.1"]).files()
    encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
    config = NodeConfig(cluster_id=CLUSTER, name="here", number=0, address="127.0.0.1", cores=1, **settings)
    return StartRequest(config=config, files=encoded)


@pytest.fixture
def start_node(fake_ray):
    """Start a node; what is left of it at the end is killed."""
    umask = os.umask(0o077)  # which `start` sets, as a process of its own
    with patch.dict(os.environ):  # `report` sets the variables of Ray, for the same reason
        yield lambda **settings: start(make_request(**settings))
    os.umask(umask)
    for process in cluster_processes(CLUSTER):
        process.kill()


def test_a_node_runs_detached_in_a_private_folder_until_it_is_stopped(start_node):
    state = start_node()
    folder = Path(state.folder)
    assert (state.phase, state.head.rpartition(":")[0]) == ("ready", "127.0.0.1")
    assert os.getsid(state.supervisor.pid) == state.supervisor.pid
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert len(list(cluster_processes(CLUSTER))) == 2
    assert report(folder).n_processes == 2

    ended = stop(folder)
    assert (ended.phase, ended.reason) == ("ended", "stopped by SIGTERM")
    assert not list(cluster_processes(CLUSTER))
    assert not state.supervisor.is_running()
    assert not Path(state.temp_folder).exists()
    assert not (folder / "token").exists()
    assert (folder / "logs" / "raylet.out").read_text() == "raylet log\n"
    assert stop(folder).phase == report(folder).phase == "ended"


def test_a_killed_supervisor_leaves_nothing_that_stop_does_not_end(start_node):
    state = start_node()
    os.kill(state.supervisor.pid, signal.SIGKILL)
    wait_until(lambda: not state.supervisor.is_running())
    assert report(Path(state.folder)).reason == "its supervisor was killed"
    assert len(list(cluster_processes(CLUSTER))) == 2
    assert stop(Path(state.folder)).phase == "ended"
    assert not list(cluster_processes(CLUSTER))


def test_a_reused_process_number_is_not_killed(start_node):
    state = start_node()
    os.kill(state.supervisor.pid, signal.SIGKILL)
    wait_until(lambda: not state.supervisor.is_running())
    with psutil.Popen(["sleep", "60"]) as other:
        state.supervisor = ProcessId(pid=other.pid, start=state.supervisor.start)
        state.write()
        stop(Path(state.folder))
        is_running = other.is_running()
        other.kill()
    assert is_running


def test_a_node_ends_when_its_lease_is_not_renewed(start_node):
    state = start_node(lease_s=2)
    folder = Path(state.folder)
    wait_until(lambda: read_state(folder).phase == "ended")
    assert read_state(folder).reason == "no sign of life of the controller for 2 s"
    assert not list(cluster_processes(CLUSTER))


def test_a_lease_does_not_depend_on_clocks(start_node):
    state = start_node(lease_s=300)
    folder = Path(state.folder)
    os.utime(folder / "lease", (time.time() - 3600,) * 2)
    time.sleep(5 * node_process.POLL_INTERVAL_S)
    assert read_state(folder).phase == "ready"
    os.utime(folder / "lease", ns=(node_process.ENDED_LEASE,) * 2)
    wait_until(lambda: read_state(folder).phase == "ended")


def test_a_node_whose_ray_fails_says_what_it_printed(start_node, monkeypatch):
    monkeypatch.setenv("FAKE_RAY", "fails")
    state = start_node()
    assert state.phase == "ended"
    assert state.reason == "Ray ended: no port is free | no port is free | no port is free"  # it was tried three times
    assert not list(cluster_processes(CLUSTER))


def test_a_node_that_was_stopped_before_it_was_started_does_not_start(start_node, state_home):
    folder = state_home / "nodes" / f"{CLUSTER}-0"
    assert stop(folder).reason == "it was not started"
    assert start_node().phase == "ended"
    assert not list(cluster_processes(CLUSTER))


def test_a_node_that_does_not_reach_the_head_is_not_started(start_node):
    state = start_node(head="127.0.0.1:1")
    assert state.phase == "ended"
    assert "The head of the cluster, 127.0.0.1:1, refuses the connection" in state.reason


def test_folders_of_nodes_that_ended_long_ago_are_removed(state_home, monkeypatch):
    folder = state_home / "nodes" / "old-0"
    stop(folder)
    node_commands.remove_old_folders(folder.parent)
    assert folder.exists()
    monkeypatch.setattr(node_commands, "KEEP_FOLDERS_S", -1)
    node_commands.remove_old_folders(folder.parent)
    assert not folder.exists()


def test_a_node_ends_when_its_lease_is_removed(start_node):
    state = start_node(lease_s=300.0)
    folder = Path(state.folder)
    (folder / "lease").unlink()
    wait_until(lambda: read_state(folder).phase == "ended", description="the node to end")
    assert not list(cluster_processes(CLUSTER))


def test_the_folder_of_a_node_of_another_machine_is_kept_though_its_process_does_not_run_here(tmp_path):
    folder = tmp_path / "abc-0"
    folder.mkdir()
    process = ProcessId(pid=2**22 + 1, start="another boot:1")
    NodeState(folder=str(folder), phase="ready", supervisor=process, machine="lab7").write()
    os.utime(folder, (0, 0))
    node_commands.remove_old_folders(tmp_path)
    assert read_state(folder).phase == "ready"


def test_a_node_that_ends_while_it_reports_has_ended(tmp_path):
    folder = tmp_path / "abc-0"
    folder.mkdir()
    NodeState(folder=str(folder), phase="ready", head="127.0.0.1:1", temp_folder=str(tmp_path / "removed")).write()
    assert (report(folder).phase, report(folder).reason) == ("ended", "it is about to end")
    NodeState(folder=str(folder), phase="starting").write()
    assert report(folder).phase == "starting"
