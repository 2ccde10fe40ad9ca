"""The contract of a store, for SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading

import pytest
from sqlalchemy import text

from rosenblatt.errors import StoreError, StoreUnavailableError
from rosenblatt.runs.store import schema
from rosenblatt.runs.store.curves import make_points, summarize
from rosenblatt.runs.store.engines import redact_url
from rosenblatt.runs.store.queries import find_runs, load_all_curves, load_summaries
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from tests.runs.conftest import add_run_with_curves


def test_summaries_of_two_writers_are_merged(store):
    store.write(add_run_with_curves(RecordBatch(), loss=[3.0, 1.0]))
    for steps, values in (([5, 6], [0.5, 9.0]), ([2], [float("nan")]), ([6], [8.0])):
        points, batch = make_points(steps, [0.0] * len(steps), values), RecordBatch()
        batch.add_curve("a", "loss", f"w{steps}", 0, points, summarize(points))
        store.write(batch)
    loss = load_summaries(store, ["a"])["a"]["loss"]
    assert (loss.step, loss.last) == (6, 8.0)
    assert (loss.min, loss.min_step, loss.max, loss.max_step) == (0.5, 5, 9.0, 6)
    assert loss.best == 0.5


def test_records_of_a_deleted_run_are_ignored_and_reported(store):
    batch = add_run_with_curves(RecordBatch(), loss=[1.0])
    store.write(batch)
    store.delete(["a"])
    later = RecordBatch()
    later.add_params("a", {"lr": 1})
    later.add_run("b", "e", "", "track")
    later.add_params("b", {"lr": 2})
    assert store.write(later) == {"a"}
    assert [run.id for run in find_runs(store)] == ["b"]


def test_deleting_a_search_deletes_its_trials_and_their_records(store):
    batch = add_run_with_curves(RecordBatch())
    batch.add_run("a-0", "e", "", "trial", parent="a", number=0)
    batch.add_params("a-0", {"lr": 1})
    store.write(batch)
    store.delete(["a"])
    with store.reading() as connection:
        for table in ("runs", "params", "metrics", "curve_chunks"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0


def test_nan_and_infinity_are_stored(store):
    store.write(add_run_with_curves(RecordBatch(), bad=[float("nan")], big=[1.0, float("inf")], small=[float("-inf")]))
    metrics = load_summaries(store, ["a"])["a"]
    assert (metrics["bad"].last, metrics["big"].last, metrics["small"].min) == (
        None,
        float("inf"),
        float("-inf"),
    )
    assert str(load_all_curves(store, "a")["bad"].values.tolist()) == "[nan]"


def test_threads_may_write_at_the_same_time(url):
    def write(name):
        store = Store(url)
        for i in range(20):
            store.write(add_run_with_curves(RecordBatch(), f"{name}-{i}", name, loss=[float(i)]))
        store.close()

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = Store(url)
    runs = find_runs(store)
    assert len(runs) == 80
    for run in runs:
        assert run.id.startswith(run.experiment)
        assert load_all_curves(store, run.id)["loss"].values.tolist() == [float(run.id.split("-")[1])]
    store.close()


def test_a_store_of_a_later_version_is_rejected(url):
    store = Store(url)
    with store.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(
        StoreError, match=r"but this Rosenblatt reads version .*If a later Rosenblatt wrote it, upgrade"
    ):
        Store(url)


def test_a_store_of_version_0001_is_rejected(url):
    """Version 0001 had other tables; no migration leads from it."""
    store = Store(url)
    with store.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    store.close()
    with pytest.raises(StoreError) as error:
        Store(url)
    message = str(error.value)
    assert f"has version '0001', but this Rosenblatt reads version {schema.VERSION}" in message
    assert "\n" not in message


def test_a_damaged_file_is_an_error_with_a_remedy(tmp_path):
    path = tmp_path / "runs.db"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreError, match=r"is damaged.*tidy --rescue"):
        Store(f"sqlite:///{path}")


def test_errors_of_the_disk_are_raised_and_not_logged(tmp_path):
    """A transaction and its rollback fail, as on a full disk."""
    code = """
import sqlite3, sys
from sqlalchemy import text
from rosenblatt.errors import StoreUnavailableError
from rosenblatt.runs.store.store import Store

def fail(*_):
    raise sqlite3.OperationalError("disk I/O error")

store = Store(sys.argv[1])
try:
    with store.writing() as connection:
        store.engine.dialect.do_rollback = fail
        connection.execute(text("INSERT INTO nowhere VALUES (1)"))
except StoreUnavailableError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path / 'runs.db'}"]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot be reached: disk I/O error" in process.stdout
    assert process.stderr == ""


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://x@y/z", "is not the address of a store"),
        ("postgresql://a:b:c/d", "is not an address of PostgreSQL"),
        ("postgresql://ana:p/w@h/d", "In its password, write / as %2F"),
        ("postgresql://ana:p@w@h/d", "In its password, write / as %2F"),
    ],
)
def test_invalid_addresses_are_rejected(url, message):
    with pytest.raises(StoreError, match=message):
        Store(url)


@pytest.mark.postgresql
def test_an_unreachable_server_is_an_error_without_its_password():
    with pytest.raises(StoreUnavailableError) as error:
        Store("postgresql://ana:hunter2@127.0.0.1:1/runs")
    assert "hunter2" not in str(error.value)
    assert redact_url("postgresql://ana:hunter2@db/runs") == "'postgresql://ana:******@db/runs'"


def test_a_store_that_cannot_be_opened_is_closed(tmp_path, monkeypatch):
    def fail(_):
        raise StoreError("no")

    closed, url = [], f"sqlite:///{tmp_path / 'runs.db'}"
    monkeypatch.setattr(Store, "_upgrade", fail)
    monkeypatch.setattr(Store, "close", lambda store: closed.append(store.url))
    with pytest.raises(StoreError, match="no"):
        Store(url)
    assert closed == [url]


def test_a_store_is_not_created_for_reading(tmp_path):
    with pytest.raises(StoreError, match="There is no store"):
        Store(f"sqlite:///{tmp_path / 'runs.db'}", create=False)
    assert not (tmp_path / "runs.db").exists()


def test_processes_may_create_a_store_at_the_same_time(url):
    code = f"""
import alembic.command, sys
from rosenblatt.runs.store.store import Store
print("ready", flush=True)
sys.stdin.readline()
Store({url!r}).close()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error


def test_other_processes_may_read_a_file_while_one_writes(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'runs.db'}")
    store.write(add_run_with_curves(RecordBatch()))
    with store.writing() as connection:
        connection.execute(text("UPDATE runs SET name = 'new'"))
        with sqlite3.connect(tmp_path / "runs.db") as other:
            assert other.execute("SELECT name FROM runs").fetchall() == [("",)]


def test_trials_of_a_deleted_search_are_ignored_and_reported(store):
    store.write(add_run_with_curves(RecordBatch()))
    store.delete(["a"])
    batch = add_run_with_curves(RecordBatch(), "other")
    batch.add_run("a-1", "e", "", "trial", parent="a", number=1)
    batch.add_params("a-1", {"lr": 1})
    assert store.write(batch) == {"a-1"}
    assert [run.id for run in find_runs(store)] == ["other"]
