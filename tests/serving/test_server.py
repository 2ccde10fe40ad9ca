"""Servers in processes of their own."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from rosenblatt.errors import ServingError
from rosenblatt.serving.server import ServerOptions, check_exposure
from tests.serving.people_model import ROW, make_model, save

BODY = json.dumps({"rows": [ROW]})


@contextmanager
def start(*arguments):
    """A server on a free port: its process, and what it printed when it was ready."""
    command = [
        sys.executable,
        "-m",
        "rosenblatt",
        "serve",
        *map(str, arguments),
        "--port",
        "0",
        "--json",
        "--log",
        "json",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield process, json.loads(line)
    finally:
        process.kill()
        process.communicate()


def post(address, body=BODY, headers=()):
    connection = HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.request("POST", "/predict", body, {"Content-Type": "application/json", **dict(headers)})
    with closing(connection):
        response = connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.mark.slow
def test_a_server_prints_one_line_when_ready_and_finishes_what_runs_when_it_is_stopped(tmp_path):
    path = save(make_model(), tmp_path)
    with ExitStack() as stack:
        process, ready = stack.enter_context(start(path))
        assert (ready["models"], ready["pid"]) == (["people"], process.pid)
        assert post(ready["address"])[0] == 200
        body = json.dumps({"rows": [ROW] * 2000})
        slow = stack.enter_context(socket.create_connection(urlsplit(ready["address"]).netloc.split(":")))
        head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        slow.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body[:1000]}".encode())
        assert post(ready["address"])[0] == 200  # by now the slow request is being received
        os.kill(process.pid, signal.SIGTERM)
        threading.Timer(0.5, lambda: slow.sendall(body[1000:].encode())).start()
        answer = stack.enter_context(slow.makefile("rb")).read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"]) == 2000
        _, log = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        assert [line["status"] for line in lines] == [200, 200, 200]
        with pytest.raises(ConnectionRefusedError):
            post(ready["address"])


@pytest.mark.slow
def test_clients_that_vanish_or_send_garbage_disturb_no_others(tmp_path):
    with start(save(make_model(), tmp_path)) as (process, ready):
        host, port = urlsplit(ready["address"]).hostname, urlsplit(ready["address"]).port
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for garbage in (
            b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", head, head + b"Content-Length: 1000\r\n\r\n{",
            head + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n", head + b"Content-Length: -5\r\n\r\n",
            head + b"Content-Length: 99999999999999999999\r\n\r\n", b"\r\n" * 100, os.urandom(2000),
        ):  # fmt: skip
            with socket.create_connection((host, port)) as client:
                client.sendall(garbage)
        assert post(ready["address"])[0] == 200
        assert process.poll() is None


def test_a_port_that_is_taken_and_files_that_are_missing_are_one_sentence(run, tmp_path):
    path = str(save(make_model(), tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, _, error = run("serve", path, "--port", str(taken.getsockname()[1]))
    assert (status, error.count("\n")) == (2, 1)
    assert "cannot be used" in error
    status, _, error = run("serve", str(tmp_path / "none.rosenblatt"), "--port", "0")
    assert (status, "cannot be read" in error) == (2, True)
    key = str(tmp_path / "key.pem")
    status, _, error = run("serve", path, "--port", "0", "--tls-cert", path, "--tls-key", key)
    assert (status, "The certificate or its key cannot be used" in error) == (2, True)


def test_other_addresses_need_tls_or_a_proxy_that_is_named():
    with pytest.raises(ServingError, match="--tls-cert and --tls-key, or --insecure-no-tls"):
        check_exposure(ServerOptions("0.0.0.0"), is_plain_allowed=False)
    with pytest.raises(ServingError, match="belong together"):
        check_exposure(ServerOptions(certificate="a.pem"), is_plain_allowed=False)
    check_exposure(ServerOptions("0.0.0.0"), is_plain_allowed=True)
    check_exposure(ServerOptions("0.0.0.0", certificate="a.pem", key="b.pem"), is_plain_allowed=False)
    check_exposure(ServerOptions("localhost"), is_plain_allowed=False)
