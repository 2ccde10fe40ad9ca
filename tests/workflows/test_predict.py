import datetime as dt

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.table import Table, TableFormat
from rosenblatt.errors import TableError
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit
from rosenblatt.workflows.predict import evaluate, forecast, predict
from rosenblatt.workflows.recorded_results import prediction_table

FAST = Spec.from_hyperparameters(members=2, epochs=10, hidden_sizes=(16,), bins=8)


@pytest.fixture
def result(people):
    return fit(Table(people, "people.csv"), ["rich"], FAST, notify=lambda _: None)


def predict_row(model, age, city):
    messages = []
    row = pl.DataFrame({"age": [age], "city": [city], "noise": ["0"]})
    return predict(model, Table(row, "new.csv"), notify=messages.append), messages


def test_predictions_hold_the_class_and_the_probability_of_each(result, people):
    predictions = predict(result.model, Table(people.drop("rich"), "new.csv"))
    assert predictions.columns == ["rich", "probability of no", "probability of yes"]
    sums = predictions["probability of no"] + predictions["probability of yes"]
    np.testing.assert_allclose(sums, 1)


def test_predictions_next_to_inputs_get_new_names(result, people):
    first = predict(result.model, Table(people, "t"), with_inputs=True)
    assert first.columns[:5] == ["age", "city", "noise", "rich", "predicted rich"]
    second = predict(result.model, Table(first, "t"), with_inputs=True)
    assert "predicted predicted rich" in second.columns


def test_unseen_categories_and_missing_cells_can_be_predicted(result):
    new = pl.DataFrame({"age": ["?", "33"], "city": ["Atlantis", ""], "noise": ["0", None]})
    assert predict(result.model, Table(new, "new.csv")).height == 2


def test_unseen_categories_and_cells_read_as_missing_are_reported(result):
    _, messages = predict_row(result.model, "3", "Paris")
    assert "categories not seen in training: city ('Paris', 1 row)" in messages
    _, messages = predict_row(result.model, "abc", "Oslo")
    assert "cells read as missing (expected numbers): age (1 cell, such as 'abc')" in messages


def test_evaluation_repeats_the_scores_of_the_fit(result):
    scores, evaluation = evaluate(result.model, Table(result.test, "test.csv"), notify=lambda _: None)
    assert scores == result.scores == list(result.model.metadata.scores)
    np.testing.assert_array_equal(evaluation.predictions, result.predictions)


def test_only_forecasting_models_forecast(result, people):
    with pytest.raises(TableError, match="trained for binary, not for forecasting"):
        forecast(result.model, Table(people, "people.csv"))


@pytest.mark.parametrize("dtype", [pl.String, pl.Float64])
def test_a_table_without_rows_has_an_empty_table_of_predictions(result, people, dtype):
    empty = people.with_columns(pl.col("age", "noise").cast(dtype))[:0]
    predictions = predict(result.model, Table(empty, "new.csv"))
    assert predictions.schema == predict(result.model, Table(people, "t")).schema
    assert predictions.height == 0
    assert predict(result.model, Table(empty, "new.csv"), with_inputs=True).width == 7


@pytest.mark.parametrize(
    "classes",
    [
        pl.Series([dt.date(2024, 1, 31), dt.date(2024, 2, 1)]),
        pl.Series([False, True]),
        pl.Series([3, 250], dtype=pl.UInt8),
        pl.Series([3, 2**63 + 7], dtype=pl.UInt64),
        pl.Series(["low", "high"], dtype=pl.Enum(["low", "high"])),
        pl.Series([0.5, 0.75], dtype=pl.Float32),
    ],
    ids=lambda classes: str(classes.dtype),
)
def test_classes_of_a_typed_table_are_predicted_and_recorded_in_its_types(people, classes):
    table = Table(
        people.with_columns(rich=classes.gather((people["rich"] == "yes").cast(pl.Int8))),
        "people.parquet",
        format=TableFormat(is_typed=True),
    )
    result = fit(table, ["rich"], FAST, notify=lambda _: None)
    assert predict(result.model, table)["rich"].dtype == classes.dtype
    recorded = prediction_table(result, result.model.metadata.target_types)
    assert recorded["target"].dtype == classes.dtype
    assert recorded["target"].to_list() == table.frame["rich"].gather(recorded["row"] - 1).to_list()


def test_scores_need_rows(result, people):
    with pytest.raises(TableError, match=r"'new\.csv' has no rows"):
        evaluate(result.model, Table(people[:0], "new.csv"), lambda _: None)
