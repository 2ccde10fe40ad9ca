"""Real servers of objects for tests: moto (S3), Azurite (Azure Blob Storage), and a plain web server of files."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.waiting import wait_until

BUCKET = "bucket"  # that each server has
MAX_STARTS = 3
AZURITE = Path(sys.prefix) / "azurite"  # where `make` installs it
AZURE_ACCOUNT = "devstoreaccount1"
# The key of the account that every Azurite has; it is published and no secret.
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def s3_settings(address: str) -> dict[str, str]:
    """Environment variables with which clients of S3 use a server; moto accepts any credentials."""
    return {
        "AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "user", "AWS_SECRET_ACCESS_KEY": "password",
        "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
    }  # fmt: skip


def azure_settings(address: str) -> dict[str, str]:
    """Environment variables with which clients of Azure Blob Storage use Azurite."""
    return {
        "AZURE_STORAGE_ENDPOINT": f"{address}/{AZURE_ACCOUNT}", "AZURE_STORAGE_ACCOUNT_NAME": AZURE_ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY, "AZURE_ALLOW_HTTP": "true",
    }  # fmt: skip


@contextmanager
def run_moto() -> Iterator[str]:
    """Run moto's S3 server, and return its address."""
    pytest.importorskip("moto", reason="moto, the S3 server of the tests, is not installed")
    command = [sys.executable, "-c", "import sys; from moto.server import main; main(sys.argv[1:])", "-H", "127.0.0.1"]
    with _run([*command, "-p"], _put_s3_bucket) as address:
        yield address


@contextmanager
def run_azurite() -> Iterator[str]:
    """Run Azurite's server of blobs, and return its address."""
    program, node = AZURITE / "node_modules" / ".bin" / "azurite-blob", shutil.which("node")
    if node is None or not program.exists():
        pytest.skip("Azurite, the Azure server of the tests, or node is not installed; `make test` installs Azurite")
    command = [
        node, str(program.resolve()), "--inMemoryPersistence", "--skipApiVersionCheck", "--silent",
        "--disableTelemetry", "--blobHost", "127.0.0.1", "--blobPort",
    ]  # fmt: skip
    with _run(command, _put_azure_container) as address:
        yield address


@contextmanager
def serve_files(folder: Path, answer: Callable[[str], object] | None = None) -> Iterator[str]:
    """Serve the files of a folder, whole or in ranges, without listings, or what a function answers to a path."""
    flask = pytest.importorskip("flask", reason="Flask, which moto brings, is not installed")
    from werkzeug.serving import make_server

    app = flask.Flask("files")
    answer = answer or (lambda path: flask.send_from_directory(folder, path, conditional=True))
    app.add_url_rule("/<path:path>", "answer", answer, methods=["GET", "PUT", "POST", "DELETE"])
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def _run(command: list[str], put_bucket: Callable[[str], object]) -> Iterator[str]:
    """Run a server, whose command ends with its port, until the end of the context."""
    process, address = _start(command, put_bucket)
    try:
        yield address
    finally:
        process.kill()
        process.wait()


def _start(command: list[str], put_bucket: Callable[[str], object]) -> tuple[subprocess.Popen[bytes], str]:
    """Start a server, with another port if another process took the first; it is ready once it has the bucket."""
    for _ in range(MAX_STARTS):
        port = _free_port()
        address = f"http://127.0.0.1:{port}"
        process = subprocess.Popen([*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def is_decided(process: subprocess.Popen[bytes] = process, address: str = address) -> bool:
            with suppress(OSError):
                put_bucket(address)
                return True
            return process.poll() is not None

        wait_until(is_decided, description="the server to make a bucket")
        if process.poll() is None:
            return process, address
    raise AssertionError(f"the server ends with status {process.returncode}: {' '.join(command)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _put_s3_bucket(address: str) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT"), timeout=10).close()


def _put_azure_container(address: str) -> None:
    """Make the container, with the signature that Azure calls Shared Key."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
    canonical_headers = "".join(f"{name}:{value}\n" for name, value in headers.items())
    resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{BUCKET}\nrestype:container"
    text = "PUT" + "\n" * 12 + canonical_headers + resource
    signature = hmac.digest(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256)
    headers["Authorization"] = f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(signature).decode()}"
    url = f"{address}/{AZURE_ACCOUNT}/{BUCKET}?restype=container"
    urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers), timeout=10).close()
