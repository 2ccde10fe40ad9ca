"""What is known of a node is read back as it was written; processes are recognized by more than their number."""

from __future__ import annotations

import os
import subprocess

from rosenblatt.cluster.node_state import NodeState, ProcessId, read_state


def test_a_state_is_read_back_and_a_node_that_was_never_started_has_ended(tmp_path):
    assert read_state(tmp_path).reason == "it was not started"
    state = NodeState(folder=str(tmp_path), phase="ready", supervisor=ProcessId.of(os.getpid()), head="10.0.0.1:6379")
    state.write()
    assert read_state(tmp_path) == state


def test_a_node_has_ended_with_its_supervisor_on_this_machine_only(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as process:
        supervisor = ProcessId.of(process.pid)
        assert supervisor.is_running()
        process.kill()
    assert not supervisor.is_running()
    NodeState(folder=str(tmp_path), phase="ready", supervisor=supervisor).write()
    assert read_state(tmp_path).reason == "its supervisor was killed"
    NodeState(folder=str(tmp_path), phase="ready", supervisor=supervisor, machine="another").write()
    assert read_state(tmp_path).phase == "ready"


def test_another_process_of_the_same_number_is_not_taken_for_it():
    this = ProcessId.of(os.getpid())
    assert this.is_running()
    assert not ProcessId(pid=this.pid, start="another boot:1").is_running()
