"""The newest finished run of an identity is reused, as long as what it read is unchanged."""

from __future__ import annotations

import hashlib

import pytest

from rosenblatt.runs.capture.reuse import find_reusable_run
from rosenblatt.runs.store.records import RecordBatch


@pytest.fixture
def data(store, tmp_path):
    """A file that three runs of one identity have read; the newest of them failed."""
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n")
    batch = RecordBatch()
    input_file = {"path": str(path), "name": "data.csv", "hash": hashlib.sha256(path.read_bytes()).hexdigest()}
    for run, started, state in (("old", 1.0, "finished"), ("new", 2.0, "finished"), ("newest", 3.0, "failed")):
        batch.add_run(run, "e", "", "fit", started=started, state=state, ended=started, identity="same")
        batch.add_metadata(run, "data_read", [input_file])
    store.write(batch)
    return path


def test_the_newest_finished_run_is_found(url, data):
    assert find_reusable_run(url, "same") == ("new", "")
    assert find_reusable_run(url, "another").id is None


@pytest.mark.parametrize("change", [lambda path: path.write_text("a,b\n1,3\n"), lambda path: path.unlink()])
def test_a_run_whose_file_is_changed_or_gone_is_not_reused(url, data, change):
    change(data)
    run, reason = find_reusable_run(url, "same")
    assert run is None
    assert reason.endswith("data.csv has changed since run new")


@pytest.mark.parametrize("record", ["3", "{"])
def test_a_run_in_an_unknown_form_is_not_reused(store, url, data, record):
    rows = [{"run": run, "name": "unseen", "value": record} for run in ("old", "new")]
    store.write({"metadata": rows})
    assert find_reusable_run(url, "same").reason == "run new was recorded by another version"
