"""A fitted model with its test rows, predictions and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rosenblatt.data.tasks.forecasting import WindowTransform
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.metadata import TestScore
from rosenblatt.models.metrics import forecast_scores, scores
from rosenblatt.models.model import Model

MAX_CHECK_ROWS = (
    1000  # rows whose predictions must be the same, to the last bit, from the written file in a new process
)


@dataclass(frozen=True)
class FitResult:
    """A model, and how good it is on rows it never saw."""

    model: Model
    scores: list[TestScore]  # empty where there were no test rows
    test: pl.DataFrame  # the test rows as read, with their target
    y_test: np.ndarray  # the answers of the test rows, as `SupervisedTask.y`
    predictions: np.ndarray  # what the model says of them, as `Model.predict_raw`
    check_rows: pl.DataFrame  # rows on which the written model is checked
    best_trial_scores: Sequence[TestScore] = ()  # after a search: the same scores of its best trial alone
    row_numbers: np.ndarray | None = None  # (n,) of the test rows in their table, counted from 1; None if not known
    is_held_out: bool = False  # whether the test rows were held out from training, or are a test table of their own


def compute_scores(
    target: Target,
    windows: WindowTransform | None,
    frame: pl.DataFrame,
    y_test: np.ndarray,
    predictions: np.ndarray,
    baseline_prediction: list[float],
) -> list[TestScore]:
    """The scores of rows; those of forecasts beside the last value of each window, which says that nothing changes."""
    if windows is None:
        return scores(target, y_test, predictions, baseline_prediction)
    y_true, y_pred = windows.inverse_transform(frame, y_test), windows.inverse_transform(frame, predictions)
    return forecast_scores(y_true, y_pred, windows.inverse_transform(frame, np.zeros_like(y_test)))
