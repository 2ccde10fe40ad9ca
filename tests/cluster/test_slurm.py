"""Clusters in an allocation of Slurm: what is asked for, and a real run by submitit's executor for this machine."""

from __future__ import annotations

import json
import os
import subprocess
from types import SimpleNamespace

import pytest

from rosenblatt.cluster import slurm
from rosenblatt.cluster.slurm import SlurmRequest, _slurm_parameters, driver_connection, open_slurm, parse_slurm
from rosenblatt.cluster.slurm_node import SlurmHead, _reachable_address
from rosenblatt.errors import ClusterError
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.ray_workers import RayWorkers
from tests.cluster.slurm_daemons import slurm_daemons
from tests.tuning.work_items import make_items
from tests.waiting import wait_until

pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("submitit", reason="submitit is not installed")
DRIVER = """
import json, sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False)
deadline = time.monotonic() + 90
while time.monotonic() < deadline and sum(node["Alive"] for node in ray.nodes()) < 2:
    time.sleep(0.2)
print(json.dumps(ray.cluster_resources()))
"""


def test_a_partition_and_its_options_are_read():
    assert parse_slurm("slurm:cpu") == SlurmRequest("cpu")
    request = parse_slurm("slurm:gpu,nodes=4,minutes=240,cores=16,gpus=1,account=lab")
    assert request == SlurmRequest("gpu", nodes=4, minutes=240, cores=16, gpus=1, account="lab")


@pytest.mark.parametrize(
    ("on", "message"),
    [
        ("slurm:", "names no partition"),
        ("slurm:gpu,node=4", "'node=4' is no option of Slurm. Did you mean 'nodes'?"),
        ("slurm:gpu,nodes=0", "nodes must be a whole number above 0, but it is '0'"),
        ("slurm:gpu,nodes=four", "it is 'four'"),
        ("slurm:gpu,nodes", "'nodes' is no option"),
    ],
)
def test_mistakes_are_named(on, message):
    with pytest.raises(ClusterError) as error:
        parse_slurm(on)
    assert message in str(error.value)


def test_whole_nodes_are_asked_for_unless_cores_are_given():
    assert _slurm_parameters(SlurmRequest("cpu", account="lab")) == {
        "slurm_partition": "cpu",
        "slurm_additional_parameters": {"account": "lab", "exclusive": True},
    }
    parameters = _slurm_parameters(SlurmRequest("gpu", cores=8, gpus=2, constraint="a100"))
    assert parameters == {
        "slurm_partition": "gpu",
        "cpus_per_task": 8,
        "slurm_gpus_per_node": 2,
        "slurm_constraint": "a100",
        "slurm_additional_parameters": {},
    }


def test_submitit_writes_them_into_a_script_of_sbatch(tmp_path):
    from submitit.slurm.slurm import _make_sbatch_string

    names = {"slurm_": ""}
    parameters = {name.replace(*names.popitem()) if names else name.removeprefix("slurm_"): value for name, value in
                  _slurm_parameters(SlurmRequest("gpu", nodes=2, cores=8, gpus=1, account="lab")).items()}  # fmt: skip
    text = _make_sbatch_string("run", str(tmp_path), nodes=2, time=60, **parameters)
    for line in ("--partition=gpu", "--nodes=2", "--cpus-per-task=8", "--gpus-per-node=1", "--account=lab"):
        assert f"#SBATCH {line}" in text


def test_the_driver_runs_in_the_allocation_on_the_machine_of_the_head():
    head = SlurmHead(cluster_id="c", address="10.0.0.1:6379", host="node7", folder="/tmp/n")
    connection = driver_connection(SimpleNamespace(job_id="123"), head, "slurm")
    command = connection.command
    assert command[:6] == ("srun", "--jobid=123", "--nodelist=node7", "--nodes=1", "--ntasks=1", "--overlap")
    assert connection.environment["RAY_AUTH_TOKEN_PATH"] == "/tmp/n/token"
    assert command[-1] == "rosenblatt.tuning.ray_driver"


def test_without_slurm_the_error_says_where_to_run(monkeypatch):
    monkeypatch.setattr("rosenblatt.cluster.slurm.shutil.which", lambda _: None)
    with pytest.raises(ClusterError, match="login node"), open_slurm(SlurmRequest("cpu"), print):
        pass


def test_a_job_that_ends_before_its_head_is_up_names_its_error(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    job = SimpleNamespace(
        job_id="7", state="TIMEOUT", stderr=lambda: "x\ntime limit\n",
        cancel=lambda check: None,
    )  # fmt: skip
    monkeypatch.setattr(slurm, "_submit", lambda *_: job)
    with (
        pytest.raises(ClusterError, match=r"Slurm job 7 ended \(timeout\) before its head was up: time limit"),
        open_slurm(SlurmRequest("cpu"), print, "local"),
    ):
        pass
    assert not list((tmp_path / "rosenblatt" / "slurm").iterdir())


@pytest.mark.slow_cluster
def test_a_job_with_two_nodes_is_a_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    messages = []
    with open_slurm(SlurmRequest("here", nodes=2, cores=1), messages.append, "local") as connection:
        command = [*connection.command[:-2], "-c", DRIVER, connection.address]
        env = os.environ | connection.environment
        driver = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
        assert driver.stdout, driver.stderr
        assert json.loads(driver.stdout.splitlines()[-1])["CPU"] == 2.0
    assert "the head is up" in messages[-1]
    assert not list((tmp_path / "rosenblatt" / "slurm").iterdir())
    identity = next(word.partition("=")[2] for word in connection.command if word.startswith("ROSENBLATT_CLUSTER="))
    left = subprocess.run(["pgrep", "-f", identity], capture_output=True, check=False)
    assert left.returncode == 1


def test_a_machine_is_known_by_an_address_that_others_reach(monkeypatch):
    monkeypatch.setattr("rosenblatt.cluster.slurm_node.socket.gethostbyname", lambda _: "127.0.1.1")
    monkeypatch.setattr("rosenblatt.cluster.slurm_node.own_addresses", lambda: ["lab", "127.0.0.1", "::1", "10.0.0.7"])
    monkeypatch.delenv("SLURM_LAUNCH_NODE_IPADDR", raising=False)
    assert _reachable_address() == "10.0.0.7"
    monkeypatch.setattr("rosenblatt.cluster.slurm_node.socket.gethostbyname", lambda _: "10.0.0.8")
    assert _reachable_address() == "10.0.0.8"


@pytest.mark.slow_cluster
def test_slurm_itself_runs_a_cluster_of_two_nodes_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    messages, items = [], make_items(4)
    with slurm_daemons(tmp_path):
        with open_slurm(SlurmRequest("cpu", nodes=2), messages.append) as connection:
            workers = RayWorkers(connection, messages.append, lambda: WorkerPool(1))
            try:
                wait_until(lambda: len(workers.nodes) == 2, timeout=60, description="the second node")
                for item in items:
                    workers.submit(item)
                results = [workers.get(timeout=60) for _ in items]
            finally:
                workers.close()
        assert len({(result.trial, result.fold) for result in results}) == len(items)
        assert queued_jobs() == []
    assert "the head is up on rb1" in messages[1]
    assert not list((tmp_path / "rosenblatt" / "slurm").iterdir())


@pytest.mark.slow_cluster
def test_slurm_itself_refuses_a_partition_and_its_cancelled_job_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def cancel(message):
        if "waiting for them" in message:
            subprocess.run(["scancel", *queued_jobs()], check=True)

    with slurm_daemons(tmp_path):
        with (
            pytest.raises(ClusterError, match=r"did not accept the job: .*Invalid partition"),
            open_slurm(SlurmRequest("gpu"), print),
        ):
            pass
        with (
            pytest.raises(ClusterError, match=r"ended \(.*\) before its head was up"),
            open_slurm(SlurmRequest("cpu"), cancel),
        ):
            pass
        assert queued_jobs() == []


def queued_jobs():
    return subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True, check=True).stdout.split()
