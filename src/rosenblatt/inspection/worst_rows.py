"""The test rows with the largest errors, beside the values of the most important columns."""

from __future__ import annotations

import base64
from contextlib import suppress
from io import BytesIO

import numpy as np
import polars as pl
from PIL import Image

from rosenblatt.data.media.images import DamagedError, read_image
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import format_count
from rosenblatt.inspection.tables import ReportTable, Thumbnail, format_difference, format_value, shorten

MAX_WORST_ROWS = 10
MAX_NUMBER_CHARACTERS = 9  # longer numbers are rounded
THUMBNAIL_SIDE = 72  # pixels

Cell = str | Thumbnail


def worst_rows(target: Target, y: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Indices of the rows with the largest errors, the largest first.

    Classes: misclassified rows, by the probability (or weighted sum) of the predicted class minus that of the true one.
    Labels: rows with a wrong label, by the mean difference between truth and probability. Values: by the absolute
    error; of several targets, by the mean of these errors relative to the standard deviation of each target.
    """
    if target.task == "regression":
        error = _relative_errors(y, predictions).mean(axis=1)
        is_wrong = error > 0
    elif target.task == "multilabel":
        error = np.abs(y - predictions).mean(axis=1)
        is_wrong = (target.to_predictions(predictions) != y).any(axis=1)
    else:
        error = predictions.max(axis=1) - predictions[np.arange(len(y)), y.astype(int)]
        is_wrong = target.to_predictions(predictions) != y
    order = np.argsort(-error, kind="stable")
    return order[is_wrong[order]][:MAX_WORST_ROWS]


def worst_rows_table(
    target: Target,
    y: np.ndarray,
    predictions: np.ndarray,
    inputs: pl.DataFrame,
    row_numbers: np.ndarray | None,
    schema: Schema,
) -> ReportTable | None:
    """The worst rows as a table for a report, beside the columns of `inputs`; None if no row is wrong.

    `row_numbers` (n,) are those of the rows in their table, from 1, or None if they are not known.
    """
    indices = worst_rows(target, y, predictions)
    if not len(indices):
        return None
    describe = {"regression": _describe_values, "multilabel": _describe_labels}.get(target.task, _describe_classes)
    columns: dict[str, list[Cell]] = {}
    if row_numbers is not None:
        columns["row"] = [f"{number:,}" for number in row_numbers[indices]]
    columns |= describe(target, y, predictions, indices)
    is_numeric = [
        name != "target" and (target.task == "regression" or name not in ("true", "predicted")) for name in columns
    ]
    caption = "The rows that were predicted wrongly with the most confidence."
    if target.task == "regression":
        caption = "The rows with the largest errors (predicted minus true)."
    if row_numbers is not None:
        caption += " Rows are counted from 1, as by explain --row."
    kinds = {column.name: column.kind for column in schema.columns}
    cells = [_cells(schema, inputs[indices.tolist()][name]) for name in inputs.columns]
    return ReportTable(
        "Largest errors",
        caption,
        (*columns, *inputs.columns),
        (*is_numeric, *(kinds.get(name) == "number" or inputs[name].dtype.is_numeric() for name in inputs.columns)),
        tuple(zip(*columns.values(), *cells, strict=True)),
    )


def _relative_errors(y: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """(n, K) absolute errors, of several targets each relative to its standard deviation."""
    spread = y.std(axis=0)
    return np.abs(y - predictions) / np.where((spread > 0) & (y.shape[1] > 1), spread, 1)


def _describe_values(
    target: Target, y: np.ndarray, predictions: np.ndarray, indices: np.ndarray
) -> dict[str, list[Cell]]:
    """Truth and prediction of the target with the largest error in each row."""
    worst = _relative_errors(y, predictions)[indices].argmax(axis=1)
    true, predicted = y[indices, worst], predictions[indices, worst]
    columns: dict[str, list[Cell]] = {} if len(target.names) == 1 else {"target": [target.names[k] for k in worst]}
    return columns | {
        "true": [format_value(value, 4) for value in true],
        "predicted": [format_value(value, 4) for value in predicted],
        "error": [format_difference(error) for error in predicted - true],
    }


def _describe_classes(
    target: Target, y: np.ndarray, predictions: np.ndarray, indices: np.ndarray
) -> dict[str, list[Cell]]:
    y, predictions = y[indices].astype(int), predictions[indices]
    predicted, rows = predictions.argmax(axis=1), np.arange(len(indices))
    output = "probability" if target.output_type == "probabilities" else "weighted sum"
    return {
        "true": [str(target.labels[k]) for k in y],
        "predicted": [str(target.labels[k]) for k in predicted],
        f"{output} of the predicted class": [format_value(value) for value in predictions[rows, predicted]],
        f"{output} of the true class": [format_value(value) for value in predictions[rows, y]],
    }


def _describe_labels(
    target: Target, y: np.ndarray, predictions: np.ndarray, indices: np.ndarray
) -> dict[str, list[Cell]]:
    def names(holds: np.ndarray) -> str:
        return ", ".join(name for name, value in zip(target.names, holds, strict=True) if value) or "none"

    return {
        "true": [names(row) for row in y[indices]],
        "predicted": [names(row) for row in target.to_predictions(predictions[indices])],
    }


def _cells(schema: Schema, series: pl.Series) -> list[Cell]:
    """The values of a column as read: text that is cut to a line, and images as thumbnails if they can be read."""
    kind = next((column.kind for column in schema.columns if column.name == series.name), "")
    if kind == "image":
        column = next(column for column in schema.columns if column.name == series.name)
        images = column.read(series)[0].struct.field("image").to_list()
        return [_thumbnail(image) or (shorten(image) if isinstance(image, str) else "") for image in images]
    if series.dtype.is_nested():
        return [format_count(len(value), "step") if isinstance(value, list) else "" for value in series.to_list()]
    return ["" if value is None else _format_cell(str(value), kind) for value in series.to_list()]


def _format_cell(text: str, kind: str) -> str:
    """The text of a cell as read; a number with more than six significant digits is rounded to six."""
    if kind == "number" and len(text) > MAX_NUMBER_CHARACTERS:
        with suppress(ValueError):
            return f"{float(text):.6g}"
    return shorten(text)


def _thumbnail(image: str | bytes) -> Thumbnail | None:
    """A small PNG of an image of 8 bits; None for others and for those that cannot be read."""
    with suppress(DamagedError):
        pixels = read_image(image)
        if pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
            picture = Image.fromarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels)
            picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            buffer = BytesIO()
            picture.save(buffer, format="png")
            data_uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
            return Thumbnail(data_uri, shorten(image) if isinstance(image, str) else "")
    return None
