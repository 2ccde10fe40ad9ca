"""Tests of windows of the grid."""

from __future__ import annotations

import pytest

from rosenblatt.dashboard.runs import RunsQuery, load_window
from rosenblatt.errors import FilterError
from rosenblatt.runs.store.store import Store


def test_a_window_has_the_cells_of_its_rows_as_columns(store: Store):
    query = RunsQuery(sort="started", descending=False, offset=2, limit=2, columns="name,params.activation,tags.team")
    window = load_window(store, query)
    assert (window.total, window.offset) == (300, 2)
    assert window.columns == {
        "name": ["run-2", "run-3"], "params.activation": ["relu", "tanh"], "tags.team": [None, "blue"],
    }  # fmt: skip


def test_rows_are_sorted_by_a_statistic_of_a_metric_of_all_runs(store: Store):
    window = load_window(store, RunsQuery(sort="metrics.auc.best", limit=2, columns="metrics.auc.best,name"))
    assert window.columns == {"metrics.auc.best": ["Infinity", 298 / 300 + 1], "name": ["run-299", "run-298"]}


def test_metrics_that_are_not_numbers_differ_from_missing_ones(store: Store):
    window = load_window(store, RunsQuery(where="name = 'run-299'", columns="metrics.auc,metrics.other"))
    assert window.columns == {"metrics.auc": ["NaN"], "metrics.other": [None]}


def test_filters_select_runs_and_trials_come_only_on_request(store: Store):
    assert load_window(store, RunsQuery(where="params.activation = 'relu'")).total == 150
    assert load_window(store, RunsQuery(trials=True)).total == 301


@pytest.mark.parametrize(
    "query",
    [
        {"where": "nonsense = 1"},
        {"columns": "nonsense"},
        {"sort": "-started"},
        {"columns": ",".join(f"params.{number}" for number in range(301))},
    ],
)
def test_queries_that_cannot_be_parsed_are_refused(store: Store, query: dict[str, str]):
    with pytest.raises(FilterError):
        load_window(store, RunsQuery.model_validate(query))
