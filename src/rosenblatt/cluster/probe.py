"""Tell within 5 s why a cluster cannot be used: no route, refused, TLS on one side only, wrong authority or token."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Self

from rosenblatt.cluster.hosts import join_address
from rosenblatt.cluster.security import Credentials
from rosenblatt.errors import ClusterError

if TYPE_CHECKING:
    import grpc

PROBE_TIMEOUT_S = 5.0


class ProbeResult(StrEnum):
    """What a probe found."""

    READY = "ready"
    NO_ROUTE = "no route"
    REFUSED = "refused"
    NO_TLS = "no TLS"
    NEEDS_TLS = "needs TLS"
    WRONG_AUTHORITY = "wrong certificate authority"
    WRONG_TOKEN = "wrong token"  # noqa: S105 - no password
    OPEN = "no authentication"
    SLOW = "slow"
    NO_RAY = "no Ray"


_ADVICE = {
    ProbeResult.NO_ROUTE: "does not answer. Check its address, and that no firewall is between",
    ProbeResult.REFUSED: "refuses the connection: nothing listens on this port. Check whether the head still runs",
    ProbeResult.NO_TLS: "does not use TLS, so it is not this cluster. Check the address",
    ProbeResult.NEEDS_TLS: "uses TLS. Set RAY_USE_TLS=1, RAY_TLS_CA_CERT, RAY_TLS_SERVER_CERT and RAY_TLS_SERVER_KEY",
    ProbeResult.WRONG_AUTHORITY: "has a certificate of another authority: it belongs to another cluster",
    ProbeResult.WRONG_TOKEN: "does not accept the token. Use the token of this cluster",
    ProbeResult.OPEN: "accepts everybody without a token, so that anyone in the network can run commands on it. Start "
    "it with RAY_AUTH_MODE=token",
    ProbeResult.SLOW: f"does not answer a call within {PROBE_TIMEOUT_S:g} s. Check the load of its machine",
    ProbeResult.NO_RAY: "does not answer as the head of a Ray cluster does. Check the port",
}


class Service(NamedTuple):
    """A service of a head, by a call of it that needs nothing but a token."""

    method: str
    request: bytes = b""


HEAD_SERVICE = Service("/ray.rpc.NodeInfoGcsService/CheckAlive")
CLIENT_SERVICE = Service("/ray.rpc.RayletDriver/ClusterInfo", b"\x08\x06")  # ClusterInfoRequest(type=PING)


@dataclass(frozen=True)
class Endpoint:
    """The address of a service of the head."""

    host: str
    port: int

    def __str__(self) -> str:
        return join_address(self.host, self.port)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read host:port, with an IPv6 address in brackets. Raises ClusterError."""
        host, _, port = text.rpartition(":")
        if not host or not port.isascii() or not port.isdecimal():
            raise ClusterError(f"{text!r} is no address of a head. Write HOST:PORT.")
        return cls(host.strip("[]"), int(port))


def require_ready(endpoint: Endpoint, credentials: Credentials, service: Service = HEAD_SERVICE) -> None:
    """Raise ClusterError, with the reason, unless the head lets a driver with these credentials in."""
    result = probe(endpoint, credentials, service)
    if result is not ProbeResult.READY:
        raise ClusterError(f"The head of the cluster, {endpoint}, {_ADVICE[result]}.")


def probe(
    endpoint: Endpoint,
    credentials: Credentials,
    service: Service = HEAD_SERVICE,
    timeout: float = PROBE_TIMEOUT_S,
) -> ProbeResult:
    """Try to reach the head of a cluster, step by step: connection, TLS, token.

    Args:
        endpoint: of the service.
        credentials: of this machine; TLS is not used if they have no authority.
        service: that is called.
        timeout: seconds for all steps.
    """
    deadline = time.monotonic() + timeout
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=timeout / 2):
            pass
    except ConnectionRefusedError:
        return ProbeResult.REFUSED
    except OSError:
        return ProbeResult.NO_ROUTE
    tls_result = _probe_tls(endpoint, credentials, (deadline - time.monotonic()) / 2)
    return tls_result or _probe_token(endpoint, credentials, service, deadline)


def _probe_tls(endpoint: Endpoint, credentials: Credentials, timeout: float) -> ProbeResult | None:
    """Find out whether one side alone uses TLS, or the head has a certificate of another authority."""
    context = ssl.create_default_context(cadata=credentials.ca.decode() or None)
    context.check_hostname = False  # whether the authority is that of the cluster is the question here
    if not credentials.ca:
        context.verify_mode = ssl.CERT_NONE  # nothing is sent over this connection
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), timeout=timeout) as connection,
            context.wrap_socket(connection, server_hostname=endpoint.host),
        ):
            return None if credentials.ca else ProbeResult.NEEDS_TLS
    except ssl.SSLCertVerificationError:
        return ProbeResult.WRONG_AUTHORITY
    except OSError:  # a timeout too: a server without TLS may wait for the rest of what it does not understand
        return ProbeResult.NO_TLS if credentials.ca else None


def _probe_token(endpoint: Endpoint, credentials: Credentials, service: Service, deadline: float) -> ProbeResult:
    """Find out whether the head accepts the token, and no call without one."""
    import grpc  # a requirement of ray[default]

    with _open_channel(endpoint, credentials) as channel:
        call = channel.unary_unary(service.method, request_serializer=bytes, response_deserializer=bytes)

        def status(*metadata: tuple[str, str]) -> grpc.StatusCode:
            try:
                call(service.request, timeout=max(deadline - time.monotonic(), 0.1), metadata=metadata)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        refusals = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
        code = status(("authorization", f"Bearer {credentials.token}"))
        if code is grpc.StatusCode.OK:
            return ProbeResult.OPEN if status() is grpc.StatusCode.OK else ProbeResult.READY
    if code in refusals:
        return ProbeResult.WRONG_TOKEN
    return ProbeResult.SLOW if code is grpc.StatusCode.DEADLINE_EXCEEDED else ProbeResult.NO_RAY


def _open_channel(endpoint: Endpoint, credentials: Credentials) -> grpc.Channel:
    import grpc

    if not credentials.ca:
        return grpc.insecure_channel(str(endpoint))
    identity = grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.certificate)
    return grpc.secure_channel(str(endpoint), identity)
