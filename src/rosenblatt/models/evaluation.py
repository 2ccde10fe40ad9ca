"""A fitted model with its test rows, predictions and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rosenblatt.data.tasks.forecasting import Windows
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.metrics import Score, forecast_scores, scores
from rosenblatt.models.model import Model


@dataclass(frozen=True)
class Fitted:
    """A model, and how good it is on rows it never saw."""

    model: Model
    scores: list[Score]  # empty where there were no test rows
    test: pl.DataFrame  # the test rows as read, with their target
    truth: np.ndarray  # the answers of the test rows, as `Question.y`
    decoded: np.ndarray  # what the model says of them, as `Model.decoded`
    sample: pl.DataFrame  # rows on which the written model is checked
    alone: Sequence[Score] = ()  # after a search: the same scores of its best trial alone


def _scores(
    target: Target,
    windows: Windows | None,
    frame: pl.DataFrame,
    truth: np.ndarray,
    decoded: np.ndarray,
    base: list[float],
) -> list[Score]:
    """The scores of rows; those of forecasts beside the last value of each window, which says that nothing changes."""
    if windows is None:
        return scores(target, truth, decoded, base)
    values, said = windows.in_units(frame, truth), windows.in_units(frame, decoded)
    return forecast_scores(values, said, windows.in_units(frame, np.zeros_like(truth)))
