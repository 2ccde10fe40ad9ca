"""Comparison of two runs: their differences, and possible causes of different results."""

from __future__ import annotations

import pytest

from rosenblatt.runs.capture.source import capture_source
from rosenblatt.runs.compare import (
    Comparison,
    compare,
    diff_dicts,
    possible_causes,
    source_difference,
)
from rosenblatt.runs.store.queries import run_details
from rosenblatt.runs.store.records import RecordBatch
from tests.runs.conftest import add_run_with_curves


@pytest.fixture
def capture_script(artifacts, tmp_path):
    """Return a function that captures the source of a folder with one script."""

    def capture(name, content):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "train.py").write_text(content)
        return capture_source(folder / "train.py", lambda path: (artifacts.store_file(path).hash, ""))

    return capture


def add_run_with_environment(batch, run, **environment):
    add_run_with_curves(batch, run)
    batch.add_metadata(run, "environment", batch.add_document({"packages": {}, "variables": {}} | environment))


def test_only_names_with_different_values_differ_and_a_missing_one_is_none():
    assert diff_dicts({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "d": 5}) == {
        "b": [2, 4],
        "c": [3, None],
        "d": [None, 5],
    }
    assert diff_dicts({"a": 1.0}, {"a": 1.0}) == {}


def test_a_comparison_lists_each_kind_of_difference_and_all_metrics(store):
    batch = RecordBatch()
    add_run_with_environment(
        batch, "a", python="3.12", packages={"numpy": "2.2", "torch": "2.6"}, variables={"SEED": "1"}
    )
    add_run_with_environment(
        batch, "b", python="3.12", packages={"numpy": "2.3", "torch": "2.6"}, variables={"SEED": "2"}
    )
    batch.add_params("a", {"dropout": 0.1, "epochs": 5})
    batch.add_params("b", {"dropout": 0.2, "epochs": 5})
    batch.add_metadata("a", "data", [{"name": "train.csv", "path": "/x/train.csv", "hash": "1"}])
    batch.add_metadata("b", "data", [{"name": "train.csv", "path": "/x/train.csv", "hash": "2"}])
    add_run_with_curves(batch, "a", loss=[2.0, 1.0, 3.0], auc=[0.5, 0.8])
    add_run_with_curves(batch, "b", loss=[0.5])
    store.write(batch)
    assert compare(store, "a", "b") == Comparison(
        runs=("a", "b"),
        params={"dropout": ["0.1", "0.2"]},
        metrics={"auc": [0.8, None], "loss": [1.0, 0.5]},
        data={"train.csv": ["1", "2"]},
        environment={"numpy": ["2.2", "2.3"], "variable SEED": ["1", "2"]},
        source="",
    )


def test_files_of_one_name_in_two_folders_are_compared_separately(sqlite):
    batch = RecordBatch()
    for run, digest in (("a", "2"), ("b", "3")):
        add_run_with_curves(batch, run)
        batch.add_metadata(
            run,
            "data_read",
            [
                {"name": "part.csv", "path": "/x/train/part.csv", "hash": "1"},
                {"name": "part.csv", "path": "/x/test/part.csv", "hash": digest},
            ],
        )
    sqlite.write(batch)
    assert compare(sqlite, "a", "b").data == {"test/part.csv": ["2", "3"]}


def test_a_seed_is_a_cause_and_explains_a_different_split(sqlite):
    batch = RecordBatch()
    for run, seed, rows in (("a", 0, "p"), ("b", 1, "q"), ("c", 0, "q")):
        add_run_with_curves(batch, run)
        batch.add_params(run, {"seed": seed, "dropout": 0.1})
        batch.add_metadata(run, "split", {"training": rows})
    sqlite.write(batch)
    a, b, c = (run_details(sqlite, run) for run in "abc")
    assert possible_causes(a, b) == {"seed": {"seed": ["0", "1"]}}
    assert possible_causes(a, c) == {"data": {"training rows": ["p", "q"]}}


def test_hardware_is_distinguished_from_packages(sqlite):
    batch = RecordBatch()
    add_run_with_environment(batch, "a", python="3.12", cores=8, processor="EPYC", packages={"numpy": "2.2"})
    add_run_with_environment(batch, "b", python="3.13", cores=16, processor="EPYC", packages={"numpy": "2.2"})
    sqlite.write(batch)
    assert possible_causes(run_details(sqlite, "a"), run_details(sqlite, "b")) == {
        "package": {"python": ["3.12", "3.13"]},
        "hardware": {"cores": [8, 16]},
    }


def test_the_difference_of_two_sources_is_a_diff(artifacts, capture_script):
    a, b = capture_script("a", "lr = 0.1\nepochs = 5\n"), capture_script("b", "lr = 0.2\nepochs = 5\n")
    lines = source_difference(artifacts, a, b).splitlines()
    assert [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")] == ["-lr = 0.1", "+lr = 0.2"]
    assert any("train.py" in line for line in lines)
    assert source_difference(artifacts, a, a) == ""
    assert source_difference(artifacts, a, None) == ""


def test_sources_that_cannot_be_restored_are_reported_with_the_reason(artifacts, capture_script, monkeypatch):
    a, b = capture_script("a", "lr = 0.1\n"), capture_script("b", "lr = 0.2\n")
    digest = b.files["train.py"].hash
    monkeypatch.setattr("rosenblatt.runs.store.artifacts.GRACE_SECONDS", -5.0)
    artifacts.collect_garbage({a.files["train.py"].hash})
    reason = source_difference(artifacts, a, b)
    assert reason.startswith("The sources differ, but cannot be shown: ")
    assert digest in reason
