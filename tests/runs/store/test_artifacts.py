"""Content-addressed files, in a folder and in a real object store."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request

import pytest

from rosenblatt.errors import StorageError
from rosenblatt.runs.store.artifacts import collect_garbage, deliver, fetch, store_file
from tests.waiting import wait_until

URL = "sqlite:///somewhere/runs.db"


@pytest.fixture(scope="session")
def server():
    pytest.importorskip("obstore", reason="obstore is not installed: pip install 'rosenblatt[objects]'")
    pytest.importorskip("moto", reason="moto, the object-store server of the tests, is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "import sys; from moto.server import main; main(sys.argv[1:])", "-H", "127.0.0.1"]
    process = subprocess.Popen([*command, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"

    def make_bucket():
        assert process.poll() is None, "the object-store server ended"
        try:
            urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT"), timeout=10)
        except OSError:
            return False
        return True

    try:
        wait_until(make_bucket, description="the object-store server to make a bucket")
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["folder", "s3"])
def root(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return str(tmp_path / "artifacts")
    server = request.getfixturevalue("server")
    settings = {"ENDPOINT_URL": server, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return f"s3://bucket/{request.node.name.split('[')[0]}"


def test_a_stored_file_is_restored(root, tmp_path):
    (tmp_path / "model.pt").write_bytes(os.urandom(100_000))
    stored = store_file(tmp_path / "model.pt", root, URL)
    assert stored.bytes == 100_000
    fetch(stored.hash, stored.root, tmp_path / "back" / "model.pt")
    assert (tmp_path / "back" / "model.pt").read_bytes() == (tmp_path / "model.pt").read_bytes()


def test_equal_files_are_stored_once_and_removed_when_no_run_refers_to_them(root, tmp_path, monkeypatch):
    for i in range(20):
        (tmp_path / f"{i}").write_text("shared")
        shared = store_file(tmp_path / f"{i}", root, URL)
    (tmp_path / "other").write_text("other")
    other = store_file(tmp_path / "other", root, URL)
    assert collect_garbage(root, {shared.hash}) == 0  # it is new: the run that refers to it may not be written yet
    monkeypatch.setattr("rosenblatt.runs.store.artifacts.GRACE_SECONDS", -5.0)
    assert collect_garbage(root, {shared.hash}) == 1
    assert collect_garbage(root, {shared.hash}) == 0
    fetch(shared.hash, root, tmp_path / "back")
    with pytest.raises(StorageError, match="cannot be read"):
        fetch(other.hash, root, tmp_path / "back")


def test_a_damaged_file_is_an_error(tmp_path):
    root = str(tmp_path / "artifacts")
    (tmp_path / "a").write_text("content")
    stored = store_file(tmp_path / "a", root, URL)
    (tmp_path / "artifacts" / stored.hash[:2] / stored.hash).write_text("damaged")
    with pytest.raises(StorageError, match="is damaged"):
        fetch(stored.hash, root, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_files_wait_while_their_folder_cannot_be_written(tmp_path):
    (tmp_path / "a").write_text("content")
    (tmp_path / "full").write_text("a file is no folder")
    stored = store_file(tmp_path / "a", str(tmp_path / "full" / "artifacts"), URL)
    (tmp_path / "full").unlink()
    assert deliver(URL, str(tmp_path / "full" / "artifacts")) == 1
    fetch(stored.hash, stored.root, tmp_path / "back")
    assert (tmp_path / "back").read_text() == "content"


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(StorageError, match="cannot be stored as an artifact"):
        store_file(tmp_path / "nothing", str(tmp_path), URL)
