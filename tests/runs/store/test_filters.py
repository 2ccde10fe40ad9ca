from __future__ import annotations

import pytest

from rosenblatt.errors import FilterError, RunError
from rosenblatt.runs.store.queries import find_runs
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from tests.runs.conftest import STORE_KINDS, add_run_with_curves, empty_store_url


@pytest.fixture(scope="module", params=STORE_KINDS)
def filled_store(request, tmp_path_factory):
    """A store of each kind, which these tests only read."""
    store = Store(empty_store_url(request, tmp_path_factory.mktemp("filters")))
    batch = RecordBatch()
    for i, (activation, auc) in enumerate([("relu", 0.8), ("gelu", 0.95), ("relu", 0.92)]):
        run = f"r{i}"
        add_run_with_curves(
            batch, run, "first" if i < 2 else "second", **{"auc": [0.99, auc], "val/loss": [0.5, float(i)]}
        )
        batch.add_params(run, {"activation": activation, "lr": 0.1 * i, "sizes": (64, 32), "deep": i == 1})
        batch.add_tag(run, "who", "ana" if i else "bo's")
        batch.add_tag(run, "build", str(1234567 + i))
        batch.update_run(run, state="finished", ended=2_000_000_000.0)
    add_run_with_curves(batch, "r3", "second", broken=[float("nan")])
    store.write(batch)
    yield store
    store.close()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("params.activation = 'relu' and metrics.auc > 0.9", "2"),
        ("params.activation = relu", "02"),
        ('params.activation == "relu" AND NOT metrics.auc > 0.9', "0"),
        ("params.activation != relu", "1"),
        ("metrics.auc.best > 0.98 and metrics.auc.min < 0.9", "0"),
        ("metrics.auc.step >= 1", "012"),
        ("metrics.val/loss = 2", "2"),
        ("metrics.`val/loss`.max >= 1", "12"),
        ('metrics."val/loss" < 1', "0"),
        ("metrics.broken = nan", "3"),
        ("metrics.auc != nan", "012"),
        ("metrics.auc is null", "3"),
        ("params.lr is not null and params.lr in (0.1, 7)", "1"),
        ("params.lr not in (0, 0.1)", "2"),
        ("params.activation like '%el%'", "012"),
        ("params.activation not like 're%'", "1"),
        ("params.sizes = '64, 32'", "012"),
        ("params.deep = true", "1"),
        ("tags.who = 'bo''s'", "0"),
        ("experiment = second or id = r0", "023"),
        ("tags.build = 1234568", "1"),
        ("params.activation like 'RE%'", "02"),
        ("params.activation not ilike 'RE%'", "1"),
        ("started > 2020", "0123"),
        ("started < 2020", ""),
        ("number = 3", ""),
        ("(experiment = second or id = r0) and state = finished", "02"),
        ("state = running", "3"),
        ("started > 2020-01-01", "0123"),
        ("started < '2020-01-01 10:00'", ""),
        ("duration > 1e3", "012"),
        ("kind = track and parent is null", "0123"),
    ],
)
def test_a_filter_selects_runs(filled_store, where, expected):
    assert sorted(run.id for run in find_runs(filled_store, where)) == [f"r{i}" for i in expected]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("-metrics.auc", "120"),
        ("metrics.auc", "021"),
        ("metrics.val/loss.min", "012"),
        ("-params.lr", "210"),
        ("id", "012"),
    ],
)
def test_runs_without_a_value_are_sorted_last(filled_store, sort, expected):
    assert [run.id for run in find_runs(filled_store, sort=sort)] == [f"r{i}" for i in f"{expected}3"]


@pytest.mark.parametrize(
    ("where", "message", "position"),
    [
        ("params.activation = and 3", "Expected a number or a text in quotes, but got 'and'", 20),
        ("metrics.auc >", "but the filter ends", 13),
        ("(metrics.auc > 3", r"Expected '\)'", 16),
        ("metrics.auc > 3 foo", "Expected 'and', 'or' or the end, but got 'foo'", 16),
        ("metrics.auc ! 3", "but got '!'", 12),
        ("metrics.auc > high", "Expected a number, but got 'high'", 14),
        ("colour = 3", "Expected a field", 0),
        ("'a' = 3", "Expected a field such as", 0),
        ("params.lr like 3", "Expected a pattern in quotes", 15),
        ("metrics.auc like '%a%'", "'like' compares text, but got 'like'", 12),
        ("started not like '2%'", "'like' compares text", 12),
        ("params.lr is 3", "null or not null", 13),
        ("started > soon", "Expected a time such as", 10),
        ("params.x not = 3", "Expected an operator", 13),
        ("", "Expected a field", 0),
        ("number = abc", "Expected a number, but got 'abc'", 9),
    ],
)
def test_an_error_in_a_filter_marks_its_position(where, message, position):
    from rosenblatt.runs.store.filters import parse_filter

    with pytest.raises(FilterError, match=message) as error:
        parse_filter(where)
    assert str(error.value).splitlines()[-1].index("^") == position + 2


def test_a_similar_attribute_is_suggested(filled_store):
    with pytest.raises(FilterError, match="Did you mean 'state'"):
        find_runs(filled_store, "sttate = running")


def test_a_metric_that_no_run_has_is_an_error(filled_store):
    with pytest.raises(RunError, match=r"No run has a metric 'acu'\. Did you mean 'auc'"):
        find_runs(filled_store, "metrics.acu > 0.5")
    assert find_runs(filled_store, "metrics.auc > 2") == []


def test_text_after_a_field_to_sort_by_is_an_error(filled_store):
    with pytest.raises(FilterError, match="got 'desc'"):
        find_runs(filled_store, sort="metrics.auc desc")
