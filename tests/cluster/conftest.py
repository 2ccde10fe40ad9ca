"""Fixtures for tests of clusters: stores of each kind, a state folder, stand-ins for `ssh` and Ray on this machine."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from rosenblatt.cluster.node_process import cluster_processes
from rosenblatt.cluster.record import list_records
from tests.runs.conftest import server, sqlite, store, url

# Nodes run on Linux, and need the packages of the extra `cluster`, which `make check` does not install
if sys.platform != "linux" or not (find_spec("ray") and find_spec("cryptography")):
    names = "checks environment faults machines node_commands node_process open probe script"
    names += " script_process security ssh tune up wheel"
    collect_ignore = [f"test_{name}.py" for name in names.split()]

__all__ = ["server", "sqlite", "store", "url"]

# It runs the command here, except for a machine whose name says why it cannot be reached.
SSH = """#!/bin/sh
for command; do :; done
case "$*" in
*"-O exit"*) exit 0 ;;
*unreachable*) echo "ssh: connect to host unreachable port 22: No route to host" >&2; exit 255 ;;
*stranger*) echo "Host key verification failed." >&2; exit 255 ;;
esac
exec sh -c "$command"
"""

# Like `ray start --block`: it serves calls, writes its address, starts a process that leaves its session, and waits.
RAY = """
import os, subprocess, sys, time
from tests.cluster.heads import serve_head
folder = next(word.split("=")[1] for word in sys.argv if word.startswith("--temp-dir="))
os.makedirs(f"{folder}/session_2026/logs", exist_ok=True)
open(f"{folder}/session_2026/logs/raylet.out", "w").write("raylet log\\n")
subprocess.Popen(["sleep", "100"], start_new_session=True)
if os.environ.get("FAKE_RAY") == "fails":
    sys.exit("no port is free")
token, ca, certificate, key = (
    open(os.environ[name]).read()
    for name in ("RAY_AUTH_TOKEN_PATH", "RAY_TLS_CA_CERT", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY")
)
server, port = serve_head(token, (ca.encode(), certificate.encode(), key.encode()))
open(f"{folder}/ray_current_cluster", "w").write(f"127.0.0.1:{port}")
time.sleep(100)
"""


# Ray's head as it is asked by others: it knows the machine of the node, and another one that was lost
RAYLET = """
import json, os, pathlib
from types import SimpleNamespace as Reply
class Id(str):
    binary = str.encode
class GcsClient:
    def __init__(self, address):
        assert address.startswith("127.0.0.1:")
    def get_all_resource_usage(self, timeout):
        usage = Reply(node_id=b"here", resources_available={"CPU": 0.0})
        return Reply(resource_usage_data=Reply(batch=[usage]))
    def get_all_node_info(self, timeout):
        config = json.loads(pathlib.Path(os.environ["RAY_AUTH_TOKEN_PATH"]).with_name("config.json").read_text())
        here = dict(node_manager_address=config["address"], resources_total={"CPU": 1.0}, ALIVE=0)
        return {Id("old"): Reply(state=1, **here), Id("here"): Reply(state=0, **here),
                Id("lost"): Reply(state=1, **here | {"node_manager_address": "10.0.0.9"})}
"""


@pytest.fixture(autouse=True)
def state_home(tmp_path, monkeypatch) -> Path:
    """A folder of records and nodes of its own; nothing may run at the end that a record names."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path / "state" / "rosenblatt"
    for record in list_records():
        for process in cluster_processes(record.cluster_id):
            process.kill()
            pytest.fail(f"{process} was left behind")


@pytest.fixture
def fake_ssh(tmp_path, monkeypatch) -> Path:
    """`ssh` runs commands on this machine; returns the folder that is first on its PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(SSH)
    (folder / "ssh").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def fake_ray(tmp_path, monkeypatch) -> None:
    """Nodes that are started on this machine run a stand-in for Ray."""
    scripts = tmp_path / "modules" / "ray" / "scripts"
    scripts.mkdir(parents=True)
    for folder in (scripts, scripts.parent):
        (folder / "__init__.py").touch()
    (scripts / "scripts.py").write_text(RAY)
    (scripts.parent / "_raylet.py").write_text(RAYLET)
    folders = [str(scripts.parents[1]), os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[2])]
    path = os.pathsep.join(folder for folder in folders if folder)
    monkeypatch.setenv("PYTHONPATH", path)


@pytest.fixture
def hosts_file(tmp_path) -> Path:
    """A hosts file of one machine, this one, with the Python of these tests."""
    path = tmp_path / "hosts.txt"
    path.write_text(f"here cores=1 python={sys.executable}\n")
    return path
