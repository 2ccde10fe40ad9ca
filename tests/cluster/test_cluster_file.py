"""Cluster files: what they say, and how mistakes are named."""

from __future__ import annotations

import pytest

from rosenblatt.cluster.cluster_file import CloudFile, KubernetesFile, read_cluster_file
from rosenblatt.errors import ClusterError

AWS = "provider: aws\nregion: eu-central-1\nmachine: c7i.2xlarge\ncores: 8\nmax_machines: 10\n"


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "cluster.yaml"
        path.write_text(text)
        return read_cluster_file(path)

    return read


def test_machines_of_a_cloud_are_read_with_defaults(read):
    file = read(AWS + "spot: true\n")
    assert isinstance(file, CloudFile)
    assert (file.machine, file.cores, file.min_machines, file.max_machines, file.spot) == (
        "c7i.2xlarge",
        8,
        0,
        10,
        True,
    )
    assert (file.idle_minutes, file.disk_gb, file.price_per_hour) == (5.0, 100, None)


def test_pods_of_kubernetes_are_read(read):
    file = read("provider: kubernetes\nimage: registry/rosenblatt:1\ncores: 4\nmemory_gb: 16\nmax_machines: 3\n")
    assert isinstance(file, KubernetesFile)
    assert file.namespace == "default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (AWS + "spott: true\n", "line 6: spott is no setting of machines of a cloud. Did you mean 'spot'?"),
        (AWS.replace("cores: 8", "cores: many"), "line 4: cores is 'many', but input should be a valid integer"),
        (AWS.replace("cores: 8\n", ""), "cores is missing"),
        (AWS + "cores: 4\n", "line 6: cores was set in line 4"),
        (AWS + "min_machines: 11\n", "min_machines (11) is above max_machines (10)"),
        (AWS.replace("aws", "awz"), "line 1: provider is 'awz'. Providers are aws, gcp, azure and kubernetes. Did you"),
        ("region: x\n", "there is no provider"),
        (AWS.replace("aws", "gcp"), "gcp needs project and zone"),
        (AWS.replace("aws", "azure"), "azure needs resource_group"),
        (AWS + "image: [a\n", "line 7: this is not YAML"),
        ("- aws\n", "expected settings such as `provider: aws`"),
        ("", "expected settings"),
        (AWS + "spot: yes please\n", "line 6: spot is 'yes please'"),
        (AWS + "price_per_hour: -1\n", "line 6: price_per_hour is -1"),
        (AWS + "name: My Cluster\n", "line 6: name is 'My Cluster'"),
    ],
)
def test_a_mistake_is_named_with_its_line(read, text, message):
    with pytest.raises(ClusterError) as error:
        read(text)
    assert message in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ClusterError, match="cannot be read: No such file"):
        read_cluster_file(tmp_path / "none.yaml")
