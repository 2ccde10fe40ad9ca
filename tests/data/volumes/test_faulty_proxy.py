"""The faulty proxy passes traffic through unchanged, and injects the faults that tests ask for."""

from __future__ import annotations

import http.client
import time
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest

from tests.data.volumes.faulty_proxy import Action, FaultyProxy
from tests.data.volumes.servers import serve_files


@pytest.fixture
def content():
    return bytes(range(256)) * 40


@pytest.fixture
def proxy(tmp_path, content):
    (tmp_path / "a.bin").write_bytes(content)
    (tmp_path / "empty").write_bytes(b"")
    with serve_files(tmp_path) as address, FaultyProxy(address, seed=1) as proxy:
        yield proxy


@contextmanager
def connect(proxy):
    with closing(http.client.HTTPConnection(urlsplit(proxy.address).netloc, timeout=10)) as client:
        yield client


@pytest.fixture
def client(proxy):
    with connect(proxy) as client:
        yield client


@pytest.fixture
def s3(s3_server):
    """A proxy in front of the S3 server, and a client."""
    with FaultyProxy(s3_server) as proxy, connect(proxy) as client:
        yield proxy, client


def get(client, path="/a.bin", method="GET", body=None, **headers):
    headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=user/20261127/us-east-1/s3/aws4_request", **headers}
    client.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
    answer = client.getresponse()
    return answer.status, answer.read()


def test_answers_pass_unchanged_on_one_connection(proxy, client, content):
    assert get(client) == (200, content)
    connected_socket = client.sock
    assert get(client, Range="bytes=5-9") == (206, content[5:10])
    assert get(client, method="HEAD") == (200, b"")
    assert get(client, "/empty") == (200, b"")
    assert get(client, "/missing")[0] == 404
    assert client.sock is connected_socket
    assert [exchange.status for exchange in proxy.exchanges] == [200, 206, 200, 200, 404]
    assert proxy.exchanges[0].received_bytes == len(content)
    assert (proxy.count("GET"), proxy.count("GET", "a.bin"), proxy.count("HEAD")) == (4, 2, 1)


def test_chunked_requests_reach_the_server_whole(s3):
    proxy, client = s3
    assert get(client, "/bucket/chunked", "PUT", iter([b"ab", b"c" * 5000]))[0] == 200
    assert get(client, "/bucket/chunked") == (200, b"ab" + b"c" * 5000)
    assert proxy.sent_bytes == 5002


def test_unavailable_answers_tell_when_to_try_again(proxy, client, content):
    proxy.inject(Action.UNAVAILABLE, seconds=3, count=1)
    proxy.inject(Action.DENIED, skip=1, count=1)
    client.request("GET", "/a.bin")
    answer = client.getresponse()
    assert (answer.status, answer.getheader("Retry-After"), answer.read()) == (503, "3", b"")
    assert get(client)[0] == 403
    assert get(client) == (200, content)


def test_bodies_are_cut(proxy, client, content):
    proxy.inject(Action.CUT)
    with pytest.raises(http.client.IncompleteRead) as error:
        get(client)
    assert error.value.partial == content[: len(content) // 2]


def test_exactly_one_bit_is_flipped(proxy, client, content):
    proxy.inject(Action.FLIP)
    status, body = get(client)
    assert status == 200
    assert len(body) == len(content)
    assert sum((a ^ b).bit_count() for a, b in zip(body, content, strict=True)) == 1


@pytest.mark.parametrize(("action", "has_landed"), [(Action.DROP_REQUEST, False), (Action.DROP_ANSWER, True)])
def test_dropped_connections_leave_the_client_without_an_answer(s3, action, has_landed):
    proxy, client = s3
    fault = proxy.inject(action, method="PUT", path=f"/{action.name}$")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        get(client, f"/bucket/{action.name}", "PUT", b"content")
    assert fault.hits == 1
    assert (get(client, f"/bucket/{action.name}")[0] == 200) is has_landed


def test_conditions_are_hidden_from_the_server(s3):
    proxy, client = s3
    assert get(client, "/bucket/once", "PUT", b"1", If_None_Match="*")[0] == 200
    assert get(client, "/bucket/once", "PUT", b"2", If_None_Match="*")[0] == 412
    proxy.inject(Action.IGNORE_CONDITIONS)
    assert get(client, "/bucket/once", "PUT", b"3", If_None_Match="*")[0] == 200


def test_rules_select_requests_by_method_path_and_number(proxy, client):
    fault = proxy.inject(Action.UNAVAILABLE, method="GET", path="a.b", skip=1, count=2)
    paths = ["/a.bin", "/empty", "/a.bin", "/a.bin", "/a.bin"]
    assert [get(client, path)[0] for path in paths] == [200, 200, 503, 503, 200]
    assert get(client, method="HEAD")[0] == 200
    assert (fault.hits, fault.matches) == (2, 4)
    proxy.clear()
    assert proxy.count() == 0


def test_choices_by_probability_depend_on_the_seed_alone(tmp_path):
    (tmp_path / "a").write_bytes(b"a")

    def statuses(seed):
        with serve_files(tmp_path) as address, FaultyProxy(address, seed=seed) as proxy, connect(proxy) as client:
            proxy.inject(Action.UNAVAILABLE, probability=0.5)
            return [get(client, "/a")[0] for _ in range(20)]

    assert statuses(1) == statuses(1) != statuses(2)
    assert 4 < statuses(1).count(503) < 16


def test_delays_and_the_rate_of_the_link_take_at_least_their_time(proxy, client, content):
    proxy.delay_seconds, proxy.bytes_per_second = 0.05, len(content) / 0.05
    started = time.monotonic()
    get(client)
    assert time.monotonic() - started >= 0.1
