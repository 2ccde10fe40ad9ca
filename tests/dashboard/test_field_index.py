"""Tests of the fields of runs that are kept in memory, with both databases."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from sqlalchemy import update

from rosenblatt.dashboard import field_index
from rosenblatt.dashboard.field_index import FieldIndex
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.schema import metrics
from rosenblatt.runs.store.store import Store
from tests.runs.conftest import STORE_KINDS, add_run_with_curves, empty_store_url, server

__all__ = ["server"]


@pytest.fixture(autouse=True)
def refresh_always(monkeypatch):
    monkeypatch.setattr(field_index, "REFRESH_INTERVAL_S", 0.0)


@pytest.fixture(params=STORE_KINDS)
def empty_store(request, tmp_path) -> Iterator[Store]:
    opened = Store(empty_store_url(request, tmp_path))
    yield opened
    opened.close()


def add_run(store: Store, run: str, params: dict[str, object], state: str = "finished", **curves: list[float]) -> None:
    batch = add_run_with_curves(RecordBatch(), run, **curves)
    batch.add_params(run, params)
    store.write(batch, is_alive=True)
    store.write({"run_updates": [{"run": run, "state": state, "ended": 1.0, "heartbeat": 1.0}]})


def test_fields_are_counted_and_compared_among_the_runs_that_are_named(empty_store: Store):
    add_run(empty_store, "a", {"lr": 0.1, "text": 'quoted "x"'}, loss=[1.0, math.inf])
    add_run(empty_store, "b", {"lr": 0.2, "text": 'quoted "x"'}, loss=[1.0, math.nan])
    add_run(empty_store, "c", {"lr": 0.2}, loss=[1.0, math.nan])
    index = FieldIndex(empty_store)
    assert index.count(["a", "b", "c"]) == (3, {
        ("params", "lr"): (3, True), ("params", "text"): (2, True), ("metrics", "loss"): (3, True),
    })  # fmt: skip
    assert index.count(["b", "c"]).fields[("metrics", "loss")] == (2, False)
    assert index.count([]) == (0, {})


def test_runs_that_are_new_changed_or_deleted_are_noticed(empty_store: Store):
    add_run(empty_store, "a", {"lr": 0.1}, loss=[1.0])
    add_run(empty_store, "b", {"lr": 0.1}, state="running", loss=[1.0])
    index = FieldIndex(empty_store)
    assert not index.count(["a", "b"]).fields[("metrics", "loss")][1]
    with empty_store.writing() as connection:
        connection.execute(update(metrics).where(metrics.c.run == "b").values(last=0.5))
    assert index.count(["a", "b"]).fields[("metrics", "loss")] == (2, True)
    add_run(empty_store, "c", {"momentum": 0.9})
    assert ("params", "momentum") in index.count(["c"]).fields
    empty_store.delete(["a", "c"])
    assert index.count(["a", "b", "c"]) == (1, {("params", "lr"): (1, False), ("metrics", "loss"): (1, False)})
    add_run(empty_store, "d", {"other": 1})
    assert index.count(["d"]) == (1, {("params", "other"): (1, False)})


def test_of_many_runs_the_newest_are_read_first_and_the_others_on_the_next_calls(tmp_path, monkeypatch):
    monkeypatch.setattr(field_index, "REFRESH_TIME_S", 0.0)
    store = Store(f"sqlite:///{tmp_path / 'runs.db'}")
    ids = [f"r{number:04}" for number in range(1200)]
    batch = RecordBatch()
    for number, run in enumerate(ids):
        batch.add_run(run, "e", "", "fit", started=float(number), state="finished")
        batch.add_params(run, {f"p{number}": 1})
    store.write(batch)
    assert FieldIndex(store).count(ids[:3]).examined == 3
    index = FieldIndex(store)
    first = index.count(ids)
    assert first.examined == 500
    assert ("params", "p1199") in first.fields
    assert [index.count(ids).examined, len(index.count(ids).fields)] == [1000, 1200]
    store.close()
