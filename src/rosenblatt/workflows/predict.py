"""Predict with a fitted model, and evaluate it, on tables, time series and texts."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import polars as pl

from rosenblatt.data.encoding.media_encodings import TextEncoding
from rosenblatt.data.media.images import DamagedPolicy
from rosenblatt.data.schema.types import to_typed_columns
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.tagging import token_unit_for_tags
from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import adapt_to_table
from rosenblatt.errors import Notify, TableError, collect_messages, format_list
from rosenblatt.inspection.drift import describe_drift
from rosenblatt.models.evaluation import Evaluation, check_overlap, evaluate_model
from rosenblatt.models.metadata import TestScore
from rosenblatt.models.metrics import compute_baseline
from rosenblatt.models.model import Model
from rosenblatt.models.prediction_columns import make_prediction_columns
from rosenblatt.models.training_rows import RowHashes, TrainingRows
from rosenblatt.workflows.problems.problem import LabelledRows, labelled_rows, readable_image_mask
from rosenblatt.workflows.problems.text import text_to_score
from rosenblatt.workflows.problems.weights import weigh_rows_of_table


def drop_damaged_images(model: Model, table: Table, on_damaged: DamagedPolicy | None, notify: Notify) -> Table:
    """Return the table without rows whose images cannot be read, if such rows may be skipped.

    Args:
        model: the model that the rows are for.
        table: the rows.
        on_damaged: whether to skip damaged images or to raise an error; None does what the training did.
        notify: called with a message about the skipped rows.

    Raises:
        TableError: if too many images are damaged.
    """
    if (on_damaged or model.spec.data.on_damaged_images) == "raise":
        return table  # reading the first damaged image raises the error
    with collect_messages(notify) as messages:
        readable = table.frame.filter(readable_image_mask(model.schema, "skip", table.frame, messages))
    name = table.id_column or next(
        (column.name for column in model.schema.media_columns if readable.schema.get(column.name) == pl.String), ""
    )
    test = table.test and drop_damaged_images(model, table.test, "skip", notify)
    return replace(
        table, frame=readable, test=test, id_column=name if readable.height < table.frame.height else table.id_column
    )


def predict(
    model: Model,
    table: Table,
    *,
    with_inputs: bool = False,
    typed: bool = False,
    notify: Notify = print,
    threads: int | None = None,
) -> pl.DataFrame:
    """Predict the rows of a table, or the steps that follow the series of a table.

    Args:
        model: the model.
        table: rows with the columns that the model was trained on; the target is not needed.
        with_inputs: whether to return the columns of the table as well.
        typed: whether to return these columns with the types of what they hold, instead of text as written.
        notify: called with each message for the user.
        threads: number of threads; by default one per core.

    Returns:
        A row for each row of the table: the prediction and, for classes and labels, the probability of each. Of a
        forecast, a row for each step of each series.

    Raises:
        TableError: if the table does not fit the model.
    """
    check_can_predict(model)
    if model.task == "forecasting":
        return forecast(model, table, notify, threads)
    with collect_messages(notify) as messages:
        schema, _ = adapt_to_table(model.schema, model.target, table.all_rows, table.format, messages)
        rows = schema.read(table.all_rows, messages, table.format)
        messages.extend(describe_drift(model, rows))
    predictions = make_prediction_columns(model, rows, model.predict_typed(rows, threads))
    inputs = table.all_rows if with_inputs else table.all_rows.select([table.id_column] * bool(table.id_column))
    if typed:
        inputs = to_typed_columns(inputs, schema, table.format)
    return join_predictions(inputs, predictions, notify)


def join_predictions(frame: pl.DataFrame, predictions: pl.DataFrame, notify: Notify) -> pl.DataFrame:
    """Join the predictions to columns of the table."""
    skipped = [name for name, dtype in frame.schema.items() if dtype.is_nested() or dtype == pl.Binary]
    if skipped:
        notify(f"columns of lists and files are not written: {format_list(skipped)}")
    frame = frame.drop(skipped)
    for name in predictions.columns:
        unique_name = name
        while unique_name in frame.columns:
            unique_name = f"predicted {unique_name}"
        predictions = predictions.rename({name: unique_name})
    return pl.concat([frame, predictions], how="horizontal")


def check_can_predict(model: Model) -> None:
    """Raise TableError for a language model, which predicts no rows."""
    if model.task == "language":
        raise TableError("This is a language model, which continues a text. Use rosenblatt generate.")


def forecast(model: Model, table: Table, notify: Notify = print, threads: int | None = None) -> pl.DataFrame:
    """Forecast the steps that follow each series of a table; columns: name of the series, step, forecast.

    Raises TableError if the model is no forecasting model, or the table does not fit it.
    """
    windows = model.metadata.windows
    if windows is None:
        raise TableError(f"This model was trained for {model.task}, not for forecasting. Use predict.")
    with collect_messages(notify) as messages:
        rows = windows.forecast_rows(table.frame, messages, table.format)
    forecasts = windows.inverse_transform(rows, model.predict_raw(rows, threads))
    series_names = {windows.series: rows["name"].to_list()} if windows.series else {}
    steps = np.tile(np.arange(1, windows.horizon + 1), rows.height)
    names = {
        name: np.repeat(np.array(values, object), windows.horizon).tolist() for name, values in series_names.items()
    }
    return pl.DataFrame({**names, "step": steps, windows.target: forecasts.ravel()})


def evaluate(
    model: Model, table: Table, notify: Notify = print, threads: int | None = None
) -> tuple[list[TestScore], Evaluation]:
    """Score a model on a table with known targets, on all windows of time series, or on a text.

    Args:
        model: the model.
        table: rows with the target columns, series, or a text.
        notify: called with each message for the user.
        threads: number of threads; by default one per core.

    Returns:
        The scores, and the evaluation they are part of, with predictions and test rows.

    Raises:
        TableError: if the table does not fit the model.
    """
    windows, weight, row_numbers = model.metadata.windows, None, None
    may_lack_images = any(column.kind == "image" for column in model.schema.media_columns)
    with collect_messages(notify) as messages:
        if windows:
            frame = windows.training_rows(table.frame, messages, table.format)
            y_test = windows.targets(frame)
        elif model.target.task == "language":
            encoding = cast("TextEncoding", model.encoder.media_encodings[0])
            frame, y_test = text_to_score(table, encoding.vocabulary, encoding.max_length, messages)
        else:
            rows_to_score = table.evaluation_rows
            schema, target = adapt_to_table(
                model.schema, model.target, rows_to_score.frame, rows_to_score.format, messages
            )
            model = replace(model, schema=schema)
            rows = _weighted_rows(model, target, rows_to_score, messages)
            frame, y_test, weight = rows.frame, rows.y, rows.weight
            if not (table.id_column or table.test or may_lack_images):
                row_numbers = rows.numbers
        typed = model.schema.read(frame, messages, table.evaluation_rows.format)
    if model.target.task == "tagging":
        token_unit_for_tags(typed, y_test, model.resolved_spec.data.tokens)
    baseline_prediction = model.metadata.baseline or compute_baseline(model.target, y_test)
    evaluation = evaluate_model(model, frame, typed, y_test, baseline_prediction, threads, weight)
    evaluation = replace(evaluation, cautions=(*describe_drift(model, typed), *evaluation.cautions))
    if model.training_rows:
        evaluation = _check_overlap(evaluation, model.training_rows, typed, y_test, notify)
    if evaluation.overlap and not evaluation.overlap.seen:
        notify(f"rows: {evaluation.overlap.describe('window' if windows else 'row')}")
    for caution in evaluation.cautions:
        notify(f"caution: {caution}")
    return evaluation.scores, replace(evaluation, row_numbers=row_numbers)


def _check_overlap(
    evaluation: Evaluation, training_rows: TrainingRows, typed: pl.DataFrame, y: np.ndarray, notify: Notify
) -> Evaluation:
    """Add how many of the scored rows are training rows."""
    try:
        hashes = RowHashes.from_rows(typed, y, evaluation.model.target, training_rows.image_hash)
    except ModuleNotFoundError as error:
        notify(
            f"rows: not compared with the training rows, which were images of a volume: that needs {error.name} "
            "(pip install 'rosenblatt[volumes]')"
        )
        return evaluation
    return check_overlap(evaluation, training_rows, hashes.rows)


def _weighted_rows(model: Model, target: Target, table: Table, messages: list[str]) -> LabelledRows:
    """The labelled rows, with sample weights if the model was trained with such and the table has them."""
    column = model.metadata.weight_column
    rows = weigh_rows_of_table(labelled_rows(table, target, messages), table, column, messages)
    if rows.weight is not None and column:
        messages.append(f"scores are weighted by {column.name!r}")
    return rows
