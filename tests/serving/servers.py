"""Servers in processes of their own, and requests to them."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from tests.serving.people_model import ROW

BODY = json.dumps({"rows": [ROW]})


@contextmanager
def start(*arguments: object, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A server: its process, and what it printed when it was ready."""
    command = [sys.executable, "-m", "rosenblatt", "serve", *map(str, arguments)]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--json", "--log", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield process, json.loads(line)
    finally:
        process.kill()
        process.communicate()


def post(
    address: str, body: str = BODY, headers: Mapping[str, str] | None = None, context: ssl.SSLContext | None = None
) -> tuple[int, Any]:
    """The status and the answer to a prediction; with a context, over TLS."""
    place = urlsplit(address).netloc
    connection = HTTPSConnection(place, timeout=60, context=context) if context else HTTPConnection(place, timeout=60)
    with closing(connection):
        connection.request("POST", "/predict", body, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
