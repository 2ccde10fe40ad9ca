"""A command opens a cluster by a hosts file, a name or an address, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from rosenblatt.cluster.hosts import read_hosts
from rosenblatt.cluster.node_process import cluster_processes
from rosenblatt.cluster.open import open_cluster
from rosenblatt.cluster.record import list_records, read_record
from rosenblatt.cluster.security import CA_FILE, CERTIFICATE_FILE, KEY_FILE, TOKEN_FILE, CertificateAuthority
from rosenblatt.cluster.up import UpOptions, bring_up, take_down
from rosenblatt.errors import ClusterError
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.ray_workers import RayWorkers
from tests.cluster.heads import serve_head
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
        assert connection.address == record.head
        assert connection.environment["RAY_AUTH_TOKEN_PATH"] == f"{record.nodes[0].folder}/token"
        assert connection.command[0] == "ssh"
    assert list_records() == []
    assert not list(cluster_processes(record.cluster_id))


def test_a_cluster_that_is_up_stays_up(fake_ssh, fake_ray, hosts_file):
    record = bring_up(read_hosts(hosts_file), UpOptions("lab"), print)
    with open_cluster("lab", print) as connection:
        assert connection.name == "lab"
    assert read_record("lab") == record
    token = Path(record.nodes[0].folder) / TOKEN_FILE
    right = token.read_text()
    token.write_text("0" * 64)
    with pytest.raises(ClusterError, match="does not accept the token"), open_cluster("lab", print):
        pass
    token.write_text(right)
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


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Credentials of a cluster that was started otherwise, as Ray reads them from the environment."""
    credentials = CertificateAuthority("other").issue(["127.0.0.1"])
    for name, content in credentials.files().items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    names = {"RAY_AUTH_TOKEN_PATH": TOKEN_FILE, "RAY_TLS_CA_CERT": CA_FILE}
    names |= {"RAY_TLS_SERVER_CERT": CERTIFICATE_FILE, "RAY_TLS_SERVER_KEY": KEY_FILE}
    for variable, name in names.items():
        monkeypatch.setenv(variable, str(tmp_path / name))
    return credentials


def open_client(port, messages):
    with open_cluster(f"ray://127.0.0.1:{port}", messages.append) as connection:
        return connection


def test_an_address_is_probed_with_the_credentials_of_the_environment(client, monkeypatch):
    messages = []
    server, port = serve_head(client.token, (client.ca, client.certificate, client.key))
    with pytest.raises(ClusterError, match=f"127.0.0.1:{port}, uses TLS. Set RAY_USE_TLS=1"):
        open_client(port, messages)
    monkeypatch.setenv("RAY_USE_TLS", "1")
    connection = open_client(port, messages)
    assert connection.address == f"ray://127.0.0.1:{port}"
    assert connection.environment["RAY_AUTH_MODE"] == "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(ClusterError, match="does not accept the token"):
        open_client(port, messages)
    server.stop(0).wait()
    with pytest.raises(ClusterError, match="refuses the connection"):
        open_client(port, messages)
    monkeypatch.setenv("RAY_TLS_CA_CERT", "/absent")
    with pytest.raises(ClusterError, match="the file of RAY_TLS_CA_CERT cannot be read: No such file"):
        open_client(port, messages)
    assert messages == []


def test_an_address_without_encryption_is_named_once_unless_it_is_of_this_machine(client, monkeypatch):
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    server, port = serve_head(client.token, None)
    messages = []
    open_client(port, messages)
    assert messages == []
    monkeypatch.setattr("rosenblatt.cluster.open.LOOPBACK", ())
    open_client(port, messages)
    assert len(messages) == 1
    assert "the connection is not encrypted" in messages[0]
    server.stop(0)
