"""The settings of Ray that all nodes and drivers of a cluster share: authentication, TLS, detection of failures."""

from __future__ import annotations

from pathlib import PurePosixPath

from rosenblatt.cluster.security import CA_FILE, CERTIFICATE_FILE, KEY_FILE, TOKEN_FILE

# Names of the last group are internal to Ray: tests of lost and cut-off nodes must pass with each version of it. With
# these, a node that is cut off silently is noticed after about 18 s, and without them not after 190 s.
FAILURE_DETECTION = {
    "RAY_health_check_initial_delay_ms": 1000,
    "RAY_health_check_period_ms": 1000,
    "RAY_health_check_timeout_ms": 2000,
    "RAY_health_check_failure_threshold": 3,
    "RAY_grpc_client_keepalive_time_ms": 5000,
    "RAY_grpc_client_keepalive_timeout_ms": 5000,
}
ID_VARIABLE = "ROSENBLATT_CLUSTER"  # each process of a cluster carries its id in this variable


def ray_environment(folder: PurePosixPath, cluster_id: str) -> dict[str, str]:
    """Return the environment variables of a node or driver.

    Args:
        folder: of the credentials, on the machine on which it runs.
        cluster_id: of the cluster, by which its processes are found.
    """
    return {
        ID_VARIABLE: cluster_id,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / TOKEN_FILE),
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": str(folder / CERTIFICATE_FILE),
        "RAY_TLS_SERVER_KEY": str(folder / KEY_FILE),
        "RAY_TLS_CA_CERT": str(folder / CA_FILE),
        "RAY_USAGE_STATS_ENABLED": "0",
        **{name: str(value) for name, value in FAILURE_DETECTION.items()},
    }
