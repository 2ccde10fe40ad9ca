"""Forecasting problems on time series."""

from __future__ import annotations

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.schema.notes import summarize_notes
from rosenblatt.data.tasks.forecasting import END, WindowTransform
from rosenblatt.data.tasks.task import SupervisedTask, resolve_column_name
from rosenblatt.errors import TableError, format_count, format_list
from rosenblatt.workflows.problems.problem import (
    VALIDATION_FRACTION,
    LearningProblem,
    ProblemRequest,
    format_split,
    require_kind,
)


def forecasting_problem(request: ProblemRequest, messages: list[str]) -> LearningProblem:
    """Predict the next steps of series from windows of the steps before them.

    Without tables of their own, the test rows are the windows at the end of each series, and the validation rows the
    windows before these. Raises TableError, SpecError.
    """
    # Windows: one row for each window of a series.
    spec = require_kind(request.spec, "A forecast", "rnn", "cnn").replace(target_transform="none")
    windows = _fit_windows(request, messages)
    frame = windows.training_rows(request.table.frame, messages, request.table.format)
    schema = windows.input_schema(frame)

    # Split: training, validation and test windows, in order of time.
    train, validation, test = _split_windows(frame, windows, request)
    if not train.height:
        raise TableError(
            f"The series are too short for a horizon of {windows.horizon}: no window is left for training. Choose a "
            "smaller horizon or a smaller --test-fraction."
        )
    if request.validation:
        validation = windows.training_rows(request.validation.frame, messages, request.validation.format)
    if request.test:
        test = windows.training_rows(request.test.frame, messages, request.test.format)
    messages.append(
        f"forecast: the next {format_count(windows.horizon, 'step')} of {windows.target!r} from "
        f"{format_count(windows.window, 'step')} before them, {frame['name'].n_unique()} series"
    )
    messages.append(f"windows: {format_split(train.height, validation.height, test.height)}")

    # Target: the next steps of each window.
    reason = f"the next {windows.horizon} of {windows.target!r}"
    task = SupervisedTask("regression", tuple(windows.target_columns), (), windows.targets(frame), reason)
    data = Dataset(schema.read(train), windows.targets(train))
    return LearningProblem(
        spec, schema, task, task.target(data.y, spec), data,
        Dataset(schema.read(validation), windows.targets(validation)) if validation.height else None,
        frame, test, schema.read(test), windows.targets(test), windows,
    )  # fmt: skip


def _fit_windows(request: ProblemRequest, messages: list[str]) -> WindowTransform:
    if len(request.targets) > 1:
        raise TableError(
            f"A forecast has one target column, but {format_list(request.targets)} are given. Fit one model for each."
        )
    frame = request.table.frame
    ignored = [resolve_column_name(frame, name) for name in request.ignore]
    windows = WindowTransform.fit(frame, request.targets[0], request.spec.data, ignored, request.table.format)
    unused = [name for name in windows.unused_columns(frame) if name not in ignored]
    if unused:
        messages.append(
            f"left out, as they do not hold numbers that change: {format_list(unused)} "
            "(name columns of yes and no with --known-covariates)"
        )
    used = (windows.value, windows.time, *windows.known_covariates, *windows.past_covariates)
    messages += summarize_notes((column.name, note) for column in used for note in column.notes)
    return windows


def _split_windows(
    frame: pl.DataFrame, windows: WindowTransform, request: ProblemRequest
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Training, validation and test windows; the latter two are empty if they have tables of their own."""
    end, steps = frame[END].to_numpy(), frame["steps"].to_numpy()
    test_fraction = 0.0 if request.test else request.spec.data.test_fraction
    validation_fraction = 0.0 if request.validation else VALIDATION_FRACTION
    first_test = np.ceil(steps * (1 - test_fraction))
    first_validation = np.ceil(first_test * (1 - validation_fraction))
    return (
        frame.filter(end + windows.horizon <= first_validation),
        frame.filter((end >= first_validation) & (end + windows.horizon <= first_test)),
        frame.filter(end >= first_test),
    )
