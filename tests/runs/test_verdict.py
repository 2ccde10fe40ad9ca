"""Verdicts on a repeated run: how close its results are to the first ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.verdict import FirstDifference, compare_results, is_measurement
from tests.runs.conftest import add_run_with_curves


def add_run_with_model(batch, artifacts, tmp_path, run, **tensors):
    """Add a run whose model has these weights."""
    path = tmp_path / f"{run}.safetensors"
    save_file({name: np.array(values, np.float32) for name, values in tensors.items()}, path)
    stored = artifacts.store_file(path)
    add_run_with_curves(batch, run)
    batch.add_artifact(run, "model", "model", stored.hash, stored.bytes, stored.root)
    batch.add_metadata(run, "weights", stored.hash)


def test_runs_differ_by_the_largest_relative_difference_of_any_point(store):
    batch = add_run_with_curves(RecordBatch(), "a", loss=[4.0, 2.0, 1.0], auc=[0.5, 0.8])
    add_run_with_curves(batch, "b", loss=[4.0, 2.5, 1.0], auc=[0.5, 0.88])
    store.write(batch)
    result = compare_results(store, "a", "b", 0.3)
    assert (result.verdict, result.first_difference, result.n_compared) == ("within tolerance", None, 2)
    assert result.max_difference == pytest.approx(0.25, rel=1e-12)  # 2.5 instead of 2.0; for auc it is 0.1
    strict = compare_results(store, "a", "b", 0.05)
    assert (strict.verdict, strict.first_difference.step) == ("differs", 1)


def test_values_that_are_not_finite_equal_only_themselves(sqlite):
    batch = add_run_with_curves(RecordBatch(), "a", x=[math.nan, math.inf, -math.inf])
    add_run_with_curves(batch, "same", x=[math.nan, math.inf, -math.inf])
    add_run_with_curves(batch, "number", x=[1.0, math.inf, -math.inf])
    add_run_with_curves(batch, "sign", x=[math.nan, math.inf, math.inf])
    sqlite.write(batch)
    assert compare_results(sqlite, "a", "same", 0.0).verdict == "identical"
    for run, step in (("number", 0), ("sign", 2)):
        result = compare_results(sqlite, "a", run, 1e9)
        assert (result.verdict, result.max_difference, result.first_difference.step) == (
            "differs",
            math.inf,
            step,
        )


def test_measurements_of_the_machine_are_not_compared(sqlite):
    batch = RecordBatch()
    measured = {"system/cpu percent": [1.0], "epoch_time": [1.0], "seconds": [2.0], "samples_per_second": [3.0]}
    add_run_with_curves(batch, "a", loss=[1.0], timely=[1.0], **measured)
    add_run_with_curves(batch, "b", loss=[1.0], timely=[1.0], **{name: [9.0] for name in measured})
    sqlite.write(batch)
    result = compare_results(sqlite, "a", "b", 0.0)
    assert (result.verdict, result.n_compared) == ("identical", 2)
    assert result.not_compared == sorted(measured)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["epoch_time", "train_seconds", "samples_per_sec", "seconds", "time/epoch", "evalRuntime", "it/s ms"], True),
        (["test_tokens_per_second", "latency_p99", "seconds_per_step", "fps", "delivery_time", "wall time"], True),
        (["delivery_time_mae", "time_to_failure", "fps_error", "seconds_per_meter", "timely", "f1", "s", ""], False),
        (["loss", "time_mask_ratio", "runtime_error_rate", "lifetime_value", "mean_duration_error"], False),
    ],
)  # fmt: skip
def test_measurements_are_known_by_their_names(names, expected):
    assert {name: is_measurement(name) for name in names} == dict.fromkeys(names, expected)


def test_a_metric_with_the_name_of_a_time_counts_if_it_is_equal_and_is_named_if_not(sqlite):
    batch = add_run_with_curves(RecordBatch(), "a", delivery_time=[1.0], time_to_failure=[2.0])
    add_run_with_curves(batch, "b", delivery_time=[1.0], time_to_failure=[3.0])
    add_run_with_curves(batch, "c", delivery_time=[4.0], time_to_failure=[2.0])
    sqlite.write(batch)
    assert (compare_results(sqlite, "a", "a", 0.0).n_compared, compare_results(sqlite, "a", "a", 0.0).notes) == (2, [])
    assert compare_results(sqlite, "a", "b", 0.0).first_difference.description.startswith("time_to_failure: 2.0")
    result = compare_results(sqlite, "a", "c", 0.0)
    assert (result.verdict, result.n_compared, result.not_compared) == ("identical", 1, ["delivery_time"])
    assert result.notes == [
        "not counted, because the names suggest times or speeds: delivery_time: 1.0 was 4.0 this time"
    ]


def test_files_are_compared_by_their_content(sqlite):
    batch = RecordBatch()
    for run, files in (("a", {"x.csv": "1"}), ("same", {"x.csv": "1"}), ("other", {"x.csv": "2"}), ("none", {})):
        add_run_with_curves(batch, run)
        for name, digest in files.items():
            batch.add_artifact(run, name, "file", digest, 1, "")
    sqlite.write(batch)
    same, other, none = (compare_results(sqlite, "a", run, 0.0) for run in ("same", "other", "none"))
    assert (same.verdict, same.compared) == ("identical", {"file": 1})
    assert (other.verdict, other.notes) == ("nothing to compare", ["not counted: other content in x.csv"])
    assert none.first_difference == FirstDifference(None, "the file x.csv is only in the first run")


def test_classes_are_compared(sqlite):
    batch, scores = RecordBatch(), {"precision": 0.5, "recall": 0.5, "f1": 0.5, "rows": 9}
    for run, classes in (("a", {"yes": scores}), ("b", {"yes": scores | {"f1": 0.6}}), ("c", {"no": scores})):
        add_run_with_curves(batch, run)
        batch.add_metadata(run, "classes", classes)
    sqlite.write(batch)
    assert compare_results(sqlite, "a", "a", 0.0).compared == {"class": 1}
    assert compare_results(sqlite, "a", "b", 1e-3).first_difference == FirstDifference(
        None, "f1 of class yes: 0.5 was 0.6 this time"
    )
    assert compare_results(sqlite, "a", "b", 0.5).verdict == "within tolerance"
    assert compare_results(sqlite, "a", "c", 1e9).verdict == "differs"


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        ([math.nan, 2.0], [math.nan, 2.0], 0.0),
        ([math.nan, 2.0], [1.0, 2.0], math.inf),
        ([1.0, 2.0], [1.0, math.nan], math.inf),
        ([math.inf, 2.0], [math.inf, 2.0], 0.0),
        ([math.inf, 2.0], [math.inf, 3.0], 0.5),
        ([math.inf, 2.0], [-math.inf, 2.0], math.inf),
        ([math.inf, 2.0], [1.0, 2.0], math.inf),
        ([1.0, 2.0], [math.inf, 2.0], math.inf),
        ([math.nan, math.inf], [math.nan, math.inf], 0.0),
        ([0.0, 0.0], [0.0, 1.0], 1e12),
    ],
)
def test_weights_that_are_not_finite_equal_only_themselves(sqlite, artifacts, tmp_path, first, second, difference):
    batch = RecordBatch()
    for run, weights in (("a", first), ("b", second)):
        add_run_with_model(batch, artifacts, tmp_path, run, w=weights)
    sqlite.write(batch)
    result = compare_results(sqlite, "a", "b", 0.0)
    assert result.max_difference == pytest.approx(difference)
    assert (result.verdict == "identical") == (difference == 0)


def test_runs_without_results_have_nothing_to_compare_and_exit_statuses_are_results(sqlite):
    batch = RecordBatch()
    for run, status in (("a", 0), ("b", 0), ("c", 1)):
        add_run_with_curves(batch, run)
        batch.add_metadata(run, "exit_status", status)
    sqlite.write(batch)
    assert compare_results(sqlite, "a", "b", 0.0).verdict == "nothing to compare"
    result = compare_results(sqlite, "a", "c", 1.0)
    assert (result.verdict, result.first_difference.step) == ("differs", None)
    assert result.first_difference.description.startswith("the exit status was 0")


def test_weights_of_models_are_compared_relative_to_the_largest(artifacts, sqlite, tmp_path):
    batch = RecordBatch()
    add_run_with_model(batch, artifacts, tmp_path, "a", w=[4.0, -8.0], b=[1.0])
    add_run_with_model(batch, artifacts, tmp_path, "near", w=[4.0, -8.0], b=[1.5])
    add_run_with_model(batch, artifacts, tmp_path, "wider", w=[4.0, -8.0, 1.0], b=[1.0])
    sqlite.write(batch)
    result = compare_results(sqlite, "a", "near", 0.1)
    assert (result.verdict, result.max_difference) == ("within tolerance", 0.5 / 8)
    assert compare_results(sqlite, "a", "near", 0.05).first_difference == FirstDifference(None, "weights")
    assert compare_results(sqlite, "a", "a", 0.0).verdict == "identical"
    assert compare_results(sqlite, "a", "wider", 1.0).max_difference == math.inf
