"""Clusters of Ray on this machine for tests of searches."""

import pytest

from rosenblatt.cluster.settings import FAILURE_DETECTION
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.ray_connection import RayConnection
from rosenblatt.tuning.ray_workers import RayWorkers

SETTINGS = {name: str(value) for name, value in FAILURE_DETECTION.items()}


class RayCluster:
    """A cluster of two nodes with one core each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.messages: list[str] = []
        self.nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.second_node = self.nodes.add_node(num_cpus=1)

    def workers(self) -> RayWorkers:
        connection = RayConnection("test", environment=SETTINGS, address=self.nodes.address)
        return RayWorkers(connection, self.messages.append, lambda: WorkerPool(2))


@pytest.fixture(scope="module")
def ray_cluster():
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in SETTINGS.items():
            monkeypatch.setenv(name, value)
        cluster = RayCluster()
    yield cluster
    cluster.nodes.shutdown()
