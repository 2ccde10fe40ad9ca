"""Tests of the paths of the dashboard, and of who may use them."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from rosenblatt.dashboard.assets import load_assets
from rosenblatt.runs.store.store import Store
from tests.dashboard.clients import Client


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


def test_writes_need_json_of_this_site(client: Client):
    assert client.post("/api/count-deletion", {"runs": ["x"]})[0] == 200
    assert client.post("/api/count-deletion", {"runs": ["x"]}, origin="https://evil.example")[0] == 403
    assert client.post("/api/count-deletion", {"runs": ["x"]}, host="evil.example")[0] == 421
    assert client.post("/api/count-deletion", {"runs": ["x"]}, content_type="text/plain")[0] == 415
    assert client.post("/api/count-deletion", {"runs": ["x"] * 300_000})[0] == 413
    assert client.get("/api/delete?runs=x")[0] == 405


def test_curves_are_answered_as_binary_and_bad_bodies_refused(client: Client):
    body = json.dumps({"runs": ["x"], "metrics": ["loss"]}).encode()
    status, headers, _ = client.get("/api/curves", method="POST", body=body, content_type="application/json")
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    assert client.post("/api/curves", {"runs": []})[0] == 422
    assert "The body" in client.post("/api/curves", [])[1]["detail"]


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
