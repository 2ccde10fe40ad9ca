"""Records of clusters: which are abandoned, and what happens to those that cannot be read."""

from __future__ import annotations

import os
import time

import pytest

from rosenblatt.cluster.hosts import Host
from rosenblatt.cluster.node_state import NodeConfig, ProcessId
from rosenblatt.cluster.nodes import Node
from rosenblatt.cluster.record import ClusterRecord, add_record, list_records, records_folder

DEAD = ProcessId(pid=2**22 + 1, start="another boot:1")


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def make_record(name="lab", **fields):
    config = NodeConfig(cluster_id="c", name="lab1", number=0, address="10.0.0.1", cores=1)
    nodes = (Node(host=Host("lab1"), config=config, python="python3"),)
    return ClusterRecord(name=name, cluster_id="c", created=time.time(), nodes=nodes, **fields)


def test_a_cluster_is_abandoned_only_if_its_command_on_this_machine_was_killed():
    assert make_record(owner=DEAD).is_abandoned
    assert not make_record(owner=ProcessId.of(os.getpid())).is_abandoned
    assert not make_record(owner=DEAD, machine="another-login-node").is_abandoned  # with the same home
    assert not make_record().is_abandoned


def test_a_record_that_cannot_be_read_is_named_and_hides_no_other():
    add_record(make_record("a"))
    add_record(make_record("c"))
    (records_folder() / "b.json").write_text("{}")
    messages = []
    assert [record.name for record in list_records(messages.append)] == ["a", "c"]
    (message,) = messages
    assert "The record of the cluster 'b'" in message
