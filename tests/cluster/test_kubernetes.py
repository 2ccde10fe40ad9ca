"""Manifests of KubeRay: token, TLS, autoscaling, and fields that KubeRay knows."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from rosenblatt.cluster.cluster_file import KubernetesFile
from rosenblatt.cluster.kubernetes import connect_to_kubernetes, kubernetes_manifest
from rosenblatt.cluster.node_certificate import write_certificate
from rosenblatt.cluster.security import CertificateAuthority

pytest.importorskip("cryptography", reason="cryptography is not installed")
# Fields of KubeRay's API ray.io/v1, version 1.5.1, from its reference
FIELDS = {
    "spec": {
        "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec",
        "workerGroupSpecs", "headServiceAnnotations", "suspend", "managedBy", "gcsFaultToleranceOptions",
    },
    "autoscalerOptions": {
        "idleTimeoutSeconds", "env", "envFrom", "volumeMounts", "resources", "image", "imagePullPolicy",
        "securityContext", "upscalingMode", "version",
    },
    "headGroupSpec": {
        "rayStartParams", "template", "serviceType", "headService", "enableIngress", "resources", "labels",
    },
    "workerGroupSpecs": {
        "groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template", "numOfHosts",
        "scaleStrategy", "idleTimeoutSeconds", "suspend", "resources", "labels",
    },
}  # fmt: skip


@pytest.fixture
def file():
    return KubernetesFile(
        provider="kubernetes", image="registry/rosenblatt:1", cores=4, gpus=1, memory_gb=16.0, max_machines=3
    )


@pytest.fixture
def manifest(file):
    return kubernetes_manifest(file, CertificateAuthority("k"), "2.60.0")


def test_all_fields_are_those_of_kuberay(manifest):
    spec = manifest[1]["spec"]
    assert (manifest[1]["apiVersion"], manifest[1]["kind"]) == ("ray.io/v1", "RayCluster")
    assert spec.keys() <= FIELDS["spec"]
    assert spec["autoscalerOptions"].keys() <= FIELDS["autoscalerOptions"]
    assert spec["headGroupSpec"].keys() <= FIELDS["headGroupSpec"]
    (workers,) = spec["workerGroupSpecs"]
    assert workers.keys() <= FIELDS["workerGroupSpecs"]
    parameters = [*spec["headGroupSpec"]["rayStartParams"].values(), *workers["rayStartParams"].values()]
    assert all(isinstance(value, str) for value in parameters)
    assert json.loads(json.loads(workers["rayStartParams"]["resources"])) == {"rosenblatt_machine": 1}


def test_pods_use_token_and_tls(manifest):
    secret, cluster = manifest
    spec = cluster["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert secret["data"].keys() == {"ca.pem", "ca.key"}
    assert spec["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    for group in (spec["headGroupSpec"], spec["workerGroupSpecs"][0]):
        pod = group["template"]["spec"]
        names = {volume["name"] for volume in pod["volumes"]}
        for container in (*pod["initContainers"], *pod["containers"]):
            assert {mount["name"] for mount in container["volumeMounts"]} <= names
        (ray,) = pod["containers"]
        assert {"name": "RAY_USE_TLS", "value": "1"} in ray["env"]
        assert "authority" not in {mount["name"] for mount in ray["volumeMounts"]}
        assert pod["initContainers"][0]["command"][:3] == ["python", "-m", "rosenblatt.cluster.node_certificate"]


def test_only_machines_train(manifest):
    spec = manifest[1]["spec"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (workers,) = spec["workerGroupSpecs"]
    assert (workers["minReplicas"], workers["maxReplicas"]) == (0, 3)
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "4", "memory": "16000M", "nvidia.com/gpu": "1"}


def test_the_driver_runs_in_the_pod_of_the_head(file):
    command = " ".join(connect_to_kubernetes(file).command)
    assert command.startswith("kubectl exec --stdin --namespace default service/rosenblatt-head-svc")
    assert command.endswith("ray_demand auto 3 python -P -m rosenblatt.tuning.ray_driver")


def test_a_pod_makes_its_certificate_from_the_secret(manifest, tmp_path):
    from cryptography import x509

    authority, folder = tmp_path / "authority", tmp_path / "certificate"
    for path in (authority, folder):
        path.mkdir()
    for name, content in manifest[0]["data"].items():
        (authority / name).write_bytes(base64.b64decode(content))
    write_certificate(authority, folder, ["10.1.2.3", "rosenblatt-head-svc"])
    certificate = x509.load_pem_x509_certificate((folder / "node.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "rosenblatt-head-svc" in names.get_values_for_type(x509.DNSName)
    assert "10.1.2.3" in map(str, names.get_values_for_type(x509.IPAddress))
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((authority / "ca.pem").read_bytes()))
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
        ["ca.pem", "node.pem", "node.key"], 0o600
    )
    assert Path(folder / "ca.pem").read_bytes() == (authority / "ca.pem").read_bytes()
