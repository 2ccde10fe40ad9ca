"""Predictions as columns of a table: what `rosenblatt predict` writes and `rosenblatt serve` answers."""

from __future__ import annotations

import numpy as np
import polars as pl

from rosenblatt.data.schema.types import make_values
from rosenblatt.data.tasks.tagging import step_counts
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.model import Model

MAX_LISTED_ROWS = 256  # rows up to which Python looks up labels


def make_prediction_columns(model: Model, rows: pl.DataFrame | None, raw_predictions: np.ndarray) -> pl.DataFrame:
    """The predictions in the types of the target columns, and the probability of each class or label.

    Args:
        model: the model; not one of forecasts or language.
        rows: the rows, as `Schema.read` returns them; only the number of their steps is used, for tags.
        raw_predictions: as `Model.predict_raw` returns them.
    """
    target = model.target
    if target.is_per_step and rows is not None:
        lengths = step_counts(rows, model.resolved_spec.data.tokens)
        tags = [" ".join(map(str, row[:n])) for row, n in zip(model.label(raw_predictions), lengths, strict=True)]
        return pl.DataFrame({target.names[0]: pl.Series(tags, dtype=pl.String)})
    predictions = target.to_predictions(raw_predictions)
    types, by_target = model.metadata.target_types, predictions.T if predictions.ndim == 2 else predictions[None]
    classes = [target.labels] if target.labels else target.label_pairs
    columns = [pl.Series(name, values) for name, values in zip(target.names, by_target, strict=True)]
    if classes:
        columns = [
            _gather(make_values(column.name, labels, types.get(column.name)), column)
            for column, labels in zip(columns, classes, strict=True)
        ]
    columns += [pl.Series(name, raw_predictions[:, k]) for k, name in enumerate(probability_names(target))]
    return pl.DataFrame(columns)


def _gather(labels: pl.Series, indices: pl.Series) -> pl.Series:
    """The labels at indices; Polars starts threads for this, which takes longer than a few rows."""
    if len(indices) > MAX_LISTED_ROWS or labels.dtype.is_temporal():  # Python has no nanoseconds
        return labels.gather(indices)
    cells = labels.to_list()
    return pl.Series(labels.name, [cells[i] for i in indices.to_list()], labels.dtype)


def probability_names(target: Target) -> list[str]:
    """The names of the columns that follow the predictions: of the probabilities, or weighted sums, of each class."""
    if target.task == "regression":
        return []
    output_name = "probability" if target.output_type == "probabilities" else "weighted sum"
    return [f"{output_name} of {name}" for name in target.labels or target.names]
