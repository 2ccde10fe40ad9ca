"""Forecasting problems on time series."""

from __future__ import annotations

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.forecasting import END, WindowTransform
from rosenblatt.data.tasks.task import SupervisedTask, resolve_column_name
from rosenblatt.errors import TableError, format_list
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.problems.problem import (
    VALIDATION_FRACTION,
    ColumnOptions,
    LearningProblem,
    _format_counts,
    _require_kind,
)


def _forecasting_problem(
    table: Table,
    names: list[str],
    spec: Spec,
    column_options: ColumnOptions,
    test: Table | None,
    validation: Table | None,
    messages: list[str],
) -> LearningProblem:
    """Windows of series: the last steps are for the test, those before them to choose epochs on, where these have no
    tables of their own."""
    if len(names) > 1:
        raise TableError(f"A forecast is of one column, but {format_list(names)} were named. Fit one model for each.")
    spec = _require_kind(spec, "A forecast", "rnn", "cnn").replace(target_transform="none")
    ignored = [resolve_column_name(table.frame, name) for name in column_options.ignore]
    windows = WindowTransform.fit(table.frame, names[0], spec.data, ignored)
    unused = [name for name in windows.unused_columns(table.frame) if name not in ignored]
    if unused:
        messages.append(
            f"left out, as they hold no numbers that change: {format_list(unused)} "
            "(--known-covariates names columns of yes and no)"
        )
    frame = windows.training_rows(table.frame, messages)
    is_train, is_validation, is_test = _split_windows(frame, windows, spec, test is not None, validation is not None)
    if not is_train.any():
        raise TableError(
            f"The series are too short for a horizon of {windows.horizon}: no window is left to learn from. Choose a "
            "smaller horizon, or a smaller --test-fraction."
        )
    schema = windows.input_schema(frame)
    validation_frame = windows.training_rows(validation.frame, messages) if validation else frame.filter(is_validation)
    test_frame = windows.training_rows(test.evaluation_rows.frame, messages) if test else frame.filter(is_test)
    train_frame, y = frame.filter(is_train), frame.select(windows.target_columns).to_numpy()
    reason = f"the next {windows.horizon} of {windows.target!r}"
    supervised_task = SupervisedTask("regression", tuple(windows.target_columns), (), y, reason)
    target = supervised_task.target(y[is_train], spec)
    n_series = frame["name"].n_unique()
    messages.append(
        f"forecast: {windows.horizon} steps of {windows.target!r} from the {windows.window} before, {n_series} series"
    )
    messages.append(f"windows: {_format_counts(train_frame.height, validation_frame.height, test_frame.height)}")

    def targets(rows: pl.DataFrame) -> np.ndarray:
        return rows.select(windows.target_columns).to_numpy()

    return LearningProblem(
        spec, schema, supervised_task, Dataset(schema.read(train_frame), targets(train_frame)),
        Dataset(schema.read(validation_frame), targets(validation_frame)) if validation_frame.height else None,
        frame, test_frame, schema.read(test_frame), targets(test_frame), target, windows,
    )  # fmt: skip


def _split_windows(
    frame: pl.DataFrame, windows: WindowTransform, spec: Spec, test: bool, validation: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which windows to learn from, to choose epochs on, and to test on; none where these have tables of their own."""
    end, steps = frame[END].to_numpy(), frame["steps"].to_numpy()
    fraction, validation_fraction = 0.0 if test else spec.data.test_fraction, 0.0 if validation else VALIDATION_FRACTION
    first_test = np.ceil(steps * (1 - fraction))
    first_validation = np.ceil(first_test * (1 - validation_fraction))
    return (
        end + windows.horizon <= first_validation,
        (end >= first_validation) & (end + windows.horizon <= first_test),
        end >= first_test,
    )
