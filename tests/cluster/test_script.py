"""A script runs on a machine as it does here: output, exit status, Ctrl-C, and a run in the store of this machine."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from rosenblatt.cluster import script as script_module
from rosenblatt.cluster.hosts import Host
from rosenblatt.cluster.script import run_script
from rosenblatt.cluster.script_process import RECORDS_FILE
from rosenblatt.errors import ClusterError, StoreError
from rosenblatt.runs.launch import LaunchRequest
from rosenblatt.runs.store import queries
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.locations import store_url
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.spool import format_batch
from rosenblatt.tuning.start_marker import START_MARKER
from tests.cluster.machines import assert_idle, machines, write_hosts
from tests.waiting import wait_until

SCRIPT = """
import sys, pathlib, rosenblatt
import helper
with rosenblatt.track() as run:
    for step in range(3):
        run.log({"loss": 1 / (step + 1)}, step=step)
    run.log_bytes("notes.txt", b"from there")
print("lr", sys.argv[2], helper.NAME)
if "write" in sys.argv:
    pathlib.Path("extra.txt").write_text("x")
sys.exit(3)
"""
WAITING_SCRIPT = """
import os, subprocess, sys, time, pathlib
null = subprocess.DEVNULL
child = subprocess.Popen(["sleep", "1000"], start_new_session=True, stdout=null, stderr=null)
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {child.pid}")
print("waiting", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text(SCRIPT)
    (folder / "helper.py").write_text("NAME = 'helper'")
    (folder / "wait.py").write_text(WAITING_SCRIPT)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def _list_runs(name: str) -> tuple[Store, list]:
    store = Store(store_url(name), create=False)
    return store, queries.find_runs(store, "", sort="started")


def test_a_script_runs_there_and_is_recorded_here_and_what_else_it_wrote_stays(
    fake_ssh, hosts_file, project, tmp_path, capfd
):
    messages = []
    request = LaunchRequest("train.py", ("--lr", "0.1", "write"), experiment="remote", tags={"who": "ana"})
    assert run_script(request, str(hosts_file), "st", messages.append) == 3
    assert "lr 0.1 helper" in capfd.readouterr().out
    store, [record] = _list_runs("st")
    details = queries.run_details(store, record.id)
    assert (record.experiment, record.state, record.kind) == ("remote", "failed", "script")
    assert details.host == "here"
    assert details.exit_status == 3
    assert list(queries.load_all_curves(store, record.id)["loss"].values) == [1, 1 / 2, 1 / 3]
    Artifacts(store.url, store).fetch(details.artifacts["notes.txt"].hash, "", tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "from there"
    store.close()
    assert "here: sending 3 files of" in messages[0]
    [folder] = (tmp_path / "cache/rosenblatt/scripts").iterdir()
    assert (folder / "source/extra.txt").exists()
    assert (
        f"1 file that the script wrote, recorded or not: 'extra.txt'. They stay in here:{folder}/source" in messages[-1]
    )


def _start(hosts: Path, place: Path) -> subprocess.Popen:
    arguments = ["run", "--on", str(hosts), "--store", "st", "wait.py", str(place)]
    return subprocess.Popen([sys.executable, "-m", "rosenblatt", *arguments], stdout=subprocess.PIPE, text=True)


def _wait_until_gone(pids: list[int]) -> None:
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), timeout=60)


def test_ctrl_c_ends_the_script_and_all_that_it_started(fake_ssh, hosts_file, project, tmp_path):
    process = _start(hosts_file, tmp_path / "pids")
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 128 + signal.SIGINT
    process.stdout.close()
    _wait_until_gone([int(pid) for pid in (tmp_path / "pids").read_text().split()])
    store, [record] = _list_runs("st")
    store.close()
    assert record.state == "stopped"
    assert list((tmp_path / "cache/rosenblatt/scripts").iterdir()) == []


@pytest.mark.parametrize("on", ["ray://head:10001", "slurm:cpu", "cluster.yaml"])
def test_other_kinds_of_clusters_are_refused(on, fake_ssh, project):
    with pytest.raises(ClusterError, match="takes machines that SSH reaches"):
        run_script(LaunchRequest("train.py", ()), on, "none", print)


def test_what_cannot_be_sent_or_reached_is_refused(fake_ssh, project, tmp_path):
    with pytest.raises(ClusterError, match=r"There is no script 'trian\.py'\. Did you mean 'train\.py'"):
        run_script(LaunchRequest("trian.py", ()), "lab", "none", print)
    (tmp_path / "other.py").touch()
    with pytest.raises(ClusterError, match="is outside of"):
        run_script(LaunchRequest("../other.py", ()), "lab", "none", print)
    with pytest.raises(ClusterError, match=r"There is no hosts file 'none\.txt'"):
        run_script(LaunchRequest("train.py", ()), "none.txt", "none", print)
    (tmp_path / "hosts.txt").write_text("unreachable\n")
    with pytest.raises(ClusterError, match="unreachable: there is no route to it"):
        run_script(LaunchRequest("train.py", ()), str(tmp_path / "hosts.txt"), "none", print)


def test_a_script_runs_on_the_machine_that_is_named(fake_ssh, project, tmp_path, capfd):
    hosts = tmp_path / "hosts.txt"
    hosts.write_text(f"unreachable\nann@lab2:2222 python={sys.executable}\n")
    messages = []
    with pytest.raises(ClusterError, match=r"There is no machine 'lab2' in .*hosts\.txt'\. Did you mean 'lab2:2222'"):
        run_script(LaunchRequest("train.py", ()), f"{hosts}:lab2", "none", print)
    assert run_script(LaunchRequest("train.py", ("--lr", "1")), f"{hosts}:lab2:2222", "none", messages.append) == 3
    assert messages[0].startswith("lab2:2222: sending")
    assert "lr 1 helper" in capfd.readouterr().out


def _archive(name: str, content: bytes) -> tarfile.TarFile:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    file.seek(0)
    return tarfile.open(fileobj=file, mode="r|")


def test_a_machine_cannot_change_other_runs(tmp_path, project):
    url = store_url("st")
    tag = {"run": "another", "name": "a", "value": "b"}
    with pytest.raises(StoreError, match="records of other runs"):
        script_module._read_export(_archive(RECORDS_FILE, format_batch({"tags": [tag]})), url, Host("lab"))
    with pytest.raises(StoreError, match="it is no batch of records"):
        script_module._read_export(_archive(RECORDS_FILE, b"[]\n"), url, Host("lab"))


def test_a_damaged_export_is_one_sentence(fake_ssh, project, tmp_path):
    place = script_module._Place(Host("lab"), "false", str(tmp_path))
    with pytest.raises(ClusterError, match=r"lab: what was recorded cannot be read \(it printed nothing\)"):
        script_module._bring_back(place, None)
    (tmp_path / "written.json").write_text("[]")
    program = tmp_path / "ends_after_a_file"
    program.write_text(f"#!/bin/sh\necho {START_MARKER}\ntar -c -C {tmp_path} written.json\nexit 1")
    program.chmod(0o700)
    with pytest.raises(ClusterError, match="exit status 1"):
        script_module._bring_back(script_module._Place(Host("lab"), str(program), str(tmp_path)), None)


def test_files_stay_if_it_is_not_known_which_were_written():
    assert "is not known" in script_module._describe_written(None)


@pytest.mark.slow_cluster
def test_a_script_on_a_machine_that_is_cut_off_ends_and_what_it_recorded_comes_back(project, tmp_path, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_STORE", str(project / "st"))
    with machines(2) as rig:
        process = _start(write_hosts(tmp_path, rig), Path("/tmp/pids"))
        assert process.stdout.readline() == "waiting\n"
        rig[0].cut()
        wait_until(lambda: not rig[0].processes("wait.py"), timeout=150, description="the end of the script")
        rig[0].mend()
        assert process.wait(120) == 128 + signal.SIGTERM
        process.stdout.close()
        wait_until(lambda: not rig[0].processes("script_process"), timeout=30)
        assert_idle(*rig)
    store, [record] = _list_runs("st")
    host = queries.run_details(store, record.id).host
    store.close()
    assert (record.state, host) == ("stopped", rig[0].address)
