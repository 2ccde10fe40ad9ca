"""Tests of the progress of running runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from rosenblatt.dashboard.progress import load_progress
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from tests.runs.conftest import add_run_with_curves


@pytest.fixture
def batch() -> RecordBatch:
    return RecordBatch()


@pytest.fixture
def running(tmp_path) -> Iterator[Store]:
    with closing(Store(f"sqlite:///{tmp_path / 'runs.db'}")) as store:
        yield store


def load(store: Store, batch: RecordBatch, run: str):
    store.write(batch, is_alive=True)
    with store.reading() as connection:
        return load_progress(connection, [run]).get(run)


def test_a_run_is_as_far_as_the_epochs_that_it_logs(running: Store, batch: RecordBatch):
    add_run_with_curves(batch, "a", loss=[1.0] * 51)
    batch.add_params("a", {"epochs": 200})
    progress = load(running, batch, "a")
    assert progress is not None
    assert progress.fraction == 0.25
    assert progress.is_limit
    batch.add_run("b", "e", "", "track", started=time.time() - 60)
    batch.add_params("b", {"num_epochs": 4})
    add_run_with_curves(batch, "c", epoch=[0.0, 2.0])
    batch.rows["metrics"][-1]["run"] = "b"
    progress = load(running, batch, "b")
    assert progress is not None
    assert progress.fraction == 0.5
    assert progress.seconds_left is not None


def test_a_search_is_as_far_as_its_trials_or_its_time(running: Store, batch: RecordBatch):
    batch.add_run("search", "e", "", "search", started=time.time() - 60)
    batch.add_metadata("search", "request", {"spec": {"search": {"trials": 8, "minutes": None}}})
    for number in range(4):
        batch.add_run(f"t{number}", "e", "", "trial", parent="search", state="finished" if number < 2 else "running")
    progress = load(running, batch, "search")
    assert progress is not None
    assert progress.fraction == 0.25
    assert progress.seconds_left == pytest.approx(180, rel=0.1)
    batch.add_metadata("search", "request", {"spec": {"search": {"trials": None, "minutes": 2}}})
    progress = load(running, batch, "search")
    assert progress is not None
    assert progress.fraction == pytest.approx(0.5, abs=0.1)


def test_of_ended_runs_and_runs_without_a_length_nothing_is_claimed(running: Store, batch: RecordBatch):
    add_run_with_curves(batch, "a", loss=[1.0] * 51)
    assert load(running, batch, "a") is None
    batch.add_run("ended", "e", "", "fit", state="finished")
    batch.add_params("ended", {"epochs": 10})
    batch.add_run("long", "e", "", "search")
    assert load(running, batch, "ended") is None
    assert load(running, batch, "long") is None
    add_run_with_curves(batch, "wrong", loss=[1.0] * 51)
    batch.add_params("wrong", {"epochs": 10})
    assert load(running, batch, "wrong") is None
