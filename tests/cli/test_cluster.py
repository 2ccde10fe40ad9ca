"""The commands on clusters print what they do, and end with a status that scripts can use."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from rosenblatt.cli.exit_status import ExitStatus
from rosenblatt.cli.main import cli
from rosenblatt.cluster.node_state import SEARCHES_FOLDER
from rosenblatt.cluster.record import read_record
from rosenblatt.errors import ClusterError
from rosenblatt.tuning.search_status import MachineWork, SearchStatus
from tests.cluster.conftest import fake_ray, fake_ssh, hosts_file, state_home  # noqa: F401 - fixtures

pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nodes run on Linux")


def run(*arguments, status=0):
    result = CliRunner().invoke(cli, ["cluster", *map(str, arguments)], obj=ExitStatus())
    if result.exception and not isinstance(result.exception, ClusterError | SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.stdout if not isinstance(result.exception, ClusterError) else str(result.exception)


def test_up_status_and_down(fake_ssh, fake_ray, hosts_file):  # noqa: F811
    output = run("up", hosts_file, "--name", "lab")
    assert "here     ok" in output
    assert "'lab' is up: 1 machine, 1 core." in output
    assert "lab" in run("status")
    status = run("status", "lab")
    assert "ready" in status
    assert "idle" in status
    assert "logs: here:/tmp/rb-" in status
    description = json.loads(run("status", "lab", "--json"))
    assert description["head"].startswith("127.0.0.1:")
    assert [node["phase"] for node in description["nodes"]] == ["ready"]
    assert [machine["is_alive"] for machine in description["ray_machines"]] == [True, False]
    assert description["searches"] == []
    [node] = read_record("lab").nodes
    folder = Path(node.folder) / SEARCHES_FOLDER
    folder.mkdir()
    work = [MachineWork(address=node.config.address, threads=1, trials=(3, 7))]
    search = SearchStatus(controller="ann@desk, process 5: rosenblatt fit", started=time.time(), machines=work)
    (folder / "5.json").write_text(search.model_dump_json())
    status = run("status", "lab")
    assert "alive" in status
    assert "1 of 1" in status
    assert "trains trials 3 and 7" in status
    assert "search for 0 min by ann@desk, process 5: rosenblatt fit\n" in status
    assert json.loads(run("status", "lab", "--json"))["searches"] == [search.model_dump(mode="json")]
    worker_logs = Path(status.rpartition("logs: here:")[2].strip())
    worker_logs.parent.mkdir()
    worker_logs.symlink_to("../session_2026/logs")
    (worker_logs / "worker-1.err").write_text("Traceback\x1b[2J\n")
    assert "==> here: worker-1.err\nTraceback\\x1b[2J\n" in run("logs", "lab", "--machine", "here")
    assert "has no machine 'there'. It has 'here'" in run("logs", "lab", "--machine", "there", status=1)
    assert run("down", "lab") == "'lab' is down.\n"
    assert "No cluster is up" in run("status")
    assert json.loads(run("status", "--json")) == []


def test_errors_are_sentences(fake_ssh, hosts_file):  # noqa: F811
    assert "There is no cluster 'lab'. None is up." in run("status", "lab", status=1)
    hosts_file.write_text("unreachable\n")
    assert run("up", hosts_file, status=1) == "No machine can be used:\nunreachable: there is no route to it."
    assert run("down", status=2) == ""


def test_requirements_are_for_pip():
    assert all("==" in line for line in run("requirements").splitlines())


def test_help_teaches():
    text = run("--help")
    assert "hosts.txt --name lab" in text
    assert "python=/opt/ml/bin/python" in text


def test_a_manifest_is_printed_with_the_same_authority_each_time(tmp_path):
    yaml = pytest.importorskip("yaml", reason="Ray is not installed")
    path = tmp_path / "pods.yaml"
    path.write_text("provider: kubernetes\nimage: i\ncores: 4\nmemory_gb: 16\nmax_machines: 3\n")
    output = run("manifest", path)
    secret, cluster = yaml.safe_load_all(output)
    assert (secret["kind"], cluster["kind"]) == ("Secret", "RayCluster")
    assert run("manifest", path) == output


def test_the_file_of_ray_up_is_printed(tmp_path):
    yaml = pytest.importorskip("yaml", reason="Ray is not installed")
    path = tmp_path / "cluster.yaml"
    path.write_text("provider: aws\nregion: r\nmachine: m8\ncores: 8\nmax_machines: 10\n")
    assert yaml.safe_load(run("manifest", path))["provider"]["type"] == "aws"
    path.write_text(path.read_text() + "machin: m4\n")
    assert "line 6: machin is no setting" in run("manifest", path, status=1)


def test_machines_of_a_cloud_start_only_if_confirmed(tmp_path, monkeypatch):
    pytest.importorskip("yaml", reason="Ray is not installed")
    monkeypatch.setattr("rosenblatt.cluster.clouds.check_launcher", lambda _: None)
    path = tmp_path / "cluster.yaml"
    path.write_text("provider: aws\nregion: r\nmachine: m8\ncores: 8\nmax_machines: 10\n")
    message = run("up", path, status=1)
    assert "The cost is not known; give price_per_hour" in message
    assert "Confirm it on a terminal, or with" in message
