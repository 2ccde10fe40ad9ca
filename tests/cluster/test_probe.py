"""A probe tells why a cluster cannot be used, within seconds."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from rosenblatt.cluster.probe import CLIENT_SERVICE, Endpoint, ProbeResult, probe, require_ready
from rosenblatt.cluster.security import CertificateAuthority
from rosenblatt.errors import ClusterError
from tests.cluster.heads import serve_head


@pytest.fixture(scope="module")
def authority():
    return CertificateAuthority("lab")


@pytest.fixture(scope="module")
def head(authority):
    with serve(authority.issue(["127.0.0.1"])) as endpoint:
        yield endpoint


@contextmanager
def serve(credentials, *, with_token=True, with_tls=True):
    files = (credentials.ca, credentials.certificate, credentials.key) if with_tls else None
    server, port = serve_head(credentials.token if with_token else None, files)
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
    wrong = replace(credentials, token="0" * 64)
    assert probe(head, wrong) is ProbeResult.WRONG_TOKEN
    with pytest.raises(ClusterError, match=f"{head}, does not accept the token"):
        require_ready(head, wrong)


def test_a_server_without_tls_and_a_port_without_server_are_told_apart(authority):
    credentials = authority.issue(["a"])
    with plain_server(b"HTTP/1.1 400 Bad Request\r\n") as endpoint:
        assert probe(endpoint, credentials) is ProbeResult.NO_TLS
    assert probe(endpoint, credentials) is ProbeResult.REFUSED
    assert probe(Endpoint("host.invalid", 1), credentials) is ProbeResult.NO_ROUTE


def test_a_head_without_tls_is_used_without_it_and_with_it_only_with_it(authority, head):
    credentials = authority.issue(["127.0.0.1"])
    plain = replace(credentials, ca=b"", certificate=b"", key=b"")
    with serve(credentials, with_tls=False) as endpoint:
        assert probe(endpoint, plain, CLIENT_SERVICE) is ProbeResult.READY
        assert probe(endpoint, replace(plain, token="0" * 64), CLIENT_SERVICE) is ProbeResult.WRONG_TOKEN
        assert probe(endpoint, credentials) is ProbeResult.NO_TLS
    assert probe(head, plain) is ProbeResult.NEEDS_TLS


def test_a_head_that_accepts_everybody_is_refused(authority):
    credentials = authority.issue(["127.0.0.1"])
    with serve(credentials, with_token=False) as endpoint:
        assert probe(endpoint, credentials) is ProbeResult.OPEN
        with pytest.raises(ClusterError, match="accepts everybody without a token"):
            require_ready(endpoint, credentials)


def test_a_server_that_is_no_head_is_told_apart(authority):
    credentials = authority.issue(["127.0.0.1"])
    with serve(credentials, with_tls=False) as endpoint:
        other = CLIENT_SERVICE._replace(method="/other.Service/Call")
        assert probe(endpoint, replace(credentials, ca=b""), other) is ProbeResult.NO_RAY


def test_addresses_are_read_and_written_with_brackets_for_ipv6():
    assert Endpoint.parse("lab:10001") == Endpoint("lab", 10001)
    assert Endpoint.parse("[fd00::2]:6379") == Endpoint("fd00::2", 6379)
    assert str(Endpoint("fd00::2", 6379)) == "[fd00::2]:6379"
    with pytest.raises(ClusterError, match=r"'lab' is no address of a head. Write HOST:PORT."):
        Endpoint.parse("lab")
