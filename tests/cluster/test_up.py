"""A cluster is brought up as a whole or not at all, recorded, and taken down from its record."""

from __future__ import annotations

import stat
import sys
import threading

import pytest

from rosenblatt.cluster import up
from rosenblatt.cluster.checks import HostFacts, Machine
from rosenblatt.cluster.hosts import Host, read_hosts
from rosenblatt.cluster.node_process import cluster_processes
from rosenblatt.cluster.node_state import ProcessId
from rosenblatt.cluster.record import add_record, list_records, read_record, records_folder
from rosenblatt.cluster.up import UpOptions, bring_up, report_nodes, take_down, take_down_abandoned
from rosenblatt.errors import ClusterError

HERE = Host("here", cores=1, python=sys.executable)


@pytest.fixture
def messages():
    return []


def test_a_cluster_comes_up_is_recorded_and_goes_down(fake_ssh, fake_ray, hosts_file, messages):
    checks = []
    record = bring_up(read_hosts(hosts_file), UpOptions("lab"), messages.append, checks.extend)
    assert [check.host.name for check in checks] == ["here"]
    assert read_record("lab") == record
    assert record.head.startswith("127.0.0.1:")
    assert stat.S_IMODE((records_folder() / "lab.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(records_folder().stat().st_mode) == 0o700
    [report] = report_nodes(record)
    assert (report.phase, report.reason, report.n_processes) == ("ready", "", 2)
    with pytest.raises(ClusterError, match="There is a cluster 'lab' already"):
        bring_up([HERE], UpOptions("lab"), messages.append)
    assert report_nodes(record)[0].phase == "ready"

    assert take_down(record, messages.append)
    assert not list(cluster_processes(record.cluster_id))
    assert list_records() == []


def test_a_machine_that_fails_ends_it_all_unless_it_is_skipped(fake_ssh, fake_ray, messages):
    hosts = [Host("unreachable"), HERE]
    with pytest.raises(ClusterError) as error:
        bring_up(hosts, UpOptions("lab"), messages.append)
    assert str(error.value) == (
        "1 machine of 2 cannot be used (--skip-failed goes on without):\nunreachable: there is no route to it."
    )
    record = bring_up(hosts, UpOptions("lab", skip_failed=True), messages.append)
    assert messages[-1] == "Going on with 1 of 2 machines, without:\nunreachable: there is no route to it."
    assert [node.host for node in record.nodes] == [HERE]
    assert take_down(record, messages.append)


def test_machines_with_the_same_address_are_refused():
    machines = [Machine(host=Host(name), facts=make_facts()) for name in ("a", "b")]
    with pytest.raises(ClusterError, match=r"a and b have the same address 10\.0\.2\.15 in their own networks"):
        up._plan_nodes([(machine, "python") for machine in machines], UpOptions("lab"))


def make_facts():
    """Facts of a machine behind the address translation of a virtual machine."""
    return HostFacts(
        python=(3, 11, 0), executable="python3", implementation="CPython", system="Linux", machine="x86_64", cores=1,
        memory=2**34, shared_memory=2**30, free_disk={"/tmp": 2**34}, gpus=0, address="10.0.2.15", uv="",
    )  # fmt: skip


def test_nothing_is_left_of_a_cluster_whose_head_fails(fake_ssh, fake_ray, monkeypatch, messages):
    monkeypatch.setenv("FAKE_RAY", "fails")
    with pytest.raises(ClusterError, match="here: its node did not start: Ray ended: no port is free"):
        bring_up([HERE], UpOptions("lab"), messages.append)
    assert list_records() == []


def test_ctrl_c_in_the_middle_takes_down_what_was_started(fake_ssh, fake_ray, monkeypatch, messages):
    started = threading.Event()
    ids = []
    update = up.update_record

    def interrupt(record):
        if not started.is_set():
            started.set()
            ids.append(record.cluster_id)
            assert list(cluster_processes(record.cluster_id))
            raise KeyboardInterrupt
        update(record)

    monkeypatch.setattr(up, "update_record", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bring_up([HERE], UpOptions("lab"), messages.append)
    assert messages == ["Taking down the nodes of 'lab' that were started."]
    assert not list(cluster_processes(ids[0]))
    assert list_records() == []


def test_nodes_of_machines_that_are_gone_stay_in_the_record(fake_ssh, fake_ray, messages):
    record = bring_up([HERE], UpOptions("lab"), messages.append)
    gone = record.nodes[0].model_copy(update={"host": Host("unreachable")})
    record = record.model_copy(update={"nodes": (record.nodes[0], gone)})
    assert not take_down(record, messages.append)
    assert "1 node of 'lab' could not be ended; it stays in the record" in messages[-1]
    assert [node.host.name for node in read_record("lab").nodes] == ["unreachable"]


def test_clusters_of_killed_commands_are_taken_down_and_others_are_not(fake_ssh, fake_ray, messages):
    record = bring_up([HERE], UpOptions("mine", lease_s=300), messages.append)
    take_down_abandoned(messages.append)
    assert messages == []
    abandoned = record.model_copy(update={"name": "old", "owner": ProcessId(pid=1, start="before")})
    take_down(record, messages.append)
    add_record(abandoned)
    take_down_abandoned(messages.append)
    assert messages == ["Taking down 'old', whose command was killed."]
    assert list_records() == []


def test_unknown_and_damaged_records_are_explained():
    (records_folder() / "lab.json").write_text("{}")
    with pytest.raises(ClusterError, match=r"There is no cluster 'lob'. Did you mean 'lab'\?"):
        read_record("lob")
    with pytest.raises(ClusterError, match="cannot be read"):
        read_record("lab")
    with pytest.raises(ClusterError, match="cannot be the name of a cluster"):
        read_record("../lab")
    (records_folder() / "lab.json").unlink()
