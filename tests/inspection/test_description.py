"""Tables, tasks and models in words and as plain data."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import polars as pl
import pytest

from rosenblatt.data.schema.columns import Column, Note, Schema
from rosenblatt.data.table import Table, TableFormat
from rosenblatt.data.tasks.task import detect_task
from rosenblatt.inspection.description import describe_model, describe_table, summarize_columns, summarize_task
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit

QUICK = {"epochs": 2, "hidden_sizes": (4,), "folds": 2, "members": 2, "bins": 4}


@pytest.fixture
def model(people):
    """A model of 300 people, two networks of 4 hidden units."""
    return fit(Table(people, "people.csv"), ("rich",), Spec.from_hyperparameters(**QUICK), notify=lambda _: None).model


def make_task(values, task=None, name="y"):
    return detect_task(pl.DataFrame({name: values}), [name], task)


def test_columns_are_counted_by_kind_and_notes_are_kept():
    kinds = ["number", "number", "category", "category", "date"]
    columns = [Column(name=str(k), kind=kind) for k, kind in enumerate(kinds)]
    notes = Note(text="holds no values"), Note(text="read as missing", detail="'x' in 2 cells")
    columns += [Column(name="weight", kind="empty", notes=notes), Column(name="size", kind="empty", notes=notes[:1])]
    first, *notes = summarize_columns(Schema(columns=tuple(columns)))
    assert first == "columns: 2 numbers, 2 categories, 1 date used; 2 empty left out"
    assert notes == ["  holds no values: weight, size", "  read as missing: weight ('x' in 2 cells)"]


def test_a_classification_is_summarized_by_the_shares_of_its_classes():
    assert summarize_task(make_task(["no"] * 3 + ["yes"])) == "two classes of 'y' (no 75.0%, yes 25.0%)"
    rows = [f"c{k}" for k in range(8) for _ in range(k + 1)]  # 36 rows, of c7 eight
    summary = summarize_task(make_task(rows))
    assert summary.startswith("8 classes of 'y' (c7 22.2%, c6 19.4%, ")
    assert summary.endswith("c2 8.3% and 2 more)")


def test_shares_are_those_of_the_rows_that_have_a_class():
    assert "(b 66.7%, a 33.3%)" in summarize_task(make_task(["a", "b", None, "b", None]))


def test_tags_are_summarized_over_all_steps():
    summary = summarize_task(make_task(["N V N", "N", "V"], "tagging"))
    assert summary == "2 classes for each step of 'y' (N 60.0%, V 40.0%)"


def test_several_labels_are_summarized_by_how_often_each_holds():
    frame = pl.DataFrame({"a": [0, 1, 1, 1], "b": [0, 0, 0, 1]})
    assert summarize_task(detect_task(frame, ["a", "b"])) == "2 labels at once (a 75.0%, b 25.0%)"


def test_a_regression_is_summarized_by_range_and_mean():
    summary = summarize_task(make_task([-1.5, 0.25, None, 10.0]))
    assert summary.startswith("regression of 'y' (")
    assert summary.endswith("from -1.5 to 10, mean 2.917)")
    frame = pl.DataFrame({"a": [0.5, 1.5, 2.25], "b": [-2.5, -1.5, -0.25]})
    assert summarize_task(detect_task(frame, ["a", "b"])).endswith(
        "from 0.5 to 2.25, mean 1.417; from -2.5 to -0.25, mean -1.417)"
    )


def test_a_table_is_described_column_by_column_as_plain_data():
    frame = pl.DataFrame(
        {"age": [30.0, None, 30.0, 41.5], "city": ["Oslo", " Rome", None, "Oslo"], "image": [b"12", None, b"345", b""]}
    )
    description = describe_table(
        Table(frame.with_columns(rich=pl.Series(["y", "n", "y", "n"])), "people.csv", ("read as UTF-8",))
    )
    assert (description["source"], description["rows"], description["notes"]) == ("people.csv", 4, ["read as UTF-8"])
    age, city, image, rich = description["columns"]
    assert (age["kind"], age["missing"], age["distinct"], age["examples"]) == ("number", 1, 2, ["30.0", "41.5"])
    assert (city["name"], city["missing"], city["examples"]) == ("city", 1, ["Oslo", "Rome"])
    assert (image["kind"], image["examples"]) == ("nested", ["2 bytes", "3 bytes", "0 bytes"])
    assert rich["missing"] == 0
    assert description["likely_task"].startswith("two classes of 'rich' (n 50.0%, y 50.0%)")
    assert json.loads(json.dumps(description)) == description


def test_a_last_column_that_cannot_be_a_target_is_reported_with_the_reason():
    description = describe_table(Table(pl.DataFrame({"a": [1.0, 2.0], "same": ["x", "x"]}), "t.csv"))
    assert description["likely_task"].startswith("unknown. The target 'same' holds one value only")


def test_a_model_is_described_by_its_networks_columns_and_hyperparameters(model):
    description = describe_model(model, "people.rosenblatt")
    assert (description["model"], description["task"], description["target"]) == (
        "people.rosenblatt",
        "binary",
        ["rich"],
    )
    assert (description["classes"], description["networks"], description["kind"]) == (["no", "yes"], 2, "mlp")
    assert description["parameters"] == sum(network.theta.size for network in model.networks)
    assert description["sizes"][0] == description["inputs"]
    assert description["sizes"][1:-1] == [4]
    assert [column["name"] for column in description["columns"]] == ["age", "city", "noise"]
    assert description["epochs"] == [2, 2]
    assert description["hyperparameters"]["hidden_sizes"]["value"] == [4]
    batch = description["hyperparameters"]["batch_size"]
    assert (batch["requested"], isinstance(batch["value"], int)) == ("auto", True)
    assert "channels" not in description["hyperparameters"]  # of convolutional networks
    assert set(description["scores"]["accuracy"]) == {"model", "baseline", "interval"}
    json.dumps(description)


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([dt.timedelta(hours=k) for k in range(4)]),
        pl.Series([[1.0, 2.0]] * 4, dtype=pl.Array(pl.Float64, 2)),
        pl.Series([[["a"], ["b"]]] * 4),
        pl.Series([{"a": [k]} for k in range(4)]),
        pl.Series([{}] * 4, dtype=pl.Struct([])),
        pl.Series([b"x", None, b"y", b"z"]),
        pl.Series([object()] * 4, dtype=pl.Object),
        pl.Series([None] * 4, dtype=pl.Null),
        pl.Series([2**63 + k for k in range(4)], dtype=pl.UInt64),
        pl.Series([Decimal(k) / 4 for k in range(4)]),
        pl.Series([dt.time(k) for k in range(4)]),
        pl.Series(["a", "b"] * 2, dtype=pl.Categorical),
        pl.Series([float("nan")] * 4),
        pl.Series([], dtype=pl.String),
    ],
    ids=lambda values: str(values.dtype),
)
def test_a_column_of_any_type_can_be_described_first_and_last(values):
    others = pl.Series([1.0, 2.0, 3.0, 2.0][: len(values)])
    for frame in (pl.DataFrame({"a": others, "b": values}), pl.DataFrame({"a": values, "b": others})):
        description = describe_table(Table(frame, "t.parquet", format=TableFormat(is_typed=True)))
        assert len(description["columns"]) == 2
        json.dumps(description)


def test_what_is_missing_in_an_input_but_a_class_of_the_target_is_said():
    frame = pl.DataFrame({"x": [float(k) for k in range(60)], "y": ["yes", "no", "NA"] * 20})
    description = describe_table(Table(frame, "t.csv"))
    assert "read as missing" in description["columns"][-1]["note"]
    assert "NA 33.3%" in description["likely_task"]
    assert "use --missing NA if it means missing" in description["likely_task"]
