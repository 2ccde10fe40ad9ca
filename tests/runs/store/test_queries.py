"""Queries give runs, their curves and everything known of them as plain data, over both databases."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from rosenblatt.errors import FilterError, RunError
from rosenblatt.runs.store.curves import summary
from rosenblatt.runs.store.queries import (
    all_curves,
    artifacts_of,
    changed_files,
    curves,
    details,
    facts_of,
    find_runs,
    finished_run,
    output_of,
    params_of,
    run_named,
    summaries,
    trials_of,
)
from rosenblatt.runs.store.records import Batch
from rosenblatt.runs.tracking.writer import points_of
from tests.runs.conftest import a_run


def begin(batch, run, started, **more):
    batch.begin(
        run, more.pop("experiment", "e"), more.pop("name", ""), more.pop("kind", "fit"), started=started, **more
    )


@pytest.fixture
def three(store):
    """Two fits and a search with two trials, begun one after the other."""
    batch = Batch()
    begin(batch, "aa1", 100.0, name="first", state="finished", ended=110.0)
    begin(batch, "aa2", 200.0, name="second", state="failed", reason="no data", ended=203.0)
    begin(batch, "bb1", 300.0, name="search", kind="search", state="finished", ended=350.0)
    for number in range(2):
        begin(batch, f"bb1-{number}", 301.0, kind="trial", state="finished", ended=310.0, parent="bb1", number=number)
    batch.params("aa1", {"dropout": 0.1, "sizes": (8, 4)}, {"dropout": True})
    batch.params("aa2", {"dropout": 0.25})
    batch.tag("aa1", "team", "red")
    store.write(batch)
    return store


def ids(found):
    return [run["id"] for run in found]


def test_runs_are_sorted_by_any_field_newest_first_by_default(three):
    assert ids(find_runs(three, trials=False)) == ["bb1", "aa2", "aa1"]
    assert ids(find_runs(three, sort="started", trials=False)) == ["aa1", "aa2", "bb1"]
    assert ids(find_runs(three, sort="-duration", trials=False)) == ["bb1", "aa1", "aa2"]
    assert ids(find_runs(three, sort="-params.dropout", trials=False)) == ["aa2", "aa1", "bb1"]  # without one last
    assert ids(find_runs(three, limit=1, trials=False)) == ["bb1"]


def test_a_filter_selects_runs_and_adds_its_fields_to_them(three):
    (run,) = find_runs(three, "params.dropout > 0.2 and state = failed")
    assert (run["id"], run["reason"], run["params.dropout"]) == ("aa2", "no data", "0.25")
    assert ids(find_runs(three, "tags.team = red")) == ["aa1"]
    with pytest.raises(FilterError, match="the filter ends"):
        find_runs(three, "params.dropout >")


def test_trials_are_those_of_their_search(three):
    assert ids(find_runs(three, of="bb1", sort="number")) == ["bb1-0", "bb1-1"]
    assert trials_of(three, ["aa1", "bb1"]) == {"bb1": 2}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("params.droput > 1", "No run has a hyperparameter 'droput'. Did you mean 'dropout'?"),
        ("tags.taem = red", "No run has a tag 'taem'. Did you mean 'team'?"),
    ],
)
def test_a_field_that_no_run_has_is_an_error_with_the_nearest_name(three, where, message):
    with pytest.raises(RunError) as error:
        find_runs(three, where)
    assert message in str(error.value)


def test_a_run_is_found_by_its_id_a_prefix_its_name_or_as_the_last(three):
    assert run_named(three, "aa1") == "aa1"
    assert run_named(three, "bb1") == "bb1"  # although the ids of its trials begin so too
    assert run_named(three, "second") == "aa2"
    assert run_named(three, "last") == "bb1"
    assert run_named(three, "bb1-1") == "bb1-1"


def test_a_word_that_is_no_run_or_several_is_an_error_that_names_the_runs(three, store):
    with pytest.raises(RunError, match=r"There is no run 'aa3'\. Did you mean 'aa[12]'\?"):
        run_named(three, "aa3")
    with pytest.raises(RunError, match="'aa' is not one run: aa1, aa2 fit"):
        run_named(three, "aa")
    with pytest.raises(RunError, match="There is no run '%'"):  # no wildcard of the database
        run_named(three, "%")
    store.delete(["aa1", "aa2", "bb1"])
    with pytest.raises(RunError, match="There are no runs yet"):
        run_named(store, "last")


def test_the_best_of_a_metric_is_its_minimum_for_losses_and_its_maximum_for_scores(store):
    store.write(a_run(Batch(), loss=[3.0, 1.0, 2.0], accuracy=[0.5, 0.9, 0.7], broken=[math.nan, math.nan]))
    found = summaries(store, ["a", "unknown"])
    assert found["unknown"] == {}
    loss, accuracy, broken = (found["a"][name] for name in ("loss", "accuracy", "broken"))
    assert (loss["best"], loss["best_step"], loss["last"], loss["max"]) == (1.0, 1, 2.0, 3.0)
    assert (accuracy["best"], accuracy["best_step"], accuracy["min"]) == (0.9, 1, 0.5)
    assert (broken["best"], broken["last"], broken["min"]) == (None, None, None)


def test_details_hold_everything_that_was_recorded_of_a_run(three):
    batch = Batch()
    digest = batch.document({"python": "3.12", "packages": {"numpy": "2.2"}})
    batch.fact("aa1", "environment", digest)
    batch.fact("aa1", "folder", "/somewhere")
    batch.fact("aa1", "note:why", "a baseline")
    batch.artifact("aa1", "model", "model", "0" * 64, 17, "/artifacts")
    three.write(batch)
    known = details(three, "aa1")
    assert known["environment"]["packages"] == {"numpy": "2.2"}
    assert (known["folder"], known["notes"], known["tags"]) == ("/somewhere", {"why": "a baseline"}, {"team": "red"})
    assert known["params"] == {
        "dropout": {"value": "0.1", "chosen": True},
        "sizes": {"value": "8, 4", "chosen": False},
    }
    assert params_of(three, ["aa1"]) == {"aa1": {"dropout": "0.1", "sizes": "8, 4"}}
    assert known["artifacts"] == artifacts_of(three, "aa1")
    assert known["artifacts"]["model"]["bytes"] == 17
    assert (known["state"], known["started"], known["trials"]) == ("finished", 100.0, 0)
    assert "note:why" in facts_of(three, "aa1")


def test_curves_of_a_thousand_runs_are_complete_or_thinned_with_their_extremes(store):
    values = np.sin(np.arange(5000) / 300.0)
    values[1234], values[4321], values[2500] = 7.0, -7.0, math.nan
    batch = a_run(Batch(), "long", loss=values.tolist())
    for number in range(1100):
        a_run(batch, f"r{number}", loss=[float(number)])
    store.write(batch)
    runs = ["long", *(f"r{number}" for number in range(1100))]
    whole, drawn = curves(store, runs, "loss", None), curves(store, runs, "loss", 100)
    assert len(whole) == len(drawn) == 1101
    np.testing.assert_array_equal(whole["long"].values, values)
    assert whole["r1099"].values.tolist() == [1099.0]
    thin = drawn["long"]
    assert len(thin.values) < 300
    assert (np.nanmax(thin.values), np.nanmin(thin.values), np.isnan(thin.values).sum()) == (7.0, -7.0, 1)
    assert thin.steps[[0, -1]].tolist() == [0, 4999]
    assert curves(store, runs, "accuracy") == {}


def test_chunks_of_two_writers_are_one_curve_sorted_by_step(store):
    batch = a_run(Batch())
    for writer, steps in (("w1", [0, 2, 4]), ("w0", [1, 3, 5])):
        points = points_of(steps, [0.0] * 3, [step / 10 for step in steps])
        batch.curve("a", "loss", writer, 0, points, summary(points))
    store.write(batch)
    found = all_curves(store, "a")["loss"]
    assert found.steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.values.tolist() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_output_is_given_in_the_order_in_which_it_was_printed(store):
    batch = a_run(Batch())
    batch.output("a", "a writer", 0, "stderr", 20.0, "third")
    batch.output("a", "w", 1, "stdout", 10.0, "second")
    batch.output("a", "w", 0, "stdout", 10.0, "first")
    store.write(batch)
    assert output_of(store, "a") == [("stdout", "first"), ("stdout", "second"), ("stderr", "third")]


def test_a_finished_run_counts_as_the_same_only_while_its_files_are_unchanged(store, url, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("a,b\n1,2\n")
    batch = Batch()
    read = [{"path": str(data), "name": "data.csv", "hash": hashlib.sha256(data.read_bytes()).hexdigest()}]
    for run, started, state in (("old", 1.0, "finished"), ("new", 2.0, "finished"), ("newest", 3.0, "failed")):
        begin(batch, run, started, state=state, ended=started, identity="same")
        batch.fact(run, "data_read", read)
    store.write(batch)
    assert finished_run(url, "same") == "new"
    assert finished_run(url, "another") is None
    data.write_text("a,b\n1,3\n")
    assert changed_files(facts_of(store, "new")) == [str(data)]
    assert finished_run(url, "same") is None
    data.unlink()
    assert changed_files(facts_of(store, "new")) == [str(data)]
