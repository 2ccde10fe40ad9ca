"""Records of runs: the content of a batch, and what a store returns after writing it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rosenblatt.runs.redaction import MASK
from rosenblatt.runs.store.curves import make_points, summarize
from rosenblatt.runs.store.queries import load_all_curves, load_summaries, run_details
from rosenblatt.runs.store.records import RecordBatch, as_json, index_name, metric_direction, sanitize_text
from tests.runs.conftest import add_run_with_curves


def param_row(name, value):
    """The text and number that are stored for a hyperparameter."""
    batch = RecordBatch()
    batch.add_params("a", {name: value})
    (row,) = batch.rows["params"]
    return row["value"], row["numeric_value"]


def test_writing_a_batch_twice_changes_nothing(store):
    batch = add_run_with_curves(RecordBatch(), loss=[3.0, 1.0, 2.0])
    batch.add_params("a", {"lr": 0.1, "deep": True})
    batch.update_run("a", state="finished", ended=5.0)
    store.write(batch)
    first = run_details(store, "a"), load_all_curves(store, "a")["loss"].values.tolist()
    store.write(batch)
    assert (run_details(store, "a"), load_all_curves(store, "a")["loss"].values.tolist()) == first
    assert first[1] == [3.0, 1.0, 2.0]


@pytest.mark.parametrize("name", ["Verlust 🎲", "a\0b", "\ud800x", "'; DROP TABLE runs; --", "ß" * 3000, "مقياس"])
def test_names_may_contain_any_unicode(store, name):
    batch = RecordBatch()
    batch.add_run("a", name, name, "track")
    points = make_points([1], [0.0], [2.0])
    batch.add_curve("a", name, "w", 0, points, summarize(points))
    batch.add_params("a", {name: name})
    batch.add_tag("a", name, name)
    store.write(batch)
    details = run_details(store, "a")
    stored_name = name.replace("\0", "␀").replace("\ud800", "\\ud800")
    assert details.experiment == stored_name
    (metric,) = details.metrics
    assert metric == stored_name or (len(name) > 500 and metric.startswith(f"{name[:500]}... "))
    assert details.params[metric].value == stored_name


def test_a_whole_curve_replaces_the_stored_one(store):
    store.write(add_run_with_curves(RecordBatch(), loss=[0.1, 0.5]))
    points, batch = make_points([0, 1], [0.0, 0.0], [0.4, 0.6]), RecordBatch()
    batch.add_curve("a", "loss", "w", 0, points, summarize(points), replace=True)
    store.write(batch)
    assert load_summaries(store, ["a"])["a"]["loss"].min == 0.4
    assert load_all_curves(store, "a")["loss"].values.tolist() == [0.4, 0.6]


def test_a_batch_is_true_once_it_has_a_record():
    batch = RecordBatch()
    assert not batch
    batch.add_tag("a", "team", "vision")
    assert batch
    assert batch.rows == {"tags": [{"run": "a", "name": "team", "value": "vision"}]}


def test_a_new_run_is_running_unless_its_attributes_differ():
    batch = RecordBatch()
    batch.add_run("a", "e", "first", "track")
    batch.add_run("b", "e", "second", "trial", parent="a", number=3, state="failed", started=5.0)
    first, second = batch.rows["runs"]
    assert (first["state"], first["parent"], first["ended"]) == ("running", None, None)
    assert (second["state"], second["parent"], second["number"], second["started"]) == ("failed", "a", 3, 5.0)


@pytest.mark.parametrize(
    ("value", "row"),
    [
        (True, ("true", 1.0)),
        (None, ("none", None)),
        (0.1, ("0.1", 0.1)),
        (float("nan"), ("nan", None)),
        (10**400, (str(10**400), None)),
        (np.float32(0.5), ("0.5", 0.5)),
        ([8, 4], ("8, 4", None)),
        ({"b": 1, "a": [2]}, ('{"a": [2], "b": 1}', None)),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_numeric_hyperparameter_is_stored_as_text_and_number(value, row):
    assert param_row("x", value) == row


def test_hyperparameters_are_marked_as_explicit_by_name():
    batch = RecordBatch()
    batch.add_params("a", {"lr": 1, "depth": 2, "seed": 3}, {"lr": True, "depth": False})
    assert {row["name"]: row["explicit"] for row in batch.rows["params"]} == {
        "lr": True, "depth": False, "seed": False,
    }  # fmt: skip


def test_credentials_are_masked_in_every_record():
    batch = RecordBatch()
    batch.add_params("a", {"api_key": "abc"})
    batch.add_tag("a", "password", "abc")
    batch.add_metadata("a", "env", {"token": "abc"})
    batch.update_run("a", reason="https://me:abc@host failed")
    assert (batch.rows["params"][0]["value"], batch.rows["tags"][0]["value"]) == (MASK, MASK)
    assert json.loads(batch.rows["metadata"][0]["value"]) == {"token": MASK}
    assert batch.rows["run_updates"][0]["reason"] == f"https://{MASK}@host failed"


def test_equal_documents_have_the_same_hash_in_any_order_of_keys():
    batch = RecordBatch()
    assert batch.add_document({"a": 1, "b": 2}) == batch.add_document({"b": 2, "a": 1})
    assert batch.add_document({"a": 1, "b": 3}) != batch.add_document({"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("loss", "min"), ("val_loss", "min"), ("Test RMSE", "min"), ("step time", "min"), ("accuracy", "max"),
        ("valid_binary_logloss", "min"), ("eval-mlogloss", "min"), ("valid_l2", "min"), ("val_cross_entropy", "min"),
        ("glossiness", "max"), ("timeliness", "max"),
    ],
)  # fmt: skip
def test_the_best_value_of_a_metric_named_like_a_loss_is_its_minimum(metric, direction):
    assert metric_direction(metric) == direction


def test_long_names_are_shortened_and_stay_distinct():
    assert index_name("x" * 500) == "x" * 500
    first, second = index_name("x" * 501), index_name("x" * 502)
    assert first != second
    assert first.startswith("x" * 500 + "... ")
    assert len(first) == len(second) == 516


def test_json_is_sorted_and_holds_other_objects_as_text():
    circle = []
    circle.append(circle)
    assert as_json({"b": np.arange(2), "a": {1}}) == '{"a": "{1}", "b": [0, 1]}'
    assert as_json(circle) == '"[[...]]"'
    assert sanitize_text("a\0b\ud800") == "a\u2400b\\ud800"
