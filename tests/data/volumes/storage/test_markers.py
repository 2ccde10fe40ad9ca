"""Commits and deletions of a root exclude each other, and those of processes that were killed do not block others."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from rosenblatt.data.volumes.storage import markers
from rosenblatt.data.volumes.storage.erasures import erased_names, put_tombstones
from rosenblatt.data.volumes.storage.folders import FolderObjects
from rosenblatt.data.volumes.storage.markers import COMMIT, DELETE, Marker, check_references, commit_section
from rosenblatt.data.volumes.storage.markers import deletion_section as delete_section
from rosenblatt.errors import StorageError
from tests.waiting import wait_until

PACK, FILE_HASH = "ab" * 32, "cd" * 32
FILE = f"photos/data/00000000-{FILE_HASH}.parquet"


@pytest.fixture
def objects(tmp_path, monkeypatch):
    monkeypatch.setattr(markers, "POLL_SECONDS", 0.01)
    return FolderObjects(tmp_path)


def names(objects):
    return [info.path.split("/")[1].split("-")[0] for info in objects.list("gc")]


def test_markers_last_as_long_as_their_section(objects):
    with commit_section(objects, print), Marker(objects, COMMIT) as other:
        assert names(objects) == ["commit", "commit"]
        assert other.has_others(COMMIT)
        assert not other.has_others(DELETE)
    with delete_section(objects, print):
        assert names(objects) == ["delete"]
    assert names(objects) == []


@pytest.mark.parametrize(("outer", "inner"), [(commit_section, delete_section), (delete_section, commit_section)])
def test_a_commit_and_a_deletion_wait_for_each_other(objects, outer, inner):
    events, notes = [], []

    def enter():
        with inner(objects, notes.append):
            events.append("inner")

    thread = threading.Thread(target=enter)
    with outer(objects, notes.append):
        thread.start()
        wait_until(lambda: notes, description="the other to wait")
        assert not events
        events.append("end")
    thread.join()
    assert events[0] == "end"
    assert len(events) == 2
    assert names(objects) == []


def test_many_commits_and_deletions_never_overlap(objects):
    inside, overlaps, barrier = {commit_section: 0, delete_section: 0}, [], threading.Barrier(6)

    def work(section):
        barrier.wait()
        for _ in range(5):
            with section(objects, lambda _: None):
                inside[section] += 1
                overlaps.append(inside[commit_section] and inside[delete_section])
                inside[section] -= 1

    sections = [commit_section, commit_section, commit_section, commit_section, delete_section, delete_section]
    threads = [threading.Thread(target=work, args=(section,)) for section in sections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(overlaps) == 30
    assert not any(overlaps)


def test_the_marker_of_a_killed_process_does_not_block_others(objects):
    objects.put("gc/delete-dead", b"")
    silent_since = time.time() - markers.MAX_SILENCE_SECONDS - 1
    os.utime(objects.local_path("gc/delete-dead"), (silent_since, silent_since))
    with commit_section(objects, pytest.fail):
        assert len(names(objects)) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems wait until a marker is silent")
def test_a_process_of_this_machine_that_was_killed_is_noticed_at_once(objects):
    code = (
        "import sys, time; from rosenblatt.data.volumes.storage.folders import FolderObjects, Path\n"
        "from rosenblatt.data.volumes.storage.markers import deletion_section\n"
        "with deletion_section(FolderObjects(Path(sys.argv[1])), print): print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(objects.root)], stdout=subprocess.PIPE)
    with process, Marker(objects, COMMIT) as marker:
        process.stdout.read(1)
        assert marker.has_others(DELETE)
        process.kill()
        process.wait()
        assert len(names(objects)) == 2
        assert not marker.has_others(DELETE)


def test_a_process_of_another_machine_is_alive_until_it_is_silent(objects):
    with Marker(objects, COMMIT) as marker:
        for content in (
            b"",
            b'{"place": "other", "pid": 999999, "started": 1}',
            b'{"place": "", "pid": 1, "started": 1}',
        ):
            objects.put("gc/delete-other", content)
            assert marker.has_others(DELETE)


def test_markers_are_renewed_and_a_process_that_was_stopped_notices(objects, monkeypatch):
    monkeypatch.setattr(markers, "HEARTBEAT_SECONDS", 0.01)
    with Marker(objects, DELETE) as marker:
        first = marker.now()
        wait_until(lambda: marker.now() > first, description="a heartbeat")
        marker.check()
        monkeypatch.setattr(markers, "MAX_PAUSE_SECONDS", -1.0)
        with pytest.raises(StorageError, match="was interrupted"):
            marker.check()


def test_references_are_looked_for(objects, monkeypatch):
    with pytest.raises(StorageError, match=r"'packs/ab/.*' was deleted in the meantime by a garbage"):
        check_references(objects, [PACK], [FILE])
    objects.put(f"packs/ab/{PACK}.tar", b"")
    for limit in (1000, 0):
        monkeypatch.setattr(markers, "LISTED_PACKS", limit)
        with pytest.raises(StorageError, match=r"'photos/data/.*' was deleted in the meantime"):
            check_references(objects, [PACK], [FILE])
    objects.put(FILE, b"")
    for limit in (1000, 0):
        monkeypatch.setattr(markers, "LISTED_PACKS", limit)
        check_references(objects, [PACK], [FILE])


def test_what_was_erased_can_be_written_again(objects):
    put_tombstones(objects, [PACK, FILE_HASH], "me")
    objects.put(f"packs/ab/{PACK}.tar", b"")
    objects.put(FILE, b"")
    check_references(objects, [PACK], [FILE])
    assert erased_names(objects) == set()
