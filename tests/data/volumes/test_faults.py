"""Additions under faults of stores, disks and processes: nothing acknowledged is lost, and each commit lands once."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time

import pytest

from rosenblatt.data.volumes.add import AddOptions, add
from rosenblatt.data.volumes.locations import parse_address
from rosenblatt.data.volumes.maintenance.verify import verify
from rosenblatt.data.volumes.storage import buckets, markers
from rosenblatt.data.volumes.storage.log import VolumeLog
from rosenblatt.errors import ConflictError, StorageError
from tests.data.volumes.faulty_proxy import Action
from tests.data.volumes.storage.test_folders import largest_file
from tests.waiting import wait_until

pytest.importorskip("deltalake", reason="deltalake is not installed: pip install 'rosenblatt[volumes]'")


@pytest.fixture
def originals(tmp_path, monkeypatch):
    """A folder of samples; the tests use caches of their own, and wait for short times."""
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ROSENBLATT_VOLUMES", str(tmp_path / "default"))
    monkeypatch.setattr(markers, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(buckets, "MAX_RETRIES", 2)
    monkeypatch.setitem(buckets.BACKOFF, "init_backoff", buckets.timedelta(milliseconds=1))
    monkeypatch.setitem(buckets.BACKOFF, "max_backoff", buckets.timedelta(milliseconds=5))
    monkeypatch.setattr(time, "sleep", lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.02)))
    folder = tmp_path / "originals"
    folder.mkdir()
    change(folder, 0)
    return folder


def change(folder, seed):
    """Give the samples another content."""
    for k in range(3):
        (folder / f"{k}.bin").write_bytes(random.Random(f"{seed} {k}").randbytes(3000))


def add_all(name, folder):
    return add(name, str(folder), AddOptions(kind="files"), lambda _: None).commit


def check_history(name, n_versions):
    """The log has these versions, each once, and all are intact."""
    address = parse_address(name)
    history = list(VolumeLog(address.objects, address.name).history())
    assert [commit.version for commit in history] == list(range(n_versions, 0, -1))
    assert len({commit.token for commit in history}) == len({commit.root for commit in history}) == n_versions
    assert verify(name).is_intact


def test_an_addition_whose_answers_are_lost_one_by_one_commits_once(originals, s3_root, s3_proxy):
    name, version, n_lost = f"{s3_root}/photos", 0, 0
    while True:
        change(originals, version)
        fault = s3_proxy.inject(Action.DROP_ANSWER, method="PUT|POST|DELETE", skip=version, count=1)
        version += 1
        assert add_all(name, originals).version == version
        n_lost += fault.hits
        s3_proxy.clear()
        if not fault.hits:
            break
    assert n_lost > 4
    check_history(name, version)


def test_an_addition_that_is_refused_at_any_request_leaves_the_volume_as_it_was(originals, s3_root, s3_proxy):
    for step in range(0, 100, 3):
        name = f"{s3_root}/{step}/photos"
        change(originals, 0)
        add_all(name, originals)
        change(originals, 1)
        fault = s3_proxy.inject(Action.DENIED, skip=step)
        try:
            add_all(name, originals)
        except StorageError as error:
            assert "the store answers 403 Forbidden. Check AWS_ACCESS_KEY_ID" in str(error)  # noqa: PT017 - or not raised
        s3_proxy.clear()
        assert add_all(name, originals).version == 2
        check_history(name, 2)
        if not fault.hits:
            break
    assert step > 10


def test_of_many_writers_whose_answers_are_lost_each_commits_once(originals, s3_root, s3_proxy, monkeypatch):
    monkeypatch.setattr(buckets, "MAX_RETRIES", 20)  # so that no request is given up
    name, commits = f"{s3_root}/photos", []

    def write(k):
        folder = originals.with_name(f"originals {k}")
        folder.mkdir()
        change(folder, k)
        while True:
            try:
                return commits.append(add_all(name, folder))
            except ConflictError as error:
                assert "Run the command again" in str(error)  # noqa: PT017 - until it succeeds

    s3_proxy.inject(Action.DROP_ANSWER, method="PUT|POST|DELETE", probability=0.2)
    threads = [threading.Thread(target=write, args=(k,)) for k in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    s3_proxy.clear()
    assert sorted(commit.version for commit in commits) == [1, 2, 3, 4, 5]
    check_history(name, 5)


def test_a_full_disk_is_named_and_the_next_addition_succeeds(originals, tmp_path):
    name = f"{tmp_path}/volumes/photos"
    add_all(name, originals)
    change(originals, 1)
    with largest_file(2000), pytest.raises(StorageError, match="cannot be written: File too large"):
        add_all(name, originals)
    check_history(name, 1)
    add_all(name, originals)
    check_history(name, 2)


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_commits_blocks_nobody(originals, s3_root, s3_proxy):
    name = f"{s3_root}/photos"
    add_all(name, originals)
    change(originals, 1)
    fault = s3_proxy.inject(Action.DELAY, method="PUT", path=f"_delta_log/{2:020}.json", seconds=60, count=1)
    code = (
        "import sys; from rosenblatt.data.volumes.add import AddOptions, add\n"
        "add(sys.argv[1], sys.argv[2], AddOptions(kind='files'))"
    )
    with subprocess.Popen([sys.executable, "-c", code, name, str(originals)]) as process:
        wait_until(lambda: fault.hits or process.poll() is not None, description="the commit")
        process.kill()
    assert add_all(name, originals).version == 2
    check_history(name, 2)
