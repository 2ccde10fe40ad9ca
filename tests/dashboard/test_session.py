"""Signing in with a token, and what each token may do."""

from __future__ import annotations

from contextlib import closing

import pytest
from starlette.testclient import TestClient

from rosenblatt.dashboard.app import Application
from rosenblatt.runs.store.remote_store import PATH
from rosenblatt.runs.store.store import Store
from rosenblatt.web.access import Access
from tests.dashboard.page_checks import find_barriers, set_theme
from tests.dashboard.servers import running_dashboard
from tests.serving.browser import open_page

WRITE, READ = "token-of-those-who-write", "token-of-those-who-read"
ACCESS = Access(WRITE, READ, is_loopback=False, host_names=frozenset({"lab.example"}))


@pytest.fixture
def client(store):
    return TestClient(Application(store, ACCESS).asgi, base_url="https://lab.example")


def sign_in(client, token):
    return client.post("/api/session", json={"token": token})


def test_without_a_token_there_is_a_page_to_sign_in_and_no_data(client):
    page = client.get("/")
    assert (page.status_code, "Sign in" in page.text) == (401, True)
    assert client.get("/static/login.js").status_code == 200
    assert {path: client.get(path).status_code for path in ("/api/runs", "/api/fields", PATH)} == {
        "/api/runs": 401, "/api/fields": 401, PATH: 401,
    }  # fmt: skip
    assert client.post(f"{PATH}/records", json={"rows": {}}).status_code == 401


def test_a_token_opens_the_page_by_a_cookie_that_scripts_cannot_read(client):
    answer = sign_in(client, f" {WRITE} ")
    assert answer.status_code == 204
    attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
    assert {"httponly", "secure", "samesite=strict", "path=/"} <= attributes
    assert "Sign in" not in client.get("/").text
    assert client.get("/api/runs").status_code == 200
    assert client.delete("/api/session").status_code == 204
    assert client.get("/api/runs").status_code == 401


@pytest.mark.parametrize("token", ["", "wrong", WRITE[:-1], "\u00e9"])
def test_other_tokens_are_refused(client, token):
    answer = sign_in(client, token)
    assert (answer.status_code, answer.json()["detail"]) == (401, "This is not a token of the dashboard.")
    assert "set-cookie" not in answer.headers


def test_the_token_of_readers_shows_all_and_changes_nothing(client):
    assert sign_in(client, READ).status_code == 204
    assert client.get("/api/runs").status_code == 200
    assert client.post("/api/curves", json={"runs": [], "metrics": []}).status_code != 403
    refused = client.post(f"{PATH}/records", json={"rows": {}})
    assert (refused.status_code, refused.json()["detail"].startswith("This token may only look")) == (403, True)
    assert client.put(f"{PATH}/files/{'0' * 64}", content=b"").status_code == 403


def test_pages_of_other_sites_cannot_use_the_cookie(client):
    sign_in(client, WRITE)
    headers = {"Origin": "https://evil.example"}
    assert client.post(f"{PATH}/records", json={"rows": {}}, headers=headers).status_code == 403


@pytest.mark.browser
def test_the_link_with_the_token_signs_in_and_leaves_no_trace(tmp_path):
    access = Access(WRITE)
    with (
        closing(Store(f"sqlite:///{tmp_path}/runs.db")) as store,
        running_dashboard(store, access=access) as port,
        open_page(tmp_path / "browser") as page,
    ):
        page.open(f"http://127.0.0.1:{port}/#token={WRITE}")
        page.wait_for("document.querySelector('.grid') || document.body?.innerText.includes('No runs')")
        assert "token" not in page.evaluate("location.href")
        assert page.evaluate("document.cookie") == ""
        assert page.evaluate("fetch('/api/session', { method: 'DELETE' }).then(r => r.status)") == 204
        page.open("about:blank")
        page.open(f"http://127.0.0.1:{port}/")
        page.wait_for("document.getElementById('login')")
        for theme in ("light", "dark"):
            set_theme(page, theme)
            assert find_barriers(page) == []
        page.evaluate("document.getElementById('token').value = 'wrong'; document.querySelector('button').click()")
        page.wait_for("document.getElementById('error').innerText.includes('not a token')")
