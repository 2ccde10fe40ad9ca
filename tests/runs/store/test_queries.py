"""Queries on runs, their details and curves, with both databases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sqlalchemy import delete, insert

from rosenblatt.errors import FilterError, RunError
from rosenblatt.runs.store.curves import make_points, summarize
from rosenblatt.runs.store.details import Param
from rosenblatt.runs.store.queries import (
    count_trials,
    find_run,
    find_runs,
    list_artifacts,
    load_all_curves,
    load_curves,
    load_output,
    load_params,
    load_summaries,
    run_details,
    written_files,
)
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.schema import run_metadata
from tests.runs.conftest import add_run_with_curves


def add_run(batch, run, started, **attributes):
    batch.add_run(
        run,
        attributes.pop("experiment", "e"),
        attributes.pop("name", ""),
        attributes.pop("kind", "fit"),
        started=started,
        **attributes,
    )


@pytest.fixture
def filled_store(store):
    """Two fits and a search with two trials, started one after the other."""
    batch = RecordBatch()
    add_run(batch, "aa1", 100.0, name="first", state="finished", ended=110.0)
    add_run(batch, "aa2", 200.0, name="second", state="failed", reason="no data", ended=203.0)
    add_run(batch, "bb1", 300.0, name="search", kind="search", state="finished", ended=350.0)
    for i in range(2):
        add_run(batch, f"bb1-{i}", 301.0, kind="trial", state="finished", ended=310.0, parent="bb1", number=i)
    batch.add_params("aa1", {"dropout": 0.1, "sizes": (8, 4)}, {"dropout": True})
    batch.add_params("aa2", {"dropout": 0.25})
    batch.add_tag("aa1", "team", "red")
    store.write(batch)
    return store


def ids(runs):
    return [run.id for run in runs]


def test_runs_are_sorted_by_any_field_newest_first_by_default(filled_store):
    assert ids(find_runs(filled_store, include_trials=False)) == ["bb1", "aa2", "aa1"]
    assert ids(find_runs(filled_store, sort="started", include_trials=False)) == ["aa1", "aa2", "bb1"]
    assert ids(find_runs(filled_store, sort="-duration", include_trials=False)) == ["bb1", "aa1", "aa2"]
    assert ids(find_runs(filled_store, sort="-params.dropout", include_trials=False)) == [
        "aa2",
        "aa1",
        "bb1",
    ]  # without one last
    assert ids(find_runs(filled_store, limit=1, include_trials=False)) == ["bb1"]


def test_a_filter_selects_runs_and_adds_its_fields_to_them(filled_store):
    (run,) = find_runs(filled_store, "params.dropout > 0.2 and state = failed")
    assert (run.id, run.reason, run.extra_fields["params.dropout"]) == ("aa2", "no data", "0.25")
    assert ids(find_runs(filled_store, "tags.team = red")) == ["aa1"]
    with pytest.raises(FilterError, match="the filter ends"):
        find_runs(filled_store, "params.dropout >")


def test_trials_are_those_of_their_search(filled_store):
    assert ids(find_runs(filled_store, parent="bb1", sort="number")) == ["bb1-0", "bb1-1"]
    assert count_trials(filled_store, ["aa1", "bb1"]) == {"bb1": 2}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("params.droput > 1", "No run has a hyperparameter 'droput'. Did you mean 'dropout'?"),
        ("tags.taem = red", "No run has a tag 'taem'. Did you mean 'team'?"),
    ],
)
def test_a_field_that_no_run_has_is_an_error_with_a_suggestion(filled_store, where, message):
    with pytest.raises(RunError) as error:
        find_runs(filled_store, where)
    assert message in str(error.value)


def test_a_run_is_found_by_its_id_a_prefix_its_name_or_as_the_last(filled_store):
    assert find_run(filled_store, "aa1") == "aa1"
    assert find_run(filled_store, "bb1") == "bb1"  # although it is also a prefix of the ids of its trials
    assert find_run(filled_store, "second") == "aa2"
    assert find_run(filled_store, "last") == "bb1"
    assert find_run(filled_store, "bb1-1") == "bb1-1"


def test_an_id_counts_more_than_a_name_and_a_name_more_than_a_prefix(store):
    batch = RecordBatch()
    for i, (run, name) in enumerate([("best234567", ""), ("m2222222222", "best"), ("m3333333333", "m2222222222")]):
        batch.add_run(run, "e", name, "track", started=float(i))
    store.write(batch)
    assert find_run(store, "best") == "m2222222222"
    assert find_run(store, "best2") == "best234567"
    assert find_run(store, "m2222222222") == "m2222222222"
    assert find_run(store, "m33", min_prefix=3) == "m3333333333"
    for name in ("m33", "", "bes"):
        with pytest.raises(RunError, match=f"No run has the id or name '{name}'|There is no run"):
            find_run(store, name, min_prefix=4)


def test_a_prefix_of_a_search_does_not_mean_its_trials(store):
    batch = RecordBatch()
    batch.add_run("search2345", "e", "", "search")
    for i in range(10):
        batch.add_run(f"search2345-{i}", "e", "", "trial", parent="search2345", number=i)
    store.write(batch)
    assert find_run(store, "sea") == "search2345"
    assert find_run(store, "search2345-3") == "search2345-3"


def test_unknown_and_ambiguous_names_are_errors_that_list_runs(filled_store, store):
    with pytest.raises(RunError, match=r"There is no run 'aa3'\. Did you mean 'aa[12]'\?"):
        find_run(filled_store, "aa3")
    with pytest.raises(RunError, match=r"'aa' is ambiguous\. It matches, newest first: aa2 'second' \(\d+-.*\); aa1 "):
        find_run(filled_store, "aa")
    with pytest.raises(RunError, match="There is no run '%'"):  # not a wildcard
        find_run(filled_store, "%")
    store.delete(["aa1", "aa2", "bb1"])
    with pytest.raises(RunError, match="There are no runs yet"):
        find_run(store, "last")


def test_the_best_of_a_metric_is_its_minimum_for_losses_and_its_maximum_for_scores(store):
    store.write(
        add_run_with_curves(RecordBatch(), loss=[3.0, 1.0, 2.0], accuracy=[0.5, 0.9, 0.7], broken=[math.nan, math.nan])
    )
    summaries = load_summaries(store, ["a", "unknown"])
    assert summaries["unknown"] == {}
    loss, accuracy, broken = (summaries["a"][name] for name in ("loss", "accuracy", "broken"))
    assert (loss.best, loss.best_step, loss.last, loss.max) == (1.0, 1, 2.0, 3.0)
    assert (accuracy.best, accuracy.best_step, accuracy.min) == (0.9, 1, 0.5)
    assert (broken.best, broken.last, broken.min) == (None, None, None)


def test_details_hold_everything_recorded_of_a_run(filled_store):
    batch = RecordBatch()
    digest = batch.add_document({"python": "3.12", "packages": {"numpy": "2.2"}})
    batch.add_metadata("aa1", "environment", digest)
    batch.add_metadata("aa1", "folder", "/somewhere")
    batch.add_metadata("aa1", "note:why", "a baseline")
    batch.add_artifact("aa1", "model", "model", "0" * 64, 17, "/artifacts")
    filled_store.write(batch)
    details = run_details(filled_store, "aa1")
    assert details.environment.packages == {"numpy": "2.2"}
    assert (details.folder, details.notes, details.tags) == (
        "/somewhere",
        {"why": "a baseline"},
        {"team": "red"},
    )
    assert details.params == {
        "dropout": Param(value="0.1", explicit=True),
        "sizes": Param(value="8, 4", explicit=False),
    }
    assert load_params(filled_store, ["aa1"]) == {"aa1": {"dropout": "0.1", "sizes": "8, 4"}}
    assert details.artifacts == list_artifacts(filled_store, "aa1")
    assert details.artifacts["model"].bytes == 17
    assert (details.state, details.started, details.trials) == ("finished", 100.0, 0)


def test_curves_of_a_thousand_runs_are_complete_or_downsampled_with_extremes(store):
    values = np.sin(np.arange(5000) / 300.0)
    values[1234], values[4321], values[2500] = 7.0, -7.0, math.nan
    batch = add_run_with_curves(RecordBatch(), "long", loss=values.tolist())
    for i in range(1100):
        add_run_with_curves(batch, f"r{i}", loss=[float(i)])
    store.write(batch)
    runs = ["long", *(f"r{i}" for i in range(1100))]
    full, downsampled = load_curves(store, runs, "loss", None), load_curves(store, runs, "loss", 100)
    assert len(full) == len(downsampled) == 1101
    np.testing.assert_array_equal(full["long"].values, values)
    assert full["r1099"].values.tolist() == [1099.0]
    long_curve = downsampled["long"]
    assert len(long_curve.values) < 300
    assert (np.nanmax(long_curve.values), np.nanmin(long_curve.values), np.isnan(long_curve.values).sum()) == (
        7.0,
        -7.0,
        1,
    )
    assert long_curve.steps[[0, -1]].tolist() == [0, 4999]
    assert load_curves(store, runs, "accuracy") == {}


def test_chunks_of_two_writers_are_one_curve_sorted_by_step(store):
    batch = add_run_with_curves(RecordBatch())
    for writer, steps in (("w1", [0, 2, 4]), ("w0", [1, 3, 5])):
        points = make_points(steps, [0.0] * 3, [step / 10 for step in steps])
        batch.add_curve("a", "loss", writer, 0, points, summarize(points))
    store.write(batch)
    curve = load_all_curves(store, "a")["loss"]
    assert curve.steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert curve.values.tolist() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_output_is_loaded_in_order(store):
    batch = add_run_with_curves(RecordBatch())
    batch.add_output("a", "a writer", 0, "stderr", 20.0, "third")
    batch.add_output("a", "w", 1, "stdout", 10.0, "second")
    batch.add_output("a", "w", 0, "stdout", 10.0, "first")
    store.write(batch)
    assert load_output(store, "a") == [("stdout", "first"), ("stdout", "second"), ("stderr", "third")]


def test_records_in_an_unknown_form_are_named_and_the_others_are_read(store):
    batch = add_run_with_curves(RecordBatch(), loss=[3.0])
    for name, value in {"peak_memory": "much", "process": [1], "source": 3, "exit_status": 1, "note:deep": {}}.items():
        batch.add_metadata("a", name, value)
    store.write(batch)
    with store.writing() as connection:
        damaged = {"note:deep": "[" * 100_000, "seeds": "{", "environment": '"nosuch"'}
        for name, value in damaged.items():
            connection.execute(delete(run_metadata).where(run_metadata.c.name == name))
            connection.execute(insert(run_metadata).values(run="a", name=name, value=value))
    details = run_details(store, "a")
    assert details.exit_status == 1
    assert set(details.unreadable) >= {"peak_memory", "process", "seeds", "note:deep"}
    assert details.metrics["loss"].last == 3.0


def test_files_that_runs_wrote_have_the_newest_hash_and_damaged_records_do_not_count(filled_store):
    output = {"path": "/a.json", "hash": "1"}
    batch = RecordBatch()
    batch.add_metadata("aa1", "outputs", [output, {"path": "/b.json", "hash": "1"}])
    batch.add_metadata("aa2", "outputs", [output | {"hash": "2"}])
    batch.add_metadata("bb1", "outputs", [{"path": "/c.json"}])
    filled_store.write(batch)
    filled_store.write({"metadata": [{"run": "bb1-0", "name": "outputs", "value": "{"}]})
    assert written_files(filled_store.url) == {"/a.json": "2", "/b.json": "1"}
