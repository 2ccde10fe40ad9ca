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

from rosenblatt.errors import StoreUnavailableError
from rosenblatt.runs.store.locations import spool_folders
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


def run_ids(store):
    return sorted(run.id for run in find_runs(store))


def leave_spool_file(url, owner, *batches):
    """Write a spool file as if left by a process of this owner, "host+pid"."""
    folder = spool_folders(url)[0]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{owner}+w.spool"
    spool = Spool(url, "template")
    for batch in batches:
        spool.add(batch.rows)
    spool.path.rename(path)
    spool.release()
    return path


@pytest.fixture
def ended_process():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def running_process():
    """The id of a process that runs during a test."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")


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


def test_an_incomplete_last_line_is_ignored(store, url, ended_process):
    path = leave_spool_file(
        url,
        f"{socket.gethostname()}+{ended_process}",
        add_run_with_curves(RecordBatch(), "a"),
        add_run_with_curves(RecordBatch(), "b"),
    )
    path.write_bytes(path.read_bytes()[:-1])
    assert deliver_pending(store) == 1
    assert run_ids(store) == ["a"]
    assert pending_files(url) == []


def test_a_spool_without_batches_delivers_nothing(store, url):
    Spool(url, "w").deliver(store)
    assert pending_files(url) == []
    assert run_ids(store) == []


def test_a_file_of_a_running_process_is_not_delivered_by_another(store, url, running_process):
    path = leave_spool_file(url, f"{socket.gethostname()}+{running_process}", add_run_with_curves(RecordBatch()))
    assert deliver_pending(store) == 0
    assert path.exists()
    assert run_ids(store) == []


def test_a_file_of_an_ended_process_is_delivered(store, url, ended_process):
    path = leave_spool_file(
        url,
        f"{socket.gethostname()}+{ended_process}",
        add_run_with_curves(RecordBatch(), "a"),
        add_run_with_curves(RecordBatch(), "b"),
    )
    assert deliver_pending(store) == 2
    assert not path.exists()
    assert pending_files(url) == []
    assert run_ids(store) == ["a", "b"]


def test_a_file_of_another_machine_is_delivered_only_after_it_has_not_changed_for_an_hour(store, url):
    path = leave_spool_file(url, "another-machine+1", add_run_with_curves(RecordBatch()))
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
    spool.release()
    assert deliver_pending(store) == 1
    assert run_ids(store) == ["whole"]
    assert pending_files(url) == []
    (refused,) = pending_files(url, REJECTED_SUFFIX)
    assert [row["id"] for row in json.loads(refused.read_text())["runs"]] == ["broken"]


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
    other.release()
    assert pending_files(url) == []
    assert deliver_pending(store) == 0
    assert other.path.exists()


def test_a_spool_without_a_writable_folder_raises_the_reason(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ROSENBLATT_SPOOL", str(tmp_path / "file"))
    spool = Spool("sqlite:////somewhere/runs.db", "w")
    with pytest.raises(NotADirectoryError):
        spool.add(add_run_with_curves(RecordBatch()).rows)
    assert spool.path is None


def test_values_that_json_cannot_hold_are_rejected(url):
    spool = Spool(url, "w")
    with pytest.raises(TypeError, match="complex is not plain data"):
        spool.add({"runs": [{"id": 1j}]})
    assert pending_files(url) == []
