"""Batches wait in a spool file while the store cannot be written, and reach it exactly once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from rosenblatt.errors import StorageError, StoreUnavailableError
from rosenblatt.runs.capture.environment import user_name
from rosenblatt.runs.store.queries import find_runs, load_all_curves, run_details
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.tracking.spool import (
    REJECTED_SUFFIX,
    REMOTE_TIMEOUT,
    Spool,
    deliver_all,
    deliver_pending,
    pending_files,
)
from tests.runs.conftest import add_run_with_curves

DELIVER = """
import sys
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.spool import deliver_pending
print(deliver_pending(Store(sys.argv[1])))
"""
SPOOL_AND_WAIT = """
import sys
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.tracking.spool import Spool
batch = RecordBatch()
batch.add_run("a", "e", "n", "track")
Spool(sys.argv[1], "w").add(batch.rows)
print("spooled", flush=True)
sys.stdin.read()
"""


def run_ids(store):
    return sorted(run.id for run in find_runs(store))


def leave_spool_file(url, *batches, host=None):
    """Write a spool file as if left by a process that has ended, on another host if one is named."""
    spool = Spool(url, "w")
    for batch in batches:
        spool.add(batch.rows)
    path = spool.path
    spool.release()
    if host:
        path.write_text(path.read_text().replace(json.dumps(socket.gethostname()), json.dumps(host)))
    return path


class UnavailableStore:
    """A store that cannot be reached."""

    def __init__(self, url):
        self.url = url

    def write(self, rows):
        raise StoreUnavailableError("the store cannot be reached")


def test_a_spool_delivers_its_batches_in_order_and_removes_its_file(store, url):
    spool = Spool(url, "w")
    spool.add(add_run_with_curves(RecordBatch(), loss=[1.0, 2.0]).rows)
    change = RecordBatch()
    change.update_run("a", state="finished", ended=5.0)
    spool.add(change.rows)
    path = spool.path
    assert pending_files(url) == [path]
    spool.deliver(store)
    assert not path.exists()
    assert spool.path is None
    assert run_details(store, "a").state == "finished"
    assert load_all_curves(store, "a")["loss"].values.tolist() == [1.0, 2.0]


def test_points_survive_the_spool_bit_for_bit(store, url):
    values = [0.1, -0.0, float("nan"), float("inf"), 5e-324, 1e308]
    spool = Spool(url, "w")
    spool.add(add_run_with_curves(RecordBatch(), loss=values).rows)
    spool.deliver(store)
    stored = load_all_curves(store, "a")["loss"].values
    np.testing.assert_array_equal(stored.view(np.uint64), np.array(values).view(np.uint64))


def test_text_that_is_not_ascii_survives_the_spool(store, url):
    batch = add_run_with_curves(RecordBatch())
    batch.add_tag("a", "größe", "日本\n語 🙂")
    spool = Spool(url, "w")
    spool.add(batch.rows)
    assert spool.path.read_bytes().isascii()
    assert spool.path.read_bytes().count(b"\n") == 1
    spool.deliver(store)
    assert run_details(store, "a").tags == {"größe": "日本\n語 🙂"}


def test_an_incomplete_last_line_is_ignored(store, url):
    path = leave_spool_file(url, add_run_with_curves(RecordBatch(), "a"), add_run_with_curves(RecordBatch(), "b"))
    path.write_bytes(path.read_bytes()[:-1])
    assert deliver_pending(store) == 1
    assert run_ids(store) == ["a"]
    assert pending_files(url) == []


@pytest.mark.parametrize(
    "rows",
    [
        {"sqlite_master": [{"name": "x"}]},
        {"settings": [{"name": "id", "value": "x"}]},
        {"tags": [{"run": "a", "name": "b", "value": "c", "more": 1}]},
        {"tags": [{"run": "a", "name": "b"}]},
        {"tags": [{"run": "a", "name": "b", "value": 1}]},
        {"tags": [{"run": "a", "name": "b", "value": "\ud800"}]},
        {"tags": {"run": "a"}},
        {"run_updates": [{"run": "a", "id": "b"}]},
        {"run_updates": [{"state": "finished"}]},
        {"run_updates": [{"run": "a", "ended": "now"}]},
        {"metrics": [{"run": "a", "name": "b", "step": 2**70}]},
        {"curve_chunks": [{"run": "a", "metric": "b", "writer": "c", "chunk_index": 0, "points": {"base64": "?"}}]},
        [],
        None,
    ],
)
def test_records_that_no_store_writes_are_rejected(store, url, rows):
    path = leave_spool_file(url, add_run_with_curves(RecordBatch(), "a"), add_run_with_curves(RecordBatch(), "b"))
    first, second = path.read_text().splitlines()
    forged = json.dumps(json.loads(first) | {"rows": rows})
    path.write_text(f"{forged}\nnonsense\n{'[' * 100_000}\n{second}\n")
    messages = []
    assert deliver_pending(store, messages.append) == 1
    assert run_ids(store) == ["b"]
    assert "3 of the waiting batches" in messages[0]


def test_a_batch_names_its_writer(url):
    line = json.loads(leave_spool_file(url, add_run_with_curves(RecordBatch())).read_text())
    assert line["writer"] == {"user": user_name(), "host": socket.gethostname(), "process": os.getpid()}


def test_spools_can_be_read_only_by_the_user(url):
    path = leave_spool_file(url, add_run_with_curves(RecordBatch()))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.parent.parent.stat().st_mode & 0o777 == 0o700


def make_writable(path):
    path.chmod(0o777)


def replace_by_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize("change", [make_writable, replace_by_link])
@pytest.mark.parametrize("level", [0, 1])
def test_a_spool_that_others_may_have_written_is_not_read(store, url, change, level):
    path = leave_spool_file(url, add_run_with_curves(RecordBatch()))
    change(path.parents[level])
    messages = []
    deliver_all(store, messages.append)
    assert run_ids(store) == []
    assert "so it is not used" in messages[0]
    with pytest.raises(StorageError, match="so it is not used"):
        Spool(url, "other").add({})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("level", ["file", "folder"])
def test_files_of_other_users_are_not_delivered(store, url, level):
    path = leave_spool_file(url, add_run_with_curves(RecordBatch()))
    os.chown(path if level == "file" else path.parent, 12345, -1)
    messages = []
    deliver_all(store, messages.append)
    assert run_ids(store) == []
    assert "belongs to the user with id 12345" in messages[0]


def test_links_in_a_spool_are_not_followed(store, url, tmp_path):
    path = leave_spool_file(url, add_run_with_curves(RecordBatch()))
    path.rename(tmp_path / "target")
    path.symlink_to(tmp_path / "target")
    messages = []
    deliver_all(store, messages.append)
    assert run_ids(store) == []
    assert messages


def test_without_a_home_folder_records_have_no_spool(monkeypatch):
    monkeypatch.delenv("ROSENBLATT_SPOOL")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pathlib.Path.home", no_home)
    with pytest.raises(StorageError, match="no home folder"):
        Spool("sqlite:////somewhere/runs.db", "w").add({})


def no_home():
    raise RuntimeError("Could not determine home directory.")


def test_a_spool_without_batches_delivers_nothing(store, url):
    Spool(url, "w").deliver(store)
    assert pending_files(url) == []
    assert run_ids(store) == []


def test_a_file_of_a_running_process_is_not_delivered_by_another(store, url):
    spool = Spool(url, "w")
    spool.add(add_run_with_curves(RecordBatch()).rows)
    command = [sys.executable, "-c", DELIVER, url]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"
    assert run_ids(store) == []
    spool.release()
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"
    assert run_ids(store) == ["a"]
    assert pending_files(url) == []


def test_a_file_of_a_killed_process_is_delivered(store, url):
    with subprocess.Popen([sys.executable, "-c", SPOOL_AND_WAIT, url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "spooled\n"
        assert deliver_pending(store) == 0
        process.kill()
    assert deliver_pending(store) == 1
    assert run_ids(store) == ["a"]


def test_files_of_ended_processes_are_delivered(store, url):
    path = leave_spool_file(url, add_run_with_curves(RecordBatch(), "a"), add_run_with_curves(RecordBatch(), "b"))
    assert deliver_pending(store) == 2
    assert not path.exists()
    assert run_ids(store) == ["a", "b"]


def test_an_empty_file_is_left_to_the_process_that_is_creating_it(store, url):
    path = leave_spool_file(url, add_run_with_curves(RecordBatch()))
    path.write_bytes(b"")
    assert deliver_pending(store) == 0
    assert path.exists()
    old = time.time() - REMOTE_TIMEOUT - 60
    os.utime(path, (old, old))
    assert deliver_pending(store) == 0
    assert not path.exists()


def test_without_descriptors_of_folders_files_are_delivered_and_links_are_not_followed(store, url, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.store.private_files._HAS_DESCRIPTORS", False)  # as on Windows
    path = leave_spool_file(url, add_run_with_curves(RecordBatch(), "a"))
    assert deliver_pending(store) == 1
    assert run_ids(store) == ["a"]
    assert not path.exists()
    replace_by_link(path.parent)
    with pytest.raises(StorageError, match="is a link or no folder"):
        Spool(url, "other").add({})


def test_several_processes_deliver_each_file_once(store, url):
    for i in range(10):
        leave_spool_file(url, add_run_with_curves(RecordBatch(), f"r{i}"))
        (path,) = [path for path in pending_files(url) if path.name == "w.spool"]
        path.rename(path.with_name(f"w{i}.spool"))
    commands = [subprocess.Popen([sys.executable, "-c", DELIVER, url], stdout=subprocess.PIPE) for _ in range(3)]
    assert sum(int(process.communicate()[0]) for process in commands) == 10
    assert len(run_ids(store)) == 10


@pytest.mark.parametrize("host", ["another-machine", "a+b", "/etc", "größe \U0001f642", ""])
def test_a_file_of_another_machine_is_delivered_only_after_it_has_not_changed_for_an_hour(store, url, host):
    path = leave_spool_file(url, add_run_with_curves(RecordBatch()), host=host or " ")
    assert deliver_pending(store) == 0
    assert path.exists()
    old = time.time() - REMOTE_TIMEOUT - 60
    os.utime(path, (old, old))
    assert deliver_pending(store) == 1
    assert not path.exists()
    assert run_ids(store) == ["a"]


def test_a_rejected_batch_is_kept_aside_and_stops_no_other(store, url):
    spool = Spool(url, "w")
    broken = add_run_with_curves(RecordBatch(), "broken").rows
    broken["runs"][0]["started"] = None  # the column is not nullable
    spool.add(broken)
    spool.add(add_run_with_curves(RecordBatch(), "whole").rows)
    messages = []
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            spool.deliver(UnavailableStore(url), messages.append)
    spool.release()
    assert deliver_pending(store, messages.append) == 1
    assert run_ids(store) == ["whole"]
    assert pending_files(url) == []
    (refused,) = pending_files(url, REJECTED_SUFFIX)
    (line,) = refused.read_text().splitlines()
    assert [row["id"] for row in json.loads(line)["rows"]["runs"]] == ["broken"]
    assert len(messages) == 1
    assert "1 of the waiting batches of records are rejected, and kept in" in messages[0]


def test_an_unreachable_store_leaves_the_file_for_the_next_delivery(store, url):
    spool = Spool(url, "w")
    spool.add(add_run_with_curves(RecordBatch()).rows)
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        spool.deliver(UnavailableStore(url))
    spool.release()
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        deliver_pending(UnavailableStore(url))
    assert len(pending_files(url)) == 1
    assert deliver_pending(store) == 1
    assert run_ids(store) == ["a"]


def test_delivering_all_ignores_an_unreachable_store(url):
    spool = Spool(url, "w")
    spool.add(add_run_with_curves(RecordBatch()).rows)
    spool.release()
    deliver_all(UnavailableStore(url))
    assert len(pending_files(url)) == 1


def test_stores_of_different_addresses_do_not_share_a_spool(store, url):
    other = Spool("sqlite:////elsewhere/runs.db", "w")
    other.add(add_run_with_curves(RecordBatch()).rows)
    path = other.path
    other.release()
    assert pending_files(url) == []
    assert deliver_pending(store) == 0
    assert path.exists()


def test_a_spool_without_a_writable_folder_raises_the_reason(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ROSENBLATT_SPOOL", str(tmp_path / "file"))
    spool = Spool("sqlite:////somewhere/runs.db", "w")
    with pytest.raises(StorageError, match="is a link or no folder"):
        spool.add(add_run_with_curves(RecordBatch()).rows)
    assert spool.path is None


def test_values_that_json_cannot_hold_are_rejected(url):
    spool = Spool(url, "w")
    with pytest.raises(TypeError, match="complex is not plain data"):
        spool.add({"runs": [{"id": 1j}]})
    assert pending_files(url) == []
