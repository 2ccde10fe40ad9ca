"""Tests of the fields that columns can show."""

from __future__ import annotations

from contextlib import closing

from rosenblatt.dashboard.field_index import FieldIndex
from rosenblatt.dashboard.fields import FieldInfo, FieldsQuery, load_fields
from rosenblatt.dashboard.runs import RunsQuery, load_window
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track


def test_fields_say_how_many_runs_have_them_and_whether_they_differ(store: Store):
    assert load_fields(store, FieldsQuery(), FieldIndex(store)).fields == [
        FieldInfo(name="params.activation", kind="params", runs=300, differs=True),
        FieldInfo(name="params.optimizer", kind="params", runs=300, differs=False),
        FieldInfo(name="metrics.auc", kind="metrics", runs=300, differs=True),
        FieldInfo(name="tags.team", kind="tags", runs=1, differs=True),
    ]


def test_only_runs_that_match_the_filter_count(store: Store):
    fields = load_fields(store, FieldsQuery(where="params.activation = 'relu'"), FieldIndex(store))
    assert fields.total == 150
    assert not fields.fields[0].differs


def test_a_metric_that_is_nan_in_some_runs_only_differs(store: Store):
    fields = {
        field.name: field
        for field in load_fields(store, FieldsQuery(where="name in ('run-298', 'run-299')"), FieldIndex(store)).fields
    }
    assert fields["metrics.auc"].differs


def test_a_window_shows_each_field_by_the_name_that_fields_give(tmp_path):
    names = ["cpu percent", "a,b", "loss.best", "x`y", 'x"y', "and", "é", "1", "a = 1"]
    with track("odd names", store=str(tmp_path)) as run:
        run.log({name: number for number, name in enumerate(names)} | {'x`y"z': 1.0})
    with closing(Store(f"sqlite:///{tmp_path / 'runs.db'}")) as store:
        fields = load_fields(store, FieldsQuery(), FieldIndex(store))
        columns = [field.name for field in fields.fields if field.kind == "metrics" and "system/" not in field.name]
        window = load_window(store, RunsQuery(columns=",".join(columns)))
    assert fields.hidden == 1
    assert sorted(window.columns[column][0] for column in columns) == list(range(len(names)))
