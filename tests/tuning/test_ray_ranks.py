"""Networks that are trained by several machines of a cluster together."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from rosenblatt.training.population import train
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning import network_training
from rosenblatt.tuning.attempts import Attempt, PackedItem
from rosenblatt.tuning.network_training import NetworkTraining
from rosenblatt.tuning.ray_connection import Message, RayConnection, read_report
from rosenblatt.tuning.ray_dispatch import Node
from rosenblatt.tuning.ray_ranks import MAX_FAILED_MEETINGS, RankDriver, _Group
from rosenblatt.tuning.ray_workers import RayWorkers
from tests.training.media import make_member, make_rows
from tests.waiting import wait_until

pytestmark = pytest.mark.torch

LOCAL_RAY = Path(__file__).with_name("local_ray.py")
PREPARED = SimpleNamespace(encoder=lambda _: None, target=lambda _: None)  # machines do not need them
SETTINGS = {"optimizer": "momentum", "epochs": 3}


class RankCluster:
    """Machines that are threads of their driver, and train each network together."""

    def __init__(self, folder, **nodes):
        self._file, self.messages = folder / "nodes.json", []
        self.set(**nodes)

    def set(self, **nodes):
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(nodes))
        temporary.replace(self._file)

    def train(self, members, rows, n_nodes):
        """Train members; yield their records."""
        command = sys.executable, str(LOCAL_RAY)
        connection = RayConnection("test", command, {"LOCAL_RAY_NODES": str(self._file)})

        def make_workers(_threads):
            self.workers = RayWorkers(
                connection, self.messages.append, lambda: WorkerPool(1), nodes_per_network=n_nodes
            )
            return self.workers

        return NetworkTraining(make_workers, PREPARED).train(members, rows)


def make_members(rows, media, n, **settings):
    return [make_member("cnn", seed, rows, media, **SETTINGS | settings) for seed in range(n)]


def assert_equal(members, expected):
    for member, other in zip(members, expected, strict=True):
        np.testing.assert_allclose(member.best, other.best, rtol=1e-5, atol=1e-6)
        assert len(member.history) == len(other.history)


def test_networks_that_machines_train_together_equal_those_of_one_machine(tmp_path):
    rows, media = make_rows("cnn")
    members, expected = make_members(rows, media, 2), make_members(rows, media, 2)
    small = make_member("cnn", 2, rows, media, batch_size=1)  # a batch needs a row for each machine
    list(train(expected, rows))
    cluster = RankCluster(tmp_path, a=1, b=1)
    records = list(cluster.train([*members, small], rows, 2))
    assert_equal(members, expected)
    assert sorted((record.member, record.epoch) for record in records) == [(m, e) for m in range(2) for e in (1, 2, 3)]
    assert [(record.member, record.epoch) for record in records if record.last and record.member == 0] == [(0, 3)]
    assert small.failure == "its batches have 1 row, too few for 2 machines: choose a larger batch_size"
    assert len(cluster.messages) == 1  # which machines train


@pytest.mark.slow_cluster
def test_a_network_goes_on_with_the_machines_that_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr(network_training, "ITEM_DURATION_S", 0.0)  # an epoch at a time
    rows, media = make_rows("cnn")
    members, expected = make_members(rows, media, 1, epochs=6), make_members(rows, media, 1, epochs=6)
    list(train(expected, rows))
    cluster = RankCluster(tmp_path, a=1, b=1)
    for record in cluster.train(members, rows, 2):
        if record.epoch == 2:
            cluster.set(a=1)
            wait_until(lambda: any(node.is_lost for node in cluster.workers.nodes))
    assert_equal(members, expected)
    assert any("the machine was lost" in message for message in cluster.messages)
    (notice,) = (message for message in cluster.messages if "each network" in message)
    assert notice == "each network is trained by 1 machine of 2, with the same batches"


def test_items_of_a_lost_machine_are_trained_before_those_that_wait():
    driver = RankDriver(None, io.BytesIO(), "cpu", 2)
    for trial, is_moved, avoid in ((0, False, ()), (1, True, ()), (2, True, ("a",)), (3, False, ())):
        header = {"attempt": Attempt(trial, 0, 1 + trial), "keys": (), "avoid": avoid, "is_moved": is_moved}
        driver.on_command(Message(header | {"kind": "item"}))
    assert [item.attempt.trial for item in driver._waiting] == [1, 2, 0, 3]


def test_machines_that_cannot_reach_one_another_are_an_error():
    reports, item = io.BytesIO(), PackedItem(Attempt(0, 0, 1), (), b"")
    driver = RankDriver(None, reports, "cpu", 2)
    nodes = [Node(name, name, 1, {}, None) for name in "ab"]
    for _ in range(MAX_FAILED_MEETINGS):
        nodes[0].assigned[item.attempt] = item
        driver._on_lead_end(_Group(item, nodes, ["10.0.0.1", "10.0.0.2"], 0), nodes[0], "2 ranks did not meet")
    reports.seek(0)
    assert read_report(reports).header["message"] == (
        "'a' and 'b' cannot train a network together: 2 ranks did not meet. Train without --nodes-per-network."
    )
    assert read_report(reports) is None
