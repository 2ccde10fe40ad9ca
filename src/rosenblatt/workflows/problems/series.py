"""Forecasting problems on time series."""

from __future__ import annotations

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Data
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.forecasting import END, Windows
from rosenblatt.data.tasks.task import Question, column_name
from rosenblatt.errors import TableError, listed
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.problems.problem import SPARED, Asked, Problem, Say, _counts, _of_kind


def _of_series(
    table: Table,
    names: list[str],
    spec: Spec,
    asked: Asked,
    test: Table | None,
    validation: Table | None,
    say: Say,
) -> Problem:
    """Windows of series: the last steps are for the test, those before them to choose epochs on, where these have no
    tables of their own."""
    if len(names) > 1:
        raise TableError(f"A forecast is of one column, but {listed(names)} were named. Fit one model for each.")
    spec = _of_kind(spec, "A forecast", "rnn", "cnn").replace(target_transform="none")
    ignored = [column_name(table.frame, name) for name in asked.ignore]
    windows = Windows.of(table.frame, names[0], spec.data, ignored)
    unused = [name for name in windows.unused(table.frame) if name not in ignored]
    if unused:
        say(f"left out, as they hold no numbers that change: {listed(unused)} (--known names columns of yes and no)")
    frame = windows.rows(table.frame, say)
    learnt, spared, tested = _over_time(frame, windows, spec, test is not None, validation is not None)
    if not learnt.any():
        raise TableError(
            f"The series are too short for a horizon of {windows.horizon}: no window is left to learn from. Choose a "
            "smaller horizon, or a smaller --test-fraction."
        )
    schema = windows.schema_of(frame)
    watched = windows.rows(validation.frame, say) if validation else frame.filter(spared)
    test_frame = windows.rows(test.to_score.frame, say) if test else frame.filter(tested)
    data, y = frame.filter(learnt), frame.select(windows.answers).to_numpy()
    asks = f"the next {windows.horizon} of {windows.target!r}"
    question = Question("regression", tuple(windows.answers), (), y, asks)
    target = question.target(y[learnt], spec)
    many = frame["name"].n_unique()
    say(f"forecast: {windows.horizon} steps of {windows.target!r} from the {windows.window} before, {many} series")
    say(f"windows: {_counts(data.height, watched.height, test_frame.height)}")

    def answers(some: pl.DataFrame) -> np.ndarray:
        return some.select(windows.answers).to_numpy()

    return Problem(
        spec, schema, question, Data(schema.read(data), answers(data)),
        Data(schema.read(watched), answers(watched)) if watched.height else None,
        frame, test_frame, schema.read(test_frame), answers(test_frame), target, windows,
    )  # fmt: skip


def _over_time(
    frame: pl.DataFrame, windows: Windows, spec: Spec, tested: bool, watched: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which windows to learn from, to choose epochs on, and to test on; none where these have tables of their own."""
    end, steps = frame[END].to_numpy(), frame["steps"].to_numpy()
    fraction, spared = 0.0 if tested else spec.data.test_fraction, 0.0 if watched else SPARED
    first_test = np.ceil(steps * (1 - fraction))
    first_spared = np.ceil(first_test * (1 - spared))
    return (
        end + windows.horizon <= first_spared,
        (end >= first_spared) & (end + windows.horizon <= first_test),
        end >= first_test,
    )
