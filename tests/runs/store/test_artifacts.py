"""Content-addressed files, in a folder and in a real object store."""

from __future__ import annotations

import os

import pytest

from rosenblatt.errors import StorageError
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.locations import spool_folder
from rosenblatt.runs.store.store import Store
from tests.data.volumes.servers import BUCKET, s3_settings


@pytest.fixture
def store(tmp_path):
    opened = Store(f"sqlite:///{tmp_path / 'store' / 'runs.db'}")
    yield opened
    opened.close()


@pytest.fixture(params=["own folder", "shared folder", "s3"])
def root(request, tmp_path, monkeypatch):
    """The address of the place of files, which ROSENBLATT_ARTIFACTS names; "": the store's own folder."""
    if request.param == "own folder":
        return ""
    if request.param == "shared folder":
        address = str(tmp_path / "shared")
    else:
        pytest.importorskip("obstore", reason="obstore is not installed: pip install 'rosenblatt[objects]'")
        for name, value in s3_settings(request.getfixturevalue("s3_server")).items():
            monkeypatch.setenv(name, value)
        address = f"s3://{BUCKET}/{request.node.name.split('[')[0]}"
    monkeypatch.setenv("ROSENBLATT_ARTIFACTS", address)
    return address


@pytest.fixture
def artifacts(root, store):
    return Artifacts(store.url, store)


@pytest.fixture
def own_artifacts(store):
    """The files in the folder of the store."""
    return Artifacts(store.url, store)


def test_a_stored_file_is_restored(artifacts, root, tmp_path):
    (tmp_path / "model.pt").write_bytes(os.urandom(100_000))
    stored = artifacts.store_file(tmp_path / "model.pt")
    assert stored.bytes == 100_000
    assert stored.root == root
    artifacts.fetch(stored.hash, stored.root, tmp_path / "back" / "model.pt")
    assert (tmp_path / "back" / "model.pt").read_bytes() == (tmp_path / "model.pt").read_bytes()


def test_equal_files_are_stored_once_and_removed_when_no_run_refers_to_them(artifacts, root, tmp_path, monkeypatch):
    for _ in range(20):
        shared = artifacts.store_bytes(b"shared")
    other = artifacts.store_bytes(b"other")
    used = {shared.hash}
    assert artifacts.collect_garbage(used, shared=True) == (
        0,
        0,
    )  # the run that refers to a new file may not be written
    monkeypatch.setattr("rosenblatt.runs.store.artifacts.GRACE_SECONDS", -5.0)
    if root:
        assert artifacts.collect_garbage(used) == (0, 1)  # a copy of the store may use it
    assert artifacts.collect_garbage(used, shared=True) == (1, 0)
    assert artifacts.collect_garbage(used, shared=True) == (0, 0)
    artifacts.fetch(*shared[::2], tmp_path / "back")
    with pytest.raises(StorageError, match="cannot be read"):
        artifacts.fetch(*other[::2], tmp_path / "back")


def test_stores_that_share_a_place_do_not_remove_files_of_each_other(artifacts, tmp_path, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.store.artifacts.GRACE_SECONDS", -5.0)
    stored = artifacts.store_bytes(b"content")
    other = Store(f"sqlite:///{tmp_path / 'other' / 'runs.db'}")
    assert Artifacts(other.url, other).collect_garbage(set(), shared=True) == (0, 0)
    other.close()
    artifacts.fetch(*stored[::2], tmp_path / "back")


def test_files_in_a_linked_folder_are_shared_with_copies_of_the_store(own_artifacts, tmp_path, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.store.artifacts.GRACE_SECONDS", -5.0)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store" / "artifacts").symlink_to(tmp_path / "elsewhere")
    stored = own_artifacts.store_bytes(b"content")
    assert own_artifacts.collect_garbage(set()) == (0, 1)
    own_artifacts.fetch(*stored[::2], tmp_path / "back")


def test_files_of_a_place_that_is_no_longer_named_are_found(artifacts, tmp_path, monkeypatch):
    stored = artifacts.store_bytes(b"content")
    monkeypatch.delenv("ROSENBLATT_ARTIFACTS", raising=False)
    artifacts.fetch(*stored[::2], tmp_path / "back")


def test_credentials_of_a_place_are_not_recorded_or_shown(own_artifacts, store, monkeypatch, tmp_path):
    monkeypatch.setenv("ROSENBLATT_ARTIFACTS", "http://ana:word1@127.0.0.1:9/files?key=word2#word3")
    stored = own_artifacts.store_bytes(b"content")  # waits in the spool
    assert stored.root == "http://127.0.0.1:9/files"
    with pytest.raises(StorageError) as error:
        own_artifacts.fetch(*stored[::2], tmp_path / "back")
    assert not any(word in str(error.value) for word in ("ana", "word1", "word2", "word3"))
    monkeypatch.setenv("ROSENBLATT_ARTIFACTS", "http://ana:wo/rd@host/files")
    with pytest.raises(StorageError, match="write / as %2F") as error:
        own_artifacts.store_bytes(b"content")
    assert "rd@host" not in str(error.value)


def test_files_of_a_moved_store_are_found(own_artifacts, store, tmp_path):
    stored = own_artifacts.store_bytes(b"content")
    store.close()
    (tmp_path / "store").rename(tmp_path / "moved")
    moved = Store(f"sqlite:///{tmp_path / 'moved' / 'runs.db'}")
    for root in (stored.root, str(tmp_path / "store" / "artifacts")):  # version 1001 recorded the absolute path
        Artifacts(moved.url, moved).fetch(stored.hash, root, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b"content"
    moved.close()


def test_a_damaged_file_is_an_error(own_artifacts, tmp_path):
    stored = own_artifacts.store_bytes(b"content")
    (tmp_path / "store" / "artifacts" / stored.hash[:2] / stored.hash).write_text("damaged")
    with pytest.raises(StorageError, match="is damaged"):
        own_artifacts.fetch(*stored[::2], tmp_path / "back")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_files_wait_while_their_folder_cannot_be_written(own_artifacts, tmp_path):
    (tmp_path / "store" / "artifacts").write_text("a file is no folder")
    stored = own_artifacts.store_bytes(b"content")
    (tmp_path / "store" / "artifacts").unlink()
    assert own_artifacts.deliver() == 1
    own_artifacts.fetch(*stored[::2], tmp_path / "back")
    assert (tmp_path / "back").read_text() == "content"


def test_files_for_a_shared_place_wait_while_the_store_cannot_be_reached(store, tmp_path, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_ARTIFACTS", str(tmp_path / "shared"))
    stored = Artifacts(store.url, None).store_bytes(b"content")
    assert not (tmp_path / "shared").exists()
    artifacts = Artifacts(store.url, store)
    assert artifacts.deliver() == 1
    artifacts.fetch(*stored[::2], tmp_path / "back")


def test_waiting_files_are_stored_only_if_their_content_matches_their_name(store, tmp_path):
    unreachable = Artifacts(store.url, None)
    (tmp_path / "store" / "artifacts").write_text("a file is no folder")
    stored, forged, linked = (unreachable.store_bytes(content) for content in (b"content", b"forged", b"linked"))
    (tmp_path / "store" / "artifacts").unlink()
    folder = spool_folder(store.url) / "files"
    assert (folder / stored.hash).stat().st_mode & 0o777 == 0o600
    (folder / forged.hash).write_bytes(b"other")
    messages = []
    artifacts = Artifacts(store.url, store)
    assert artifacts.deliver(messages.append) == 2
    assert [path.name for path in folder.iterdir()] == [f"{forged.hash}.rejected"]
    assert len(messages) == 1
    assert "does not match its hash" in messages[0]
    artifacts.fetch(*stored[::2], tmp_path / "back")
    with pytest.raises(StorageError, match="cannot be read"):
        artifacts.fetch(*forged[::2], tmp_path / "back")
    (folder / linked.hash).symlink_to("/etc/hostname")
    assert artifacts.deliver(messages.append) == 0
    assert "symbolic links" in messages[1]


def test_a_missing_file_is_an_error(own_artifacts, tmp_path):
    with pytest.raises(StorageError, match="cannot be stored as an artifact"):
        own_artifacts.store_file(tmp_path / "nothing")


def test_a_device_in_place_of_a_file_is_not_read(own_artifacts, tmp_path):
    stored = own_artifacts.store_bytes(b"content")
    path = own_artifacts.folder / "artifacts" / stored.hash[:2] / stored.hash
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(StorageError, match="is no regular file"):
        own_artifacts.fetch(stored.hash, stored.root, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
