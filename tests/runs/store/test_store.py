"""The contract of a store, for SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from rosenblatt.errors import StoreError, StoreLostError
from rosenblatt.runs.store import schema
from rosenblatt.runs.store.curves import summary
from rosenblatt.runs.store.queries import all_curves, details, find_runs, summaries
from rosenblatt.runs.store.records import Batch
from rosenblatt.runs.store.store import Store, shown
from rosenblatt.runs.tracking.writer import points_of
from tests.runs.conftest import a_run


def test_migrations_make_the_tables_that_the_schema_names(store):
    with store.reading() as connection:
        different = compare_metadata(MigrationContext.configure(connection), schema.metadata)
    assert different == []


def test_writing_a_batch_twice_changes_nothing(store):
    batch = a_run(Batch(), loss=[3.0, 1.0, 2.0])
    batch.params("a", {"lr": 0.1, "deep": True})
    batch.change("a", state="finished", ended=5.0)
    store.write(batch)
    once = details(store, "a"), all_curves(store, "a")["loss"].values.tolist()
    store.write(batch)
    assert (details(store, "a"), all_curves(store, "a")["loss"].values.tolist()) == once
    assert once[1] == [3.0, 1.0, 2.0]


def test_summaries_of_two_writers_become_one(store):
    store.write(a_run(Batch(), loss=[3.0, 1.0]))
    for steps, values in (([5, 6], [0.5, 9.0]), ([2], [float("nan")]), ([6], [8.0])):
        points, batch = points_of(steps, [0.0] * len(steps), values), Batch()
        batch.curve("a", "loss", f"w{steps}", 0, points, summary(points))
        store.write(batch)
    found = summaries(store, ["a"])["a"]["loss"]
    assert (found["step"], found["last"]) == (6, 8.0)
    assert (found["min"], found["min_step"], found["max"], found["max_step"]) == (0.5, 5, 9.0, 6)
    assert found["best"] == 0.5


def test_a_run_that_was_deleted_takes_nothing_more_and_is_told(store):
    batch = a_run(Batch(), loss=[1.0])
    store.write(batch)
    store.delete(["a"])
    later = Batch()
    later.params("a", {"lr": 1})
    later.begin("b", "e", "", "track")
    later.params("b", {"lr": 2})
    assert store.write(later) == {"a"}
    assert [one["id"] for one in find_runs(store)] == ["b"]


def test_deleting_a_search_deletes_its_trials_and_all_that_belongs_to_them(store):
    batch = a_run(Batch())
    batch.begin("a-0", "e", "", "trial", parent="a", number=0)
    batch.params("a-0", {"lr": 1})
    store.write(batch)
    store.delete(["a"])
    with store.reading() as connection:
        for table in ("runs", "params", "metrics", "chunks"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0


@pytest.mark.parametrize("name", ["Verlust 🎲", "a\0b", "\ud800x", "'; DROP TABLE runs; --", "ß" * 3000, "مقياس"])
def test_names_with_any_unicode_come_back(store, name):
    batch = Batch()
    batch.begin("a", name, name, "track")
    points = points_of([1], [0.0], [2.0])
    batch.curve("a", name, "w", 0, points, summary(points))
    batch.params("a", {name: name})
    batch.tag("a", name, name)
    store.write(batch)
    found = details(store, "a")
    shown_as = name.replace("\0", "␀").replace("\ud800", "\\ud800")
    assert found["experiment"] == shown_as
    (metric,) = found["metrics"]
    assert metric == shown_as or (len(name) > 500 and metric.startswith(f"{name[:500]}... "))
    assert found["params"][metric]["value"] == shown_as


def test_not_a_number_and_infinity_are_kept(store):
    store.write(a_run(Batch(), bad=[float("nan")], big=[1.0, float("inf")], small=[float("-inf")]))
    found = summaries(store, ["a"])["a"]
    assert (found["bad"]["last"], found["big"]["last"], found["small"]["min"]) == (None, float("inf"), float("-inf"))
    assert str(all_curves(store, "a")["bad"].values.tolist()) == "[nan]"


def test_threads_that_write_at_once_lose_and_mix_nothing(url):
    def write(name):
        store = Store(url)
        for number in range(20):
            store.write(a_run(Batch(), f"{name}-{number}", name, loss=[float(number)]))
        store.close()

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = Store(url)
    found = find_runs(store)
    assert len(found) == 80
    for one in found:
        assert one["id"].startswith(one["experiment"])
        assert all_curves(store, one["id"])["loss"].values.tolist() == [float(one["id"].split("-")[1])]
    store.close()


def test_a_store_of_a_later_version_is_refused(url):
    store = Store(url)
    with store.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(StoreError, match=r"written by a later Rosenblatt.*Upgrade"):
        Store(url)


def test_a_damaged_file_is_told_with_the_cure(tmp_path):
    path = tmp_path / "runs.db"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreError, match=r"is damaged.*tidy --rescue"):
        Store(f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("url", "message"),
    [("mysql://x@y/z", "no address of a store"), ("postgresql://a:b:c/d", "no address of PostgreSQL")],
)
def test_a_wrong_address_is_refused(url, message):
    with pytest.raises(StoreError, match=message):
        Store(url)


def test_a_server_that_is_not_there_is_told_without_its_password():
    with pytest.raises(StoreLostError) as error:
        Store("postgresql://ana:hunter2@127.0.0.1:1/runs")
    assert "hunter2" not in str(error.value)
    assert shown("postgresql://ana:hunter2@db/runs") == "'postgresql://ana:******@db/runs'"


def test_a_store_that_is_only_read_is_not_made(tmp_path):
    with pytest.raises(StoreError, match="There is no store"):
        Store(f"sqlite:///{tmp_path / 'runs.db'}", create=False)
    assert not (tmp_path / "runs.db").exists()


def test_processes_may_make_a_store_at_once(url):
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


def test_a_store_in_a_file_lets_others_read_while_one_writes(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'runs.db'}")
    store.write(a_run(Batch()))
    with store.writing() as connection:
        connection.execute(text("UPDATE runs SET name = 'new'"))
        with sqlite3.connect(tmp_path / "runs.db") as other:
            assert other.execute("SELECT name FROM runs").fetchall() == [("",)]


def test_trials_of_a_search_that_was_deleted_are_left_out_and_told(store):
    store.write(a_run(Batch()))
    store.delete(["a"])
    batch = a_run(Batch(), "other")
    batch.begin("a-1", "e", "", "trial", parent="a", number=1)
    batch.params("a-1", {"lr": 1})
    assert store.write(batch) == {"a-1"}
    assert [one["id"] for one in find_runs(store)] == ["other"]


def test_a_curve_that_is_written_whole_forgets_what_it_was(store):
    store.write(a_run(Batch(), loss=[0.1, 0.5]))
    points, batch = points_of([0, 1], [0.0, 0.0], [0.4, 0.6]), Batch()
    batch.curve("a", "loss", "w", 0, points, summary(points), whole=True)
    store.write(batch)
    assert summaries(store, ["a"])["a"]["loss"]["min"] == 0.4
    assert all_curves(store, "a")["loss"].values.tolist() == [0.4, 0.6]
