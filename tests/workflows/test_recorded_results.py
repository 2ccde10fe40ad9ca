"""Results of a fit as they are recorded with its run."""

import numpy as np
import polars as pl

from rosenblatt.data.schema.types import CellType
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.evaluation import Evaluation
from rosenblatt.workflows.recorded_results import mean_curve, prediction_table
from tests.inspection.models import linear_model


def evaluation(target, y, predictions, **fields):
    frame = pl.DataFrame({"a": np.arange(len(y))})
    return Evaluation(
        linear_model([[1.0], [1.0]], target), [], frame, y, predictions, np.arange(len(y)), frame, **fields
    )


def test_predictions_of_classes_are_recorded_with_row_numbers_and_weights():
    target = Target(names=("y",), task="binary", labels=("no", "yes"))
    table = prediction_table(
        evaluation(
            target, np.array([0.0, 1]), np.array([[0.8, 0.2], [0.4, 0.6]]),
            row_numbers=np.array([4, 9]), weight=np.array([0.5, 2]),
        ),
        {},
    )  # fmt: skip
    assert table.to_dict(as_series=False) == {
        "row": [4, 9], "weight": [0.5, 2], "target": ["no", "yes"], "probability of no": [0.8, 0.4],
        "probability of yes": [0.2, 0.6],
    }  # fmt: skip


def test_predictions_of_values_are_recorded_without_row_numbers_that_are_not_known():
    target = Target.fit_regression(("u", "v"), np.arange(8.0).reshape(4, 2), "none")
    table = prediction_table(
        evaluation(target, np.array([[1.0, 2]]), np.array([[3.0, 4]])), {"u": CellType(name="Int8")}
    )
    assert table.to_dict(as_series=False) == {
        "target u": [1.0], "predicted u": [3.0], "target v": [2.0], "predicted v": [4.0],
    }  # fmt: skip


def test_curves_of_different_length_are_averaged_where_they_are_known():
    assert mean_curve([[1.0, 3.0], [3.0]]).tolist() == [2.0, 3.0]
