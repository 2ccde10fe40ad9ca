"""Tell within 5 s why a cluster cannot be used: no route, refused, no TLS, wrong authority or wrong token."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from enum import StrEnum

from rosenblatt.cluster.security import Credentials
from rosenblatt.errors import ClusterError

PROBE_TIMEOUT_S = 5.0
_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"  # a call of the head that needs nothing but a token


class ProbeResult(StrEnum):
    """What a probe found."""

    READY = "ready"
    NO_ROUTE = "no route"
    REFUSED = "refused"
    NO_TLS = "no TLS"
    WRONG_AUTHORITY = "wrong certificate authority"
    WRONG_TOKEN = "wrong token"  # noqa: S105 - no password
    NO_RAY = "no Ray"


_ADVICE = {
    ProbeResult.NO_ROUTE: "does not answer. Check its address, and that no firewall is between",
    ProbeResult.REFUSED: "refuses the connection: nothing listens on this port. Check whether the head still runs",
    ProbeResult.NO_TLS: "does not use TLS, so it is not this cluster. Check the address",
    ProbeResult.WRONG_AUTHORITY: "has a certificate of another authority: it belongs to another cluster",
    ProbeResult.WRONG_TOKEN: "does not accept the token. Use the token of this cluster",
    ProbeResult.NO_RAY: "does not answer as the head of a Ray cluster does. Check the port",
}


@dataclass(frozen=True)
class Endpoint:
    """The address of the head's service."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def require_ready(endpoint: Endpoint, credentials: Credentials) -> None:
    """Raise ClusterError, with the reason, unless the head lets a driver with these credentials in."""
    result = probe(endpoint, credentials)
    if result is not ProbeResult.READY:
        raise ClusterError(f"The head of the cluster, {endpoint}, {_ADVICE[result]}.")


def probe(endpoint: Endpoint, credentials: Credentials, timeout: float = PROBE_TIMEOUT_S) -> ProbeResult:
    """Try to reach the head of a cluster, step by step: connection, TLS, token."""
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=timeout / 2):
            pass
    except ConnectionRefusedError:
        return ProbeResult.REFUSED
    except OSError:
        return ProbeResult.NO_ROUTE
    return _probe_tls(endpoint, credentials, timeout / 4) or _probe_token(endpoint, credentials, timeout / 4)


def _probe_tls(endpoint: Endpoint, credentials: Credentials, timeout: float) -> ProbeResult | None:
    context = ssl.create_default_context(cadata=credentials.ca.decode())
    context.check_hostname = False  # whether the authority is that of the cluster is the question here
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), timeout=timeout) as connection,
            context.wrap_socket(connection, server_hostname=endpoint.host),
        ):
            return None
    except ssl.SSLCertVerificationError:
        return ProbeResult.WRONG_AUTHORITY
    except OSError:  # a timeout too: a server without TLS may wait for the rest of what it does not understand
        return ProbeResult.NO_TLS


def _probe_token(endpoint: Endpoint, credentials: Credentials, timeout: float) -> ProbeResult:
    import grpc  # a requirement of ray[default]

    identity = grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.certificate)
    with grpc.secure_channel(str(endpoint), identity) as channel:
        call = channel.unary_unary(_ALIVE, request_serializer=bytes, response_deserializer=bytes)
        try:
            call(b"", timeout=timeout, metadata=[("authorization", f"Bearer {credentials.token}")])
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                return ProbeResult.WRONG_TOKEN
            return ProbeResult.NO_RAY
    return ProbeResult.READY
