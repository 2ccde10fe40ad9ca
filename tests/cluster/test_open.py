"""A command opens a cluster by a hosts file, a name or an address, and leaves nothing behind."""

from __future__ import annotations

import pytest

from rosenblatt.cluster.hosts import read_hosts
from rosenblatt.cluster.node_process import cluster_processes
from rosenblatt.cluster.open import open_cluster
from rosenblatt.cluster.record import list_records, read_record
from rosenblatt.cluster.up import UpOptions, bring_up, take_down
from rosenblatt.errors import ClusterError
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.ray_workers import RayWorkers
from tests.cluster.machines import assert_idle, machines, write_hosts
from tests.tuning.work_items import make_items


@pytest.mark.slow
def test_a_hosts_file_is_a_cluster_for_one_command(tmp_path):
    messages = []
    with machines(2) as rig:
        with open_cluster(str(write_hosts(tmp_path, rig)), messages.append) as connection:
            workers = RayWorkers(connection, messages.append, lambda: WorkerPool(1))
            try:
                assert workers.threads == 2
                for item in (items := make_items(4)):
                    workers.submit(item)
                results = [workers.get(timeout=60) for _ in items]
            finally:
                workers.close()
        assert_idle(*rig)
    assert len({(result.trial, result.fold) for result in results}) == len(items)
    assert list_records() == []


def test_a_hosts_file_on_one_machine_ends_with_its_command(fake_ssh, fake_ray, hosts_file):
    with open_cluster(str(hosts_file), print) as connection:
        [record] = list_records()
        assert record.owner.is_running()
        assert connection.name == record.name
        assert connection.address == "127.0.0.1:6379"
        assert connection.environment["RAY_AUTH_TOKEN_PATH"] == f"{record.nodes[0].folder}/token"
        assert connection.command[0] == "ssh"
    assert list_records() == []
    assert not list(cluster_processes(record.cluster_id))


def test_a_cluster_that_is_up_stays_up(fake_ssh, fake_ray, hosts_file):
    record = bring_up(read_hosts(hosts_file), UpOptions("lab"), print)
    with open_cluster("lab", print) as connection:
        assert connection.name == "lab"
    assert read_record("lab") == record
    for process in cluster_processes(record.cluster_id):
        process.kill()
    take_down(record.model_copy(update={"name": "other"}), print)
    with pytest.raises(ClusterError, match="The head of the cluster 'lab' does not run"), open_cluster("lab", print):
        pass
    assert take_down(record, print)


def test_what_is_no_cluster_is_refused(tmp_path, monkeypatch):
    for on, message in {
        "lab": "There is no cluster 'lab'",
        str(tmp_path / "hosts.txt"): "There is no hosts file",
        "hosts.txt": "There is no hosts file",
    }.items():
        with pytest.raises(ClusterError, match=message), open_cluster(on, print):
            pass


def test_an_address_needs_a_token(monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ClusterError, match="no token is set"), open_cluster("ray://head:10001", print):
        pass
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with open_cluster("ray://head:10001", print) as connection:
        assert connection.address == "ray://head:10001"
        assert connection.environment["RAY_AUTH_MODE"] == "token"
