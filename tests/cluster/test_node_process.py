"""The supervisor starts Ray with authentication and ports of its own, and nothing of the user's settings of Ray."""

from __future__ import annotations

import subprocess

from rosenblatt.cluster.node_process import cluster_processes, keep_logs, kill_processes, last_lines, ray_command
from rosenblatt.cluster.node_state import NodeConfig
from tests.waiting import wait_until


def make_config(**settings):
    return NodeConfig(cluster_id="c", name="here", number=0, address="10.0.0.1", cores=3, **settings)


def test_the_head_has_no_dashboard_and_no_fixed_port():
    command = ray_command(make_config(), "/tmp/rb-x")
    assert {"--head", "--port=0", "--include-dashboard=false", "--num-cpus=3", "--temp-dir=/tmp/rb-x"} <= set(command)
    assert ray_command(make_config(), "/tmp/rb-x") != command  # another port of the client server


def test_other_nodes_join_the_head():
    command = ray_command(make_config(head="10.0.0.9:77", gpus=2), "/tmp/rb-x")
    assert {"--address=10.0.0.9:77", "--num-gpus=2", "--block"} <= set(command)
    assert "--head" not in command


def test_processes_of_a_cluster_are_killed_by_its_id_wherever_they_are():
    script = "setsid sleep 60 & sleep 60; true"
    with (
        subprocess.Popen(["sh", "-c", script], env={"ROSENBLATT_CLUSTER": "kill-me"}),
        subprocess.Popen(["sleep", "60"], env={"ROSENBLATT_CLUSTER": "other"}) as other,
    ):
        wait_until(lambda: len(list(cluster_processes("kill-me"))) == 3)
        kill_processes(lambda: list(cluster_processes("kill-me")))
        left, is_other_running = list(cluster_processes("kill-me")), other.poll() is None
        other.kill()
    assert not left
    assert is_other_running


def test_logs_are_kept_but_for_empty_and_overlong_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("rosenblatt.cluster.node_process.MAX_LOG_BYTES", 10)
    logs = tmp_path / "session_2026" / "logs"
    logs.mkdir(parents=True)
    for name, text in {"a.out": "text", "b.out": "", "c.out": "x" * 11}.items():
        (logs / name).write_text(text)
    keep_logs(tmp_path, tmp_path / "kept")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["a.out"]


def test_the_end_of_a_log_is_one_line(tmp_path):
    (tmp_path / "log").write_text("a\n\nb\nc \nd\n")
    assert last_lines(tmp_path / "log") == "b | c | d"
