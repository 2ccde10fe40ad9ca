"""Manifests of KubeRay (1.5.1 or later) for clusters in Kubernetes, and the connection to one that was applied.

Pods make their certificates when they start, from the authority of the cluster in a Secret. KubeRay makes the token.
"""

from __future__ import annotations

import base64
from typing import Any

from rosenblatt.cluster.cluster_file import KubernetesFile
from rosenblatt.cluster.ray_demand import MACHINE_RESOURCE
from rosenblatt.cluster.security import AUTHORITY_KEY_FILE, CA_FILE, CERTIFICATE_FILE, KEY_FILE, CertificateAuthority
from rosenblatt.cluster.settings import FAILURE_DETECTION
from rosenblatt.tuning.ray_connection import CLOUD_MACHINE_START_S, DRIVER_MODULE, RayConnection

AUTHORITY_FOLDER, CERTIFICATE_FOLDER = "/etc/rosenblatt/authority", "/etc/rosenblatt/certificate"
_POD_ADDRESS = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


def kubernetes_manifest(
    file: KubernetesFile, authority: CertificateAuthority, ray_version: str
) -> list[dict[str, Any]]:
    """Make the objects of a cluster: a Secret with its authority, and the RayCluster.

    Args:
        file: The pods.
        authority: Of the cluster; the same each time that its manifest is applied.
        ray_version: Of Ray in the image.
    """
    files = {name: base64.b64encode(content).decode() for name, content in authority.shared_files().items()}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _secret_name(file), "namespace": file.namespace},
        "type": "Opaque",
        "data": {name: files[name] for name in (CA_FILE, AUTHORITY_KEY_FILE)},
    }
    cluster = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": file.name, "namespace": file.namespace},
        "spec": _cluster_spec(file, ray_version),
    }
    return [secret, cluster]


def connect_to_kubernetes(file: KubernetesFile) -> RayConnection:
    """The connection to a cluster whose manifest was applied: its driver runs in the pod of the head, by kubectl."""
    driver = ("python", "-P", "-m", DRIVER_MODULE)
    demand = ("python", "-P", "-m", "rosenblatt.cluster.ray_demand", "auto", str(file.max_machines), *driver)
    pod = ("--namespace", file.namespace, f"service/{_head_service(file)}", "--container", "ray-head")
    command = ("kubectl", "exec", "--stdin", *pod, "--", *demand)
    return RayConnection(file.name, command, {}, "auto", CLOUD_MACHINE_START_S)


def _cluster_spec(file: KubernetesFile, ray_version: str) -> dict[str, Any]:
    service = _head_service(file)
    names = [service, f"{service}.{file.namespace}.svc", f"{service}.{file.namespace}.svc.cluster.local"]
    # KubeRay asks the dashboard whether the head is well, so it runs, but only the pod itself reaches it
    head_options = {"num-cpus": "0", "dashboard-host": "127.0.0.1"}
    resources = f'"{{\\"{MACHINE_RESOURCE}\\": 1}}"'
    return {
        "rayVersion": ray_version,
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "idleTimeoutSeconds": round(60 * file.idle_minutes),
            "env": _environment(),
            "volumeMounts": [_certificate_mount()],
        },
        "headGroupSpec": {
            "rayStartParams": head_options,
            "template": _pod(file, "ray-head", names, _resources(file.head_cores, file.head_memory_gb)),
        },
        "workerGroupSpecs": [
            {
                "groupName": "machines",
                "replicas": file.min_machines,
                "minReplicas": file.min_machines,
                "maxReplicas": file.max_machines,
                "rayStartParams": {"num-cpus": str(file.cores), "resources": resources},
                "template": _pod(file, "ray-worker", [], _resources(file.cores, file.memory_gb, file.gpus)),
            }
        ],
    }


def _pod(file: KubernetesFile, name: str, addresses: list[str], resources: dict[str, Any]) -> dict[str, Any]:
    """A pod with Ray, after a container that makes its certificate."""
    command = ["python", "-m", "rosenblatt.cluster.node_certificate", AUTHORITY_FOLDER, CERTIFICATE_FOLDER, "$(POD_IP)"]
    authority = {"name": "authority", "mountPath": AUTHORITY_FOLDER, "readOnly": True}
    certificate = {
        "name": "certificate",
        "image": file.image,
        "command": [*command, *addresses],
        "env": [_POD_ADDRESS],
        "volumeMounts": [authority, _certificate_mount()],
    }
    ray = {
        "name": name,
        "image": file.image,
        "env": _environment(),
        "resources": resources,
        "volumeMounts": [_certificate_mount()],
    }
    volumes = [
        {"name": "authority", "secret": {"secretName": _secret_name(file), "defaultMode": 0o400}},
        {"name": "certificate", "emptyDir": {"medium": "Memory"}},
    ]
    return {"spec": {"initContainers": [certificate], "containers": [ray], "volumes": volumes}}


def _environment() -> list[dict[str, Any]]:
    values = {
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": f"{CERTIFICATE_FOLDER}/{CERTIFICATE_FILE}",
        "RAY_TLS_SERVER_KEY": f"{CERTIFICATE_FOLDER}/{KEY_FILE}",
        "RAY_TLS_CA_CERT": f"{CERTIFICATE_FOLDER}/{CA_FILE}",
        "RAY_USAGE_STATS_ENABLED": "0",
        **{name: str(value) for name, value in FAILURE_DETECTION.items()},
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def _certificate_mount() -> dict[str, Any]:
    return {"name": "certificate", "mountPath": CERTIFICATE_FOLDER}


def _resources(cores: int, memory_gb: float, gpus: int = 0) -> dict[str, Any]:
    amounts = {"cpu": str(cores), "memory": f"{round(1000 * memory_gb)}M"}
    amounts |= {"nvidia.com/gpu": str(gpus)} if gpus else {}
    return {"requests": amounts, "limits": amounts}


def _secret_name(file: KubernetesFile) -> str:
    return f"{file.name}-authority"


def _head_service(file: KubernetesFile) -> str:
    """The name of the service that KubeRay makes for a head."""
    return f"{file.name}-head-svc"
