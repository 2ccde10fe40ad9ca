"""Logged values reach the store in spite of failures, and the caller never waits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from rosenblatt.errors import StoreError, StoreUnavailableError
from rosenblatt.runs.maintenance import cleanup
from rosenblatt.runs.store.queries import find_runs, load_all_curves, load_params, load_summaries
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track
from rosenblatt.runs.tracking.spool import Spool, deliver_pending, pending_files
from rosenblatt.runs.tracking.writer import Writer, get_writer
from tests.runs.conftest import add_run_with_curves
from tests.waiting import wait_until


@pytest.fixture
def messages():
    return []


@pytest.fixture
def writer(url, messages, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.tracking.writer.RETRY_INTERVAL", 0.2)
    opened = Writer(url, messages.append)
    yield opened
    opened.close()


def load_values(url, run="a", metric="loss"):
    store = Store(url)
    try:
        return load_all_curves(store, run)[metric].values.tolist()
    finally:
        store.close()


def test_points_are_stored_in_the_order_in_which_they_were_logged(writer, url):
    writer.put(add_run_with_curves(RecordBatch()))
    for step in range(10_000):
        writer.log("a", (step, float(step), {"loss": step / 7, "twice": step / 3}))
    assert writer.flush()
    assert load_values(url) == [step / 7 for step in range(10_000)]
    assert load_values(url, metric="twice") == [step / 3 for step in range(10_000)]


def test_repeated_flushes_store_each_point_once(writer, url):
    writer.put(add_run_with_curves(RecordBatch()))
    for step in range(9000):
        writer.log("a", (step, 0.0, {"loss": float(step)}))
        if step % 700 == 0:
            writer.flush()
    writer.end_run("a")
    assert load_values(url) == list(range(9000))
    store = Store(url)
    assert load_summaries(store, ["a"])["a"]["loss"].min == 0.0
    store.close()


def test_unordered_and_repeated_steps_are_stored(writer, url):
    writer.put(add_run_with_curves(RecordBatch()))
    for step, value in ((5, 1.0), (3, 2.0), (5, 3.0), (-2, 4.0)):
        writer.log("a", (step, 0.0, {"loss": value}))
        writer.flush()
    assert load_values(url) == [4.0, 2.0, 1.0, 3.0]
    store = Store(url)
    assert load_summaries(store, ["a"])["a"]["loss"].last == 3.0
    store.close()


def test_threads_may_log_to_one_run(writer, url):
    writer.put(add_run_with_curves(RecordBatch()))

    def log(name):
        for step in range(2000):
            writer.log("a", (step, 0.0, {name: float(step)}))

    threads = [threading.Thread(target=log, args=(f"m{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush()
    assert all(load_values(url, metric=f"m{i}") == list(range(2000)) for i in range(4))


def test_deleting_a_run_while_it_is_written_is_reported_once(writer, url, messages):
    writer.put(add_run_with_curves(RecordBatch()))
    writer.flush()
    store = Store(url)
    store.delete(["a"])
    for step in range(5):
        writer.log("a", (step, 0.0, {"loss": 1.0}))
        writer.flush()
    assert find_runs(store) == []
    store.close()
    assert len(messages) == 1
    assert "run a was deleted while it was written" in messages[0]


@pytest.mark.postgresql
def test_records_wait_while_a_server_is_down(server, monkeypatch, messages):
    monkeypatch.setattr("rosenblatt.runs.tracking.writer.RETRY_INTERVAL", 0.2)
    url = server.database("away")
    writer = Writer(url, messages.append)
    writer.put(add_run_with_curves(RecordBatch()))
    writer.log("a", (0, 0.0, {"loss": 0.0}))
    assert writer.flush()
    server.stop()
    try:
        for step in range(1, 50):
            writer.log("a", (step, 0.0, {"loss": float(step)}))
            assert writer.flush()  # into the spool
        assert pending_files(url)
    finally:
        server.start()
    wait_until(lambda: not pending_files(url), description="the spool to be delivered")
    writer.close()
    assert load_values(url) == list(range(50))
    assert "cannot be reached" in messages[0]
    assert "secret" not in messages[0]
    assert "is back" in messages[-1]


@pytest.mark.postgresql
def test_records_of_an_ended_process_are_delivered_by_the_next(server, messages):
    url = server.database("gone")
    Store(url).close()
    server.stop()
    writer = Writer(url, messages.append)
    writer.put(add_run_with_curves(RecordBatch(), loss=[1.0, 2.0]))
    writer.close()
    server.start()
    assert "records wait in" in messages[-1]
    store = Store(url)
    assert deliver_pending(store) == 1
    store.close()
    assert load_values(url) == [1.0, 2.0]
    assert pending_files(url) == []


def test_records_wait_while_the_disk_is_full(tmp_path, messages, monkeypatch):
    """The database file may not grow, as on a full disk; records wait in the spool."""
    monkeypatch.setattr("rosenblatt.runs.tracking.writer.RETRY_INTERVAL", 0.1)
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    writer = Writer(url, messages.append)
    writer.put(add_run_with_curves(RecordBatch()))
    assert writer.flush()
    with writer._store.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    for step in range(200):
        writer.log("a", (step, float(step), {f"metric {step % 50}": step / 7}))
        if step % 10 == 0:
            writer.flush()
    assert writer.flush()
    assert pending_files(url)
    assert "full" in messages[0]
    with writer._store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    wait_until(lambda: writer.flush() and not pending_files(url), description="the spool to be delivered")
    writer.close()
    assert load_values(url, metric="metric 7") == [step / 7 for step in range(200) if step % 50 == 7]


@pytest.mark.postgresql
def test_records_stay_in_memory_if_the_spool_cannot_be_written_either(server, tmp_path, messages, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.tracking.writer.RETRY_INTERVAL", 0.1)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ROSENBLATT_SPOOL", str(tmp_path / "file"))
    url = server.database("nowhere")
    writer = Writer(url, messages.append)
    writer.put(add_run_with_curves(RecordBatch()))
    writer.flush()
    server.stop()
    writer.log("a", (0, 0.0, {"loss": 1.0}))
    assert not writer.flush()
    server.start()
    wait_until(writer.flush, description="the records to be delivered from memory")
    writer.close()
    assert load_values(url) == [1.0]


def test_records_in_memory_are_limited_and_what_is_lost_is_said_once(tmp_path, messages, monkeypatch):
    """Neither the store nor the disk accepts anything; the run and its first points are stored later all the same."""
    monkeypatch.setattr("rosenblatt.runs.tracking.writer.RETRY_INTERVAL", 0.0)
    monkeypatch.setattr("rosenblatt.runs.tracking.writer.MAX_UNWRITTEN_BYTES", 5000)
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    writer = Writer(url, messages.append)
    writer.put(add_run_with_curves(RecordBatch()))
    assert writer.flush()
    is_full = True

    def fill(original):
        def write(*arguments, **options):
            if is_full:
                raise StoreUnavailableError("full") if original is write_rows else OSError("full")
            return original(*arguments, **options)

        return write

    write_rows, add_to_spool = Store.write, Spool.add
    monkeypatch.setattr(Store, "write", fill(write_rows))
    monkeypatch.setattr(Spool, "add", fill(add_to_spool))
    for step in range(50):
        writer.log("a", (step, float(step), {"loss": float(step)}))
        assert not writer.flush()
    writer.log("a", (50, 50.0, {"other": 7.0}))
    assert not writer.flush()
    writer.put(batch := RecordBatch())
    batch.add_tag("a", "late", "yes")
    is_full = False
    assert writer.flush()
    writer.log("a", (51, 51.0, {"loss": 51.0}))
    writer.close()
    values = load_values(url)
    assert 0 < len(values) < 20
    assert values == [*(float(step) for step in range(len(values) - 1)), 51.0]
    assert load_values(url, metric="other") == [7.0]
    assert sum("further points and output are lost" in message for message in messages) == 1
    assert any(f"{51 - len(values)} parts of curves and output are lost" in message for message in messages)


def test_an_incomplete_line_of_the_spool_is_ignored(url, messages, monkeypatch):
    from rosenblatt.runs.tracking.spool import Spool

    spool = Spool(url, "w")
    spool.add(add_run_with_curves(RecordBatch(), loss=[1.0]).rows)
    store = Store(url)
    assert deliver_pending(store) == 0  # this process still writes it
    path = spool.path
    spool.release()
    with path.open("ab") as file:
        file.write(b'{"runs": [{"id"')
    assert deliver_pending(store) == 1
    assert [run.id for run in find_runs(store)] == ["a"]
    store.close()


def test_many_metrics(writer, url):
    writer.put(add_run_with_curves(RecordBatch()))
    for i in range(20_000):
        writer.log("a", (0, 0.0, {f"metric {i}": float(i)}))
    assert writer.flush()
    assert load_values(url, metric="metric 19999") == [19999.0]


def test_a_damaged_store_is_an_error_at_the_start(tmp_path):
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
    curves = load_all_curves(store, find_runs(store)[0].id)
    n = len(curves["loss"].steps)
    assert n >= min_points
    assert np.array_equal(curves["loss"].values, np.arange(n) / 7)
    assert np.array_equal(curves["twice"].values, np.arange(n) / 3.0)


@pytest.mark.parametrize("pause", [0.0, 0.3, 1.5])
def test_flushed_points_survive_a_kill(work_folder, pause):
    """benchmarks/tracking.py kills a process a thousand times, and measures how much of the rest is lost."""
    process = start_endless_run(20_000)
    first = process.stdout.readline()
    time.sleep(pause)  # the kill comes at an arbitrary moment; the assertions hold at any moment
    process.kill()
    out, error = process.communicate()
    assert not error
    flushed = [int(step) for step in re.findall(r"^flushed (\d+)\n", first + out, re.MULTILINE)]
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    check_prefix(store, max(flushed))
    store.close()


def test_a_kill_without_a_flush_loses_only_the_latest_points(work_folder):
    process = start_endless_run(0)
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")

    def stored_points():
        runs = find_runs(store)
        curves = load_all_curves(store, runs[0].id) if runs else {}
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


def test_a_killed_run_is_lost_until_cleanup_ends_it(work_folder, monkeypatch):
    process = start_endless_run(20_000)
    process.stdout.readline()
    process.kill()
    process.communicate()
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    assert find_runs(store)[0].state == "running"
    monkeypatch.setattr("rosenblatt.runs.store.filters.STALE_SECONDS", -5.0)
    assert find_runs(store, "state = lost")
    assert cleanup(store).killed_runs == 1
    assert find_runs(store)[0].state == "failed"
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_writes_to_the_run_too(work_folder):
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
    process = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    curves = load_all_curves(store, find_runs(store)[0].id)
    store.close()
    assert curves["parent"].values.tolist() == [1.0, 3.0]
    assert curves["child"].values.tolist() == [2.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_multiprocessing_child_writes_queued_points_when_it_ends(work_folder):
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
    process = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stdout == "printed by the child\n"
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    run = find_runs(store)[0]
    assert load_all_curves(store, run.id)["child"].values.tolist() == [2.0]
    assert run.state == "finished"
    store.close()


def test_processes_may_log_to_one_store_at_the_same_time(work_folder):
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
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    runs = find_runs(store, sort="experiment")
    assert [run.experiment for run in runs] == ["a", "b", "c"]
    for run in runs:
        assert load_all_curves(store, run.id)["loss"].values.tolist() == list(range(3000))
    store.close()


def test_log_never_waits_while_the_store_is_locked(work_folder, monkeypatch):
    """The lock is held until the last call has returned; a call that waited for it would block for ten minutes."""
    monkeypatch.setattr("rosenblatt.runs.store.engines.BUSY_TIMEOUT", 600.0)
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
    assert len(load_values(run.url, run.id)) == 1000


def test_a_rejected_batch_is_reported_and_stops_no_other(writer, url, messages):
    invalid = add_run_with_curves(RecordBatch(), "bad")
    invalid.rows["runs"][0]["started"] = None
    writer.put(invalid)
    writer.put(add_run_with_curves(RecordBatch(), "good", loss=[1.0]))
    assert writer.flush()
    assert load_values(url, "good") == [1.0]
    assert any("records of run bad are lost" in line for line in messages)


def test_only_rejected_records_of_a_batch_are_lost(writer, url, messages):
    batch = add_run_with_curves(RecordBatch(), loss=[1.0])
    batch.add_params("a", {"lr": 0.1, "depth": 2, "width": 8})
    for row in batch.rows["params"][:2]:
        row["explicit"] = None  # the column is not nullable
    writer.put(batch)
    assert writer.flush()
    store = Store(url)
    assert load_params(store, ["a"]) == {"a": {"width": "8"}}
    store.close()
    assert load_values(url) == [1.0]
    (message,) = messages
    assert message.startswith("some records of run a are lost")


def test_deleting_a_running_search_stops_no_other_run(writer, url):
    writer.put(add_run_with_curves(RecordBatch(), "search"))
    writer.flush()
    store = Store(url)
    store.delete(["search"])
    store.close()
    trial = RecordBatch()
    trial.add_run("search-0", "e", "", "trial", parent="search", number=0)
    writer.put(trial)
    writer.put(add_run_with_curves(RecordBatch(), "other", loss=[2.0]))
    assert writer.flush()
    assert load_values(url, "other") == [2.0]


@pytest.mark.postgresql
def test_the_spool_grows_only_by_new_points(server, messages):
    url = server.database("small")
    writer = Writer(url, messages.append)
    server.stop()
    try:
        writer.put(add_run_with_curves(RecordBatch()))
        for step in range(3000):
            writer.log("a", (step, 0.0, {"loss": step / 7}))
            if step % 30 == 0:
                writer.flush()
        writer.flush()
        assert pending_files(url)[0].stat().st_size < 300_000
    finally:
        server.start()
    writer._next_attempt = 0.0
    assert writer.flush()
    writer.close()
    assert load_values(url) == [step / 7 for step in range(3000)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_waits_until_the_writer_has_ended_what_it_does(writer):
    events, is_busy = [], threading.Event()

    def work_slowly():
        is_busy.set()
        time.sleep(0.2)
        events.append("ended")

    writer.add_before_write_hook("run", work_slowly)
    is_busy.wait()
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGKILL)
    assert events
    os.waitpid(child, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_another_thread_opens_a_writer_opens_its_own(own_store, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.tracking.fork.FORK_TIMEOUT_S", 0.1)
    is_opening, is_forked = threading.Event(), threading.Event()

    class SlowWriter(Writer):
        def __init__(self, url):
            is_opening.set()
            is_forked.wait()
            super().__init__(url)

    url = f"sqlite:///{own_store}/forked.db"
    monkeypatch.setattr("rosenblatt.runs.tracking.writer.Writer", SlowWriter)
    thread = threading.Thread(target=get_writer, args=(url,))
    thread.start()
    is_opening.wait()
    child = os.fork()
    is_forked.set()
    if not child:
        signal.alarm(60)
        get_writer(url)
        os._exit(0)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    get_writer(url).close()


POOL = """
import concurrent.futures, multiprocessing, os, signal, sys
from rosenblatt.runs.tracking.run import track

def work(k):
    for i in range(100):
        run.log({f"fold{k}": float(i)}, step=i)
    return k

def put(queue, k):
    queue.put(work(k))
    signal.pause()  # until it is killed

def leave(k):
    work(k)
    os._exit(0)

run = track("pool")
context = multiprocessing.get_context("fork")
"""
POOL_ENDS = {
    "map": "with context.Pool(2) as pool: pool.map(work, range(4))",
    "imap": "pool = context.Pool(2); list(pool.imap_unordered(work, range(4))); pool.terminate()",
    "apply": "pool = context.Pool(2); [pool.apply_async(work, (k,)).get() for k in range(4)]; pool.terminate()",
    "one task each": "with context.Pool(2, maxtasksperchild=1) as pool: pool.map(work, range(4), chunksize=1)",
    "executor": """
with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
    list(pool.map(work, range(4)))
    for process in pool._processes.values(): process.kill()
""",
    "killed": """
queues = [context.Queue() for _ in range(4)]
children = [context.Process(target=put, args=(queue, k)) for k, queue in enumerate(queues)]
for child in children: child.start()
for child, queue in zip(children, queues): queue.get(); child.kill(); child.join()
""",
    "os._exit": """
children = [context.Process(target=leave, args=(k,)) for k in range(4)]
for child in children: child.start()
for child in children: child.join()
""",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("code", POOL_ENDS.values(), ids=POOL_ENDS.keys())
def test_points_of_tasks_that_have_ended_are_stored(work_folder, code):
    program = [sys.executable, "-W", "ignore", "-c", f"{POOL}{code}\nrun.finish()"]
    process = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    assert process.returncode == 0, process.stderr
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    curves = load_all_curves(store, find_runs(store)[0].id)
    store.close()
    assert [curves[f"fold{k}"].values.tolist() for k in range(4)] == [list(range(100))] * 4
