"""Points of live runs lie in a log and are moved to chunks: nothing doubles, nothing is lost, readers see all of it."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from sqlalchemy import func, select

from rosenblatt.errors import StoreError
from rosenblatt.runs.maintenance import cleanup
from rosenblatt.runs.store import point_log, schema
from rosenblatt.runs.store.point_log import RunLog, move_to_chunks
from rosenblatt.runs.store.queries import load_all_curves, load_curves, load_summaries
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from tests.runs.conftest import add_run_with_curves


def count_rows(store, table):
    with store.reading() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar()


def write_log(store, entries, *, per_segment=3, writer="0000000a", log=None, first_number=1):
    """Write entries as segments of a log; returns the log and the batches."""
    log, batches = log or RunLog("a", writer), []
    for number, start in enumerate(range(0, len(entries), per_segment), first_number):
        batch = RecordBatch()
        log.add_segment(batch, number, entries[start : start + per_segment])
        store.write(batch)
        batches.append(batch)
    return log, batches


@pytest.fixture
def run_store(store):
    store.write(add_run_with_curves(RecordBatch()))
    return store


def mixed_entries(n, seed=0):
    """Calls with metrics that come and go, repeated and unordered steps, NaN and infinity, and names of all kinds."""
    rng = random.Random(seed)
    names = ["loss", "val/äccuracy", "x" * 600, "a\nb", *(f"layer{k}" for k in range(30))]
    values = (0.5, 1 / 3, math.nan, math.inf, -math.inf, 1e300, 2.0)
    return [
        (
            rng.choice((i, i, 7, -(2**63), 2**63 - 1)),
            1.7e9 + i,
            {name: rng.choice(values) for name in rng.sample(names, 5)},
        )
        for i in range(n)
    ]


def check(store, entries):
    """Check that the store holds exactly these entries, and summaries of them."""
    expected: dict[str, list[tuple[int, float, float]]] = {}
    for step, time, values in entries:
        for name, value in values.items():
            expected.setdefault(point_log.index_name(name), []).append((step, time, value))
    curves, summaries = load_all_curves(store, "a"), load_summaries(store, ["a"])["a"]
    assert curves.keys() == summaries.keys() == expected.keys()
    for name, points in expected.items():
        points.sort(key=lambda point: point[:2])
        steps, times, values = zip(*points, strict=True)
        assert curves[name].steps.tolist() == list(steps)
        assert curves[name].times.tolist() == [round(time * 1e6) for time in times]
        assert np.array_equal(curves[name].values, values, equal_nan=True)
        selected = load_curves(store, ["a"], name, None)["a"]
        assert np.array_equal(selected.values, values, equal_nan=True)
        numbers = [value for value in values if not math.isnan(value)]
        summary = summaries[name]
        assert (summary.step, summary.min, summary.max) == (
            steps[-1],
            min(numbers, default=None),
            max(numbers, default=None),
        )
        assert summary.last == (None if math.isnan(values[-1]) else values[-1])


@pytest.mark.parametrize("per_segment", [1, 7, 1000])
def test_points_are_the_same_in_the_log_and_in_chunks(run_store, per_segment):
    entries = mixed_entries(200)
    write_log(run_store, entries, per_segment=per_segment)
    check(run_store, entries)
    move_to_chunks(run_store, "a")
    assert count_rows(run_store, schema.log_segments) == 0
    check(run_store, entries)


def test_a_log_goes_on_after_its_points_were_moved_by_anybody(run_store):
    entries = mixed_entries(300)
    log, number = None, 1
    for start in range(0, 300, 50):
        log, batches = write_log(run_store, entries[start : start + 50], log=log, first_number=number)
        number += len(batches)
        check(run_store, entries[: start + 50])
        if start % 100:
            move_to_chunks(run_store, "a", "0000000a")
            check(run_store, entries[: start + 50])
    assert count_rows(run_store, schema.point_logs) == 1


def test_long_logs_are_moved_in_parts(run_store, monkeypatch):
    monkeypatch.setattr(point_log, "MAX_LOG_BYTES", 2000)
    entries = mixed_entries(200)
    write_log(run_store, entries)
    move_to_chunks(run_store, "a")
    check(run_store, entries)


@pytest.mark.parametrize("n_moved", [0, 40, 100])
def test_segments_that_are_delivered_twice_count_once(run_store, n_moved):
    entries = mixed_entries(100)
    _, batches = write_log(run_store, entries[:n_moved], per_segment=2) if n_moved else (None, [])
    move_to_chunks(run_store, "a")
    _, later = write_log(run_store, entries[n_moved:], writer="0000000b", per_segment=2)
    for batch in (*batches, *later):
        run_store.write(batch)
    check(run_store, entries)


def test_writers_of_one_run_keep_their_own_logs(run_store):
    entries = mixed_entries(120)
    write_log(run_store, entries[:50], writer="0000000a")
    write_log(run_store, entries[50:80], writer="ffffffff")
    move_to_chunks(run_store, "a", "ffffffff")
    write_log(run_store, entries[80:], writer="0000000b")
    check(run_store, entries)
    move_to_chunks(run_store, "a")
    check(run_store, entries)


def test_a_log_that_starts_again_defines_its_names_again(run_store):
    entries = mixed_entries(100)
    _, batches = write_log(run_store, entries[:60])
    move_to_chunks(run_store, "a")
    write_log(run_store, entries[60:], first_number=len(batches) + 1)
    check(run_store, entries)


def test_a_failure_while_points_are_moved_changes_nothing(run_store, monkeypatch):
    entries = mixed_entries(100)
    write_log(run_store, entries)
    monkeypatch.setattr(run_store, "write_rows", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        move_to_chunks(run_store, "a")
    monkeypatch.undo()
    check(run_store, entries)


def test_cleanup_moves_the_points_of_killed_runs(run_store, monkeypatch):
    entries = mixed_entries(100)
    write_log(run_store, entries)
    cleanup(run_store)
    assert count_rows(run_store, schema.log_segments) > 0
    monkeypatch.setattr("rosenblatt.runs.store.filters.STALE_SECONDS", -5.0)
    cleanup(run_store)
    assert count_rows(run_store, schema.log_segments) == 0
    check(run_store, entries)


def test_the_log_of_a_deleted_run_is_deleted(run_store):
    write_log(run_store, mixed_entries(20))
    run_store.delete(["a"])
    assert count_rows(run_store, schema.log_segments) == count_rows(run_store, schema.point_logs) == 0


def test_summaries_of_many_metrics_are_written_rarely(run_store):
    names = [f"layer{k}" for k in range(200)]
    entries = [(i, float(i), dict.fromkeys(names, float(i))) for i in range(200)]
    _, batches = write_log(run_store, entries, per_segment=1)
    n_summaries = [len(batch.rows.get("metrics", ())) for batch in batches]
    assert n_summaries[0] == 200  # new names
    assert sum(n_summaries) <= 200 * (1 + 200 // point_log.SUMMARY_INTERVAL)
    assert load_summaries(run_store, ["a"])["a"]["layer7"].last == 199.0
    move_to_chunks(run_store, "a")
    with run_store.reading() as connection:
        assert set(connection.execute(select(schema.metrics.c.last)).scalars()) == {199.0}


def test_names_are_written_once(run_store):
    names = [f"a rather long name of a metric {k}" for k in range(500)]
    _, batches = write_log(run_store, [(i, float(i), dict.fromkeys(names, 0.1)) for i in range(50)], per_segment=1)
    sizes = [len(batch.rows["log_segments"][0]["points"]) for batch in batches]
    assert [batch.rows["log_segments"][0]["names"] is None for batch in batches] == [False] + [True] * 49
    assert max(sizes) < 500 * 8 + 200


def test_a_damaged_log_is_an_error(run_store):
    write_log(run_store, mixed_entries(9))
    with run_store.writing() as connection:
        connection.execute(schema.log_segments.update().values(points=b"\1"))
    with pytest.raises(StoreError, match="log of points is damaged"):
        load_all_curves(run_store, "a")


@pytest.mark.parametrize("n_metrics", [100, 500])
def test_a_step_in_a_transaction_of_its_own_writes_few_bytes(tmp_path, n_metrics):
    """The bytes that go to the log of a SQLite file, for points of 24 bytes."""
    store, rng, n_steps = Store(f"sqlite:///{tmp_path / 'runs.db'}"), random.Random(0), 64
    store.write(add_run_with_curves(RecordBatch()))
    with store.writing() as connection:  # no checkpoint, so that the log only grows
        connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 0")
    log_file = tmp_path / "runs.db-wal"
    size = log_file.stat().st_size
    entries = [(i, 1.7e9 + i, {f"layer{k}": rng.random() for k in range(n_metrics)}) for i in range(n_steps)]
    write_log(store, entries, per_segment=1)
    written = log_file.stat().st_size - size
    store.close()
    assert written < 2 * 24 * n_metrics * n_steps
