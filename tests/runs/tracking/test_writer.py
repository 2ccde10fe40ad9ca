"""What is logged comes to the store whatever happens, and the caller never waits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from rosenblatt.errors import StoreError
from rosenblatt.runs.maintenance import tidy
from rosenblatt.runs.store.queries import all_curves, find_runs, summaries
from rosenblatt.runs.store.records import Batch
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track
from rosenblatt.runs.tracking.spool import deliver_left, left
from rosenblatt.runs.tracking.writer import Writer
from tests.runs.conftest import a_run
from tests.waiting import wait_until


@pytest.fixture
def said():
    return []


@pytest.fixture
def writer(url, said, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.tracking.writer.RETRY", 0.2)
    found = Writer(url, said.append)
    yield found
    found.close()


def values_of(url, run="a", metric="loss"):
    store = Store(url)
    try:
        return all_curves(store, run)[metric].values.tolist()
    finally:
        store.close()


def test_points_come_in_the_order_in_which_they_were_logged(writer, url):
    writer.put(a_run(Batch()))
    for step in range(10_000):
        writer.log("a", (step, float(step), {"loss": step / 7, "twice": step / 3}))
    assert writer.flush()
    assert values_of(url) == [step / 7 for step in range(10_000)]
    assert values_of(url, metric="twice") == [step / 3 for step in range(10_000)]


def test_writings_in_between_make_no_point_double(writer, url):
    writer.put(a_run(Batch()))
    for step in range(9000):
        writer.log("a", (step, 0.0, {"loss": float(step)}))
        if step % 700 == 0:
            writer.flush()
    writer.end("a")
    assert values_of(url) == list(range(9000))
    store = Store(url)
    assert summaries(store, ["a"])["a"]["loss"]["min"] == 0.0
    store.close()


def test_steps_out_of_order_and_doubled_are_kept(writer, url):
    writer.put(a_run(Batch()))
    for step, value in ((5, 1.0), (3, 2.0), (5, 3.0), (-2, 4.0)):
        writer.log("a", (step, 0.0, {"loss": value}))
        writer.flush()
    assert values_of(url) == [4.0, 2.0, 1.0, 3.0]
    store = Store(url)
    assert summaries(store, ["a"])["a"]["loss"]["last"] == 3.0
    store.close()


def test_threads_may_log_to_one_run(writer, url):
    writer.put(a_run(Batch()))

    def log(name):
        for step in range(2000):
            writer.log("a", (step, 0.0, {name: float(step)}))

    threads = [threading.Thread(target=log, args=(f"m{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush()
    assert all(values_of(url, metric=f"m{i}") == list(range(2000)) for i in range(4))


def test_a_run_that_is_deleted_while_it_is_written_is_told_once(writer, url, said):
    writer.put(a_run(Batch()))
    writer.flush()
    store = Store(url)
    store.delete(["a"])
    for step in range(5):
        writer.log("a", (step, 0.0, {"loss": 1.0}))
        writer.flush()
    assert find_runs(store) == []
    store.close()
    assert len(said) == 1
    assert "run a was deleted while it was written" in said[0]


@pytest.mark.postgresql
def test_a_server_that_goes_away_stops_nothing_and_all_is_delivered_when_it_is_back(server, monkeypatch, said):
    monkeypatch.setattr("rosenblatt.runs.tracking.writer.RETRY", 0.2)
    url = server.database("away")
    writer = Writer(url, said.append)
    writer.put(a_run(Batch()))
    writer.log("a", (0, 0.0, {"loss": 0.0}))
    assert writer.flush()
    server.stop()
    try:
        for step in range(1, 50):
            writer.log("a", (step, 0.0, {"loss": float(step)}))
            assert writer.flush()  # into the spool
        assert left(url)
    finally:
        server.start()
    wait_until(lambda: not left(url), description="the spool to be delivered")
    writer.close()
    assert values_of(url) == list(range(50))
    assert "cannot be reached" in said[0]
    assert "secret" not in said[0]
    assert "is back" in said[-1]


@pytest.mark.postgresql
def test_what_a_process_left_in_the_spool_is_delivered_by_the_next(server, said):
    url = server.database("gone")
    Store(url).close()
    server.stop()
    writer = Writer(url, said.append)
    writer.put(a_run(Batch(), loss=[1.0, 2.0]))
    writer.close()
    server.start()
    assert "records wait in" in said[-1]
    store = Store(url)
    assert deliver_left(store) == 1
    store.close()
    assert values_of(url) == [1.0, 2.0]
    assert left(url) == []


def test_a_full_disk_stops_nothing(tmp_path, said, monkeypatch):
    """The file may not grow any more, as on a disk that is full; what is logged waits elsewhere."""
    monkeypatch.setattr("rosenblatt.runs.tracking.writer.RETRY", 0.1)
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    writer = Writer(url, said.append)
    writer.put(a_run(Batch()))
    assert writer.flush()
    with writer._store.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    for step in range(200):
        writer.log("a", (step, float(step), {f"metric {step % 50}": step / 7}))
        if step % 10 == 0:
            writer.flush()
    assert writer.flush()
    assert left(url)
    assert "full" in said[0]
    with writer._store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    wait_until(lambda: writer.flush() and not left(url), description="the spool to be delivered")
    writer.close()
    assert values_of(url, metric="metric 7") == [step / 7 for step in range(200) if step % 50 == 7]


@pytest.mark.postgresql
def test_where_neither_store_nor_spool_can_be_written_records_stay_in_memory(server, tmp_path, said, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.tracking.writer.RETRY", 0.1)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ROSENBLATT_SPOOL", str(tmp_path / "file"))
    url = server.database("nowhere")
    writer = Writer(url, said.append)
    writer.put(a_run(Batch()))
    writer.flush()
    server.stop()
    writer.log("a", (0, 0.0, {"loss": 1.0}))
    assert not writer.flush()
    server.start()
    wait_until(writer.flush, description="the records to be delivered from memory")
    writer.close()
    assert values_of(url) == [1.0]


def test_a_line_of_the_spool_that_was_cut_off_is_left_out(url, said, monkeypatch):
    from rosenblatt.runs.tracking.spool import Spool

    spool = Spool(url, "w")
    spool.add(a_run(Batch(), loss=[1.0]).rows)
    store = Store(url)
    assert deliver_left(store) == 0  # its process still writes it
    spool.leave()
    with spool.path.open("ab") as file:
        file.write(b'{"runs": [{"id"')
    assert deliver_left(store) == 1
    assert [one["id"] for one in find_runs(store)] == ["a"]
    store.close()


def test_many_names_of_metrics(writer, url):
    writer.put(a_run(Batch()))
    for number in range(20_000):
        writer.log("a", (0, 0.0, {f"metric {number}": float(number)}))
    assert writer.flush()
    assert values_of(url, metric="metric 19999") == [19999.0]


def test_a_damaged_store_is_refused_at_the_start(tmp_path):
    (tmp_path / "runs.db").write_bytes(b"nonsense" * 2000)
    with pytest.raises(StoreError, match="damaged"):
        Writer(f"sqlite:///{tmp_path / 'runs.db'}")


ENDLESS = """
import sys, time
from rosenblatt.runs.tracking.run import track
flush_interval = int(sys.argv[1])  # steps; 0 to never flush
run = track("killed")
step = 0
while True:
    run.log({"loss": step / 7, "twice": step / 3.0}, step=step)
    step += 1
    if not flush_interval:
        time.sleep(0.001)  # a pace the writer can keep up with
    elif step % flush_interval == 0:
        run.flush()
        print("flushed", step, flush=True)
"""


def start_endless_run(flush_interval):
    command = [sys.executable, "-c", ENDLESS, str(flush_interval)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check_prefix(store, min_points):
    """Check that the store holds the first logged points, at least `min_points`, in order and without gaps."""
    curves = all_curves(store, find_runs(store)[0]["id"])
    n = len(curves["loss"].steps)
    assert n >= min_points
    assert np.array_equal(curves["loss"].values, np.arange(n) / 7)
    assert np.array_equal(curves["twice"].values, np.arange(n) / 3.0)


@pytest.mark.parametrize("pause", [0.0, 0.3, 1.5])
def test_at_a_kill_nothing_flushed_is_lost(here, pause):
    """benchmarks/tracking.py kills a thousand times, and measures how much of the rest is lost."""
    process = start_endless_run(20_000)
    first = process.stdout.readline()
    time.sleep(pause)  # the kill comes at an arbitrary moment; the assertions hold at any moment
    process.kill()
    out, error = process.communicate()
    assert not error
    flushed = [int(step) for step in re.findall(r"^flushed (\d+)\n", first + out, re.MULTILINE)]
    store = Store(f"sqlite:///{here}/.rosenblatt/runs.db")
    check_prefix(store, max(flushed))
    store.close()


def test_points_reach_the_store_without_a_flush_and_a_kill_loses_only_the_latest(here):
    process = start_endless_run(0)
    store = Store(f"sqlite:///{here}/.rosenblatt/runs.db")

    def stored_points():
        runs = find_runs(store)
        curves = all_curves(store, runs[0]["id"]) if runs else {}
        return len(curves["loss"].steps) if "loss" in curves else 0

    try:
        wait_until(lambda: stored_points() > 0, description="the first points")
        first = stored_points()
        wait_until(lambda: stored_points() > first, description="more points")
        stored = stored_points()
    finally:
        process.kill()
        _, error = process.communicate()
    assert not error
    check_prefix(store, stored)
    store.close()


def test_a_killed_run_is_lost_and_then_ended_by_tidy(here, monkeypatch):
    process = start_endless_run(20_000)
    process.stdout.readline()
    process.kill()
    process.communicate()
    store = Store(f"sqlite:///{here}/.rosenblatt/runs.db")
    assert find_runs(store)[0]["state"] == "running"
    monkeypatch.setattr("rosenblatt.runs.store.filters.SILENT", -5.0)
    assert find_runs(store, "state = lost")
    assert tidy(store)["killed_runs"] == 1
    assert find_runs(store)[0]["state"] == "failed"
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_writes_to_the_run_too(here):
    code = """
import os
from rosenblatt.runs.tracking.run import track
run = track("forked")
run.log({"parent": 1.0}, step=0)
child = os.fork()
if child == 0:
    run.log({"child": 2.0}, step=1)
    assert run.flush()
    os._exit(0)
os.waitpid(child, 0)
run.log({"parent": 3.0}, step=2)
run.finish()
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    store = Store(f"sqlite:///{here}/.rosenblatt/runs.db")
    found = all_curves(store, find_runs(store)[0]["id"])
    store.close()
    assert found["parent"].values.tolist() == [1.0, 3.0]
    assert found["child"].values.tolist() == [2.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_multiprocessing_writes_what_is_left_when_it_ends(here):
    code = """
import multiprocessing
from rosenblatt.runs.tracking.run import track
def work(run):
    run.log({"child": 2.0}, step=1)
    print("printed by the child")
run = track("forked")
child = multiprocessing.get_context("fork").Process(target=work, args=(run,))
child.start()
child.join()
run.finish()
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "printed by the child\n"
    store = Store(f"sqlite:///{here}/.rosenblatt/runs.db")
    known = find_runs(store)[0]
    assert all_curves(store, known["id"])["child"].values.tolist() == [2.0]
    assert known["state"] == "finished"
    store.close()


def test_two_processes_log_to_one_store_at_once(here):
    code = """
import sys
from rosenblatt.runs.tracking.run import track
with track(sys.argv[1]) as run:
    for step in range(3000):
        run.log({"loss": float(step)}, step=step)
        if step % 100 == 0:
            run.flush()
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, name], stderr=subprocess.PIPE) for name in "abc"]
    for process in processes:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0
        assert not error
    store = Store(f"sqlite:///{here}/.rosenblatt/runs.db")
    runs = find_runs(store, sort="experiment")
    assert [one["experiment"] for one in runs] == ["a", "b", "c"]
    for one in runs:
        assert all_curves(store, one["id"])["loss"].values.tolist() == list(range(3000))
    store.close()


def test_log_never_waits_while_the_store_is_locked(here, monkeypatch):
    """The lock is held until the last call has returned; a call that waited for it would block for ten minutes."""
    monkeypatch.setattr("rosenblatt.runs.store.store.PATIENCE", 600.0)
    with track("locked") as run:
        run.flush()
        blocker = Store(run.url)

        def log_all():
            for step in range(1000):
                run.log({"loss": 1.0}, step=step)

        logging = threading.Thread(target=log_all, daemon=True)
        with blocker.writing():
            logging.start()
            logging.join(timeout=60)
            returned = not logging.is_alive()
        blocker.close()
    assert returned
    assert len(values_of(run.url, run.id)) == 1000


def test_what_a_database_refuses_for_good_is_left_out_and_stops_nothing_else(writer, url, said):
    bad = a_run(Batch(), "bad")
    bad.rows["runs"][0]["started"] = None
    writer.put(bad)
    writer.put(a_run(Batch(), "good", loss=[1.0]))
    assert writer.flush()
    assert values_of(url, "good") == [1.0]
    assert any("records of run bad are left out" in line for line in said)


def test_a_search_that_is_deleted_while_it_runs_stops_no_other_run(writer, url):
    writer.put(a_run(Batch(), "search"))
    writer.flush()
    store = Store(url)
    store.delete(["search"])
    store.close()
    trial = Batch()
    trial.begin("search-0", "e", "", "trial", parent="search", number=0)
    writer.put(trial)
    writer.put(a_run(Batch(), "other", loss=[2.0]))
    assert writer.flush()
    assert values_of(url, "other") == [2.0]


@pytest.mark.postgresql
def test_what_waits_in_the_spool_grows_by_what_is_new_only(server, said):
    url = server.database("small")
    writer = Writer(url, said.append)
    server.stop()
    try:
        writer.put(a_run(Batch()))
        for step in range(3000):
            writer.log("a", (step, 0.0, {"loss": step / 7}))
            if step % 30 == 0:
                writer.flush()
        writer.flush()
        assert left(url)[0].stat().st_size < 300_000
    finally:
        server.start()
    writer._retry = 0.0
    assert writer.flush()
    writer.close()
    assert values_of(url) == [step / 7 for step in range(3000)]
