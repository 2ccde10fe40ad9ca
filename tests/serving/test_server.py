"""Servers in processes of their own."""

import json
import os
import signal
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from tests.serving.people_model import ROW, make_model, save
from tests.serving.servers import BODY, post, start
from tests.web.certificates import make_certificates

TOKEN = "secret-token-of-tests"


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


@pytest.mark.slow
def test_endless_headers_are_refused_and_long_ones_are_not(tmp_path):
    with start(save(make_model(), tmp_path)) as (_, ready):
        place = urlsplit(ready["address"]).netloc.split(":")
        for name, separator in (("X-Many: ", "\r\nX-More: "), ("X-Long: ", "")):
            with socket.create_connection(place) as client:
                client.settimeout(60)
                client.sendall(f"POST /predict HTTP/1.1\r\nHost: localhost\r\n{name}".encode())
                with pytest.raises(OSError):
                    client.sendall((b"a" * 60_000 + separator.encode()) * 1000)
        for _ in range(2):
            assert post(ready["address"], headers={"X-Long": "a" * 30_000})[0] == 200
        assert post(ready["address"], json.dumps({"rows": [ROW] * 20_000}))[0] == 200


@pytest.mark.slow
def test_sigterm_under_load_loses_no_request_that_was_taken(tmp_path):
    with start(save(make_model(), tmp_path)) as (process, ready), ThreadPoolExecutor(8) as pool:
        n_answered = threading.Semaphore(0)

        def send_until_stopped(_):
            """The numbers of requests that were answered, refused, and cut."""
            answered = refused = 0
            connection = HTTPConnection(urlsplit(ready["address"]).netloc, timeout=60)
            while True:
                try:
                    connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
                    response = connection.getresponse()
                except OSError:  # no connection, or one that was closed before the request was read
                    connection.close()
                    return answered, refused
                body = json.loads(response.read())  # a cut answer fails here
                assert (response.status == 200 and len(body["predictions"]) == 1) or response.status == 503
                answered, refused = answered + (response.status == 200), refused + (response.status == 503)
                n_answered.release()

        clients = [pool.submit(send_until_stopped, k) for k in range(8)]
        for _ in range(40):
            assert n_answered.acquire(timeout=60)
        os.kill(process.pid, signal.SIGTERM)
        answered = sum(client.result(60)[0] for client in clients)
        _, log = process.communicate(timeout=60)
        statuses = [json.loads(line)["status"] for line in log.splitlines() if line.startswith("{")]
        assert process.returncode == 128 + signal.SIGTERM
        assert statuses.count(200) == answered >= 40


@pytest.mark.slow
def test_a_killed_server_leaves_its_port_to_the_next_one(tmp_path):
    path = save(make_model(), tmp_path)
    with start(path) as (process, ready):
        answer = post(ready["address"])
        port = urlsplit(ready["address"]).port
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
            process.kill()
            process.wait()
    with start(path, port=port) as (_, ready):
        assert post(ready["address"]) == answer


@pytest.mark.slow
def test_clients_check_the_certificate_and_the_server_the_token(tmp_path):
    authority, certificate, key = make_certificates(tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    options = "--tls-cert", certificate, "--tls-key", key, "--token-file", tmp_path / "token"
    with start(save(make_model(), tmp_path), *options) as (_, ready):
        address = f"https://localhost:{urlsplit(ready['address']).port}"
        context = ssl.create_default_context(cafile=str(authority))
        statuses = {
            token: post(address, headers={"Authorization": token}, context=context)[0]
            for token in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}", f"bearer {TOKEN}")
        }
        assert statuses == dict.fromkeys(statuses, 401) | {f"Bearer {TOKEN}": 200, f"bearer {TOKEN}": 200}
        with pytest.raises(ssl.SSLCertVerificationError):
            post(address, context=ssl.create_default_context())
        old = ssl.create_default_context(cafile=str(authority))
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            post(address, context=old)
        with pytest.raises((OSError, ValueError)):  # without TLS
            post(address.replace("https", "http"))
        assert post(address, headers={"Authorization": f"Bearer {TOKEN}"}, context=context)[0] == 200


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
