"""A probe tells why a cluster cannot be used, within seconds."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from rosenblatt.cluster.probe import Endpoint, ProbeResult, probe, require_ready
from rosenblatt.cluster.security import CertificateAuthority
from rosenblatt.errors import ClusterError


@pytest.fixture(scope="module")
def authority():
    return CertificateAuthority("lab")


@pytest.fixture(scope="module")
def head(authority):
    """A server that checks certificates and tokens as the head of a Ray cluster does."""
    server_side = authority.issue(["127.0.0.1"])

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            token = dict(details.invocation_metadata).get("authorization")

            def answer(_, context):
                if token != f"Bearer {server_side.token}":
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
                return b""

            return grpc.unary_unary_rpc_method_handler(answer, bytes, bytes)

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Handler()])
    pair = [(server_side.key, server_side.certificate)]
    identity = grpc.ssl_server_credentials(pair, server_side.ca, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", identity)
    server.start()
    yield Endpoint("127.0.0.1", port)
    server.stop(0)


@contextmanager
def plain_server(answer):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.recv(10)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield Endpoint("127.0.0.1", listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def test_the_right_credentials_are_accepted(authority, head):
    assert probe(head, authority.issue(["10.0.0.9"])) is ProbeResult.READY
    require_ready(head, authority.issue(["10.0.0.9"]))


def test_another_authority_and_a_wrong_token_are_told_apart(authority, head):
    assert probe(head, CertificateAuthority("other").issue(["a"])) is ProbeResult.WRONG_AUTHORITY
    credentials = authority.issue(["a"])
    wrong = type(credentials)("0" * 64, credentials.ca, credentials.certificate, credentials.key)
    assert probe(head, wrong) is ProbeResult.WRONG_TOKEN
    with pytest.raises(ClusterError, match=f"{head}, does not accept the token"):
        require_ready(head, wrong)


def test_a_server_without_tls_and_a_port_without_server_are_told_apart(authority):
    credentials = authority.issue(["a"])
    with plain_server(b"HTTP/1.1 400 Bad Request\r\n") as endpoint:
        assert probe(endpoint, credentials) is ProbeResult.NO_TLS
    assert probe(endpoint, credentials) is ProbeResult.REFUSED
    assert probe(Endpoint("host.invalid", 1), credentials) is ProbeResult.NO_ROUTE
