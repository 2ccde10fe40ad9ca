"""The client of a store behind HTTP: addresses, tokens, and errors that say what to do."""

from __future__ import annotations

import http.server
import json
import socket
from contextlib import closing, contextmanager
from threading import Thread

import pytest

from rosenblatt.errors import StoreError, StoreUnavailableError
from rosenblatt.runs.store.remote_store import RemoteStore
from rosenblatt.runs.store.store import Store


@contextmanager
def answering(status, body, closes=False):
    """A server with one answer; yields its address and the requests that it gets."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            requests.append((self.command, self.path, dict(self.headers), content))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = closes

        do_POST = do_PUT = do_GET  # noqa: N815 - names of the library

        def log_message(self, *_arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


STORE = json.dumps(
    {"id": "abc", "ignored": ["r"], "taken": True, "exists": False, "state": "", "reason": None}
).encode()


def test_requests_carry_the_token(monkeypatch):
    monkeypatch.setenv("ROSENBLATT_TOKEN", "a token\n")
    with answering(200, STORE) as (url, requests), closing(RemoteStore(url)) as store:
        assert store.id == "abc"
        assert store.write({"tags": [{"run": "r", "points": b"\x00"}]}, is_alive=True) == {"r"}
        assert store.take_over("r", "me")
        assert not store.has_run("r/../x")
    assert all(headers["Authorization"] == "Bearer a token" for _, _, headers, _ in requests)
    assert [f"{method} {path}" for method, path, _, _ in requests] == [
        "GET /api/store",
        "POST /api/store/records?is_alive=true",
        "POST /api/store/take-over",
        "GET /api/store/state?run=r%2F..%2Fx",
    ]


def test_a_connection_that_the_server_has_closed_is_opened_again():
    with answering(200, STORE, closes=True) as (url, requests), closing(RemoteStore(url)) as store:
        for _ in range(3):
            assert store.take_over("r", "me")
    assert len(requests) == 4


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, StoreError, "refuses this program: It needs a token. Set ROSENBLATT_TOKEN."),
        (422, StoreError, "rejected a record: It needs a token."),
        (503, StoreUnavailableError, "cannot be reached: It needs a token."),
        (200, StoreError, "is no dashboard of Rosenblatt"),
    ],
)
def test_errors_say_what_to_do(status, error, message):
    body = b"<html>" if status == 200 else b'{"detail": "It needs a token."}'
    with answering(status, body) as (url, _), pytest.raises(error, match=message):
        RemoteStore(url)


def test_a_server_that_is_away_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(StoreUnavailableError, match="cannot be reached: Connection refused"):
        RemoteStore(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "url", ["https://", "https://host/path", "https://user@host", "https://host?x", "https://host:port", "https://[::1"]
)
def test_other_addresses_are_refused(url):
    with pytest.raises(StoreError, match="is not the address of a store"):
        RemoteStore(url)


@pytest.mark.parametrize("token", ["tok\u00e9n", "two\nlines"])
def test_a_token_that_no_header_can_hold_is_refused(monkeypatch, token):
    monkeypatch.setenv("ROSENBLATT_TOKEN", token)
    with pytest.raises(StoreError, match="ROSENBLATT_TOKEN must be one line of ASCII characters"):
        RemoteStore("http://127.0.0.1:1")


def test_a_token_is_never_sent_without_encryption():
    with pytest.raises(StoreError, match="is not encrypted"):
        RemoteStore("http://lab1:8765")


def test_commands_that_read_say_that_they_cannot():
    with pytest.raises(StoreError, match="Open the address in a browser"):
        Store("https://lab1:8765")
