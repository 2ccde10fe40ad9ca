"""Objects of folders: concurrent writers, faults of disks and rights."""

from __future__ import annotations

import errno
import os
import signal
import threading
from contextlib import contextmanager

import pytest

from rosenblatt.data.volumes.storage.folders import FolderObjects
from rosenblatt.errors import StorageError

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def folder(tmp_path):
    return FolderObjects(tmp_path / "volumes")


def test_listings_go_on_where_files_are_deleted_in_the_meantime(folder):
    for name in "abc":
        folder.put(name, b"1")
    listing = folder.list("")
    assert next(listing).path == "a"
    folder.delete(["b"])
    assert [info.path for info in listing] == ["c"]


def test_of_many_writers_exactly_one_creates_an_object(folder):
    barrier, results = threading.Barrier(8), []

    def create(k):
        barrier.wait()
        results.append(folder.create("a", str(k).encode() * 1000))

    threads = [threading.Thread(target=create, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]
    assert len(set(folder.read("a"))) == 1


def test_folders_without_hard_links_create_objects_as_well(folder, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refuse)
    assert folder.create("a", b"1")
    assert not folder.create("a", b"2")
    assert folder.read("a") == b"1"
    assert [info.path for info in folder.list("")] == ["a"]


@contextmanager
def largest_file(n_bytes):
    """Let writes beyond a size fail, as on a full disk."""
    resource = pytest.importorskip("resource", reason="this system limits no sizes of files")
    handler, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("write", [FolderObjects.put, FolderObjects.create, lambda *a: FolderObjects.replace(*a, None)])
def test_a_full_disk_leaves_the_old_content_and_no_remains(folder, write):
    folder.put("other", b"1")
    with largest_file(1000), pytest.raises(StorageError, match=r"'.*a' cannot be written: File too large"):
        write(folder, "a", CONTENT)
    assert [path.name for path in folder.root.iterdir() if not path.name.endswith(".lock")] == ["other"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for name in ("file", "/proc"):
        objects = FolderObjects(tmp_path / name)
        with pytest.raises(StorageError, match=rf"'.*{name}/folder/a' cannot be written: "):
            objects.put("folder/a", b"")


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs root, to become another user")
def test_a_folder_of_another_user_is_named(tmp_path):
    folder = FolderObjects(tmp_path)
    folder.put("a", b"1")
    os.seteuid(65534)
    try:
        with pytest.raises(StorageError, match="cannot be written: Permission denied"):
            folder.put("b", b"1")
        with pytest.raises(StorageError, match="cannot be deleted: Permission denied"):
            folder.delete(["a"])
    finally:
        os.seteuid(0)
