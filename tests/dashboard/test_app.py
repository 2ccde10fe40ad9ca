"""Tests of the paths of the dashboard, and of who may use them."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest

from rosenblatt.dashboard.app import Application
from rosenblatt.dashboard.assets import load_assets
from rosenblatt.runs.store.store import Store
from rosenblatt.web.access import Access


class Client:
    """Sends requests to an application as uvicorn does, without a network."""

    def __init__(self, store: Store) -> None:
        self._asgi = Application(store, Access()).asgi

    def get(self, address: str, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        path, _, query = address.partition("?")
        given = {"host": "127.0.0.1:8765"} | headers
        scope: dict[str, Any] = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": "",
            "query_string": query.encode(), "headers": [(k.encode(), v.encode()) for k, v in given.items()],
            "scheme": "http", "http_version": "1.1",
        }  # fmt: skip
        messages = list[Any]()

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        asyncio.run(self._asgi(scope, receive, send))
        answer_headers = {k.decode().lower(): v.decode() for k, v in messages[0]["headers"]}
        return messages[0]["status"], answer_headers, b"".join(message.get("body", b"") for message in messages)


@pytest.fixture(scope="module")
def client(store: Store) -> Client:
    return Client(store)


def test_windows_and_fields_are_answered_as_json(client: Client):
    status, headers, body = client.get("/api/runs?limit=1&columns=name")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["columns"] == {"name": ["run-299"]}
    assert json.loads(client.get("/api/fields")[2])["total"] == 300


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/api/runs?where=" + quote("nonsense = 1"), 422, "Expected a field"),
        ("/api/runs?limit=0", 422, "'limit'"),
        ("/api/runs?limt=1", 422, "'limt'"),
        ("/api/runs/../../etc/passwd", 404, "no such path"),
        ("/static/../app.py", 404, "no such path"),
        ("/static//etc/passwd", 404, "no such path"),
        ("/static/pages", 404, "no such path"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_sentence(client: Client, address: str, status: int, words: str):
    answer, headers, body = client.get(address)
    assert (answer, headers["content-type"]) == (status, "application/problem+json")
    assert words in json.loads(body)["detail"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""])
def test_requests_under_names_of_other_sites_are_refused(client: Client, host: str):
    for path in ("/", "/api/runs", "/static/app.js"):
        assert client.get(path, host=host)[0] == 421


def test_pages_of_other_sites_and_other_methods_are_refused(client: Client):
    assert client.get("/api/runs", origin="https://evil.example")[0] == 403
    assert client.get("/api/runs", method="POST")[0] == 405


def test_the_page_may_run_scripts_of_the_server_only(client: Client):
    _, headers, _ = client.get("/")
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_all_assets_are_served_and_each_vendored_package_has_its_license(client: Client):
    assets = load_assets()
    for name, (content, _) in assets.items():
        assert client.get(f"/static/{name}")[2] == content
        assert b"https://" not in content or name.startswith("vendor/")
    assert {"vendor/preact.js", "vendor/htm.js", "vendor/signals.js", "pages/runs.js"} <= assets.keys()
