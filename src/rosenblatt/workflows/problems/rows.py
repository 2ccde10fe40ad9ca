"""Learning problems on tables of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.media.columns import MEDIA_KINDS as MEDIA
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.splits import train_test_split
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.tagging import token_unit_for_tags
from rosenblatt.data.tasks.task import SupervisedTask, detect_task, resolve_column_name
from rosenblatt.errors import TableError, format_list
from rosenblatt.inspection.description import summarize_columns, summarize_task
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.problems.problem import (
    ColumnOptions,
    LearningProblem,
    _drop_unlabelled,
    labelled_rows,
    readable_image_mask,
)

FEW_TEST_ROWS = 30
MEDIA_BY_KIND = {
    "cnn": MEDIA,
    "rnn": MEDIA,
    "channel_mlp": ("image",),
}  # kinds of columns that only such networks learn from


def _tabular_problem(
    table: Table,
    names: list[str],
    spec: Spec,
    column_options: ColumnOptions,
    test: Table | None,
    validation: Table | None,
    messages: list[str],
) -> LearningProblem:
    ignored = [resolve_column_name(table.frame, name) for name in column_options.ignore]
    needed = {*names, *column_options.keep, spec.data.groups, spec.data.order}
    ignored += [name for name in table.excluded_columns if name not in needed]
    supervised_task = _detect_task(table.frame, names, ignored, column_options.task, messages)
    frame, y = _drop_unlabelled(table.frame, supervised_task.y, supervised_task.names, messages)
    if len(y) < 2:
        raise TableError(
            f"Only one row has {format_list(supervised_task.names, 3)}; two or more are needed to learn from."
        )
    groups, order = _groups_and_order(frame, spec, names)
    ignored += [resolve_column_name(frame, spec.data.groups)] if spec.data.groups else []
    kept_columns, text_columns = (
        [resolve_column_name(frame, name) for name in requested]
        for requested in (column_options.keep, (*table.texts, *column_options.texts))
    )
    schema, spec = _build_schema(frame, names, ignored, kept_columns, text_columns, spec, messages)
    readable = readable_image_mask(schema, spec.data.on_damaged_images, frame, messages)
    frame, y = frame.filter(readable), y[readable]
    groups, order = (None if array is None else array[readable] for array in (groups, order))
    messages += [*summarize_columns(schema), f"task: {summarize_task(supervised_task)}"]
    if supervised_task.task == "tagging":
        spec = spec.replace(tokens=token_unit_for_tags(schema.read(frame), y, spec.data.tokens))
    training, test_rows = _split(y, spec, supervised_task, test is not None, groups, order)
    target = supervised_task.target(y[training], spec)
    test_frame, y_test = (frame[test_rows], y[test_rows]) if test is None else labelled_rows(test, target, messages)
    if test is not None:
        readable = readable_image_mask(schema, spec.data.on_damaged_images, test_frame, messages)
        test_frame, y_test = test_frame.filter(readable), y_test[readable]
    test_typed = schema.read(test_frame, messages)  # what is wrong with it is said before the long work
    if supervised_task.task == "tagging" and len(y_test):
        token_unit_for_tags(test_typed, y_test, spec.data.tokens)
    note = " (few: their scores are rough)" if 0 < len(y_test) < FEW_TEST_ROWS else ""
    messages.append(f"rows: {len(training):,} for training, {len(y_test):,} for the test{note}")
    data = Dataset(
        schema.read(frame[training]),
        y[training],
        groups=None if groups is None else groups[training],
        order=None if order is None else order[training],
    )
    validation_data = None
    if validation is not None:
        validation_frame, y_validation = labelled_rows(validation, target, messages)
        readable = readable_image_mask(schema, spec.data.on_damaged_images, validation_frame, messages)
        typed, y_validation = schema.read(validation_frame.filter(readable)), y_validation[readable]
        validation_data = Dataset(typed, y_validation)
        if supervised_task.task == "tagging":
            token_unit_for_tags(typed, y_validation, spec.data.tokens)
    return LearningProblem(
        spec, schema, supervised_task, data, validation_data, frame, test_frame, test_typed, y_test, target
    )


def _detect_task(
    frame: pl.DataFrame, names: list[str], ignored: list[str], task: Task | None, messages: list[str]
) -> SupervisedTask:
    if set(ignored) & set(names):
        raise TableError(f"{names[0]!r} is the target; it cannot be ignored too.")
    return detect_task(frame, names, task, messages)


def _build_schema(
    frame: pl.DataFrame,
    targets: Sequence[str],
    ignore: Sequence[str],
    keep: Sequence[str],
    texts: Sequence[str],
    spec: Spec,
    messages: list[str],
) -> tuple[Schema, Spec]:
    """What the columns hold; and the spec, with another kind of network where only that can learn from them."""
    schema = (
        infer_schema(frame.drop([*targets, *ignore]), spec.data.max_categories).with_identifiers(keep).as_texts(texts)
    )
    media = [column.kind for column in schema.columns if column.kind in MEDIA]
    if spec.network.kind == "mlp" and media and (texts or not schema.input_columns):
        spec = spec.replace(kind="cnn" if media[0] == "image" else "rnn")
        messages.append(f"kind: {spec.network.kind}, as the rows hold {media[0]}s")
    schema = schema.with_media(MEDIA_BY_KIND.get(spec.network.kind, ()))
    empty = [column.name for column in schema.columns if column.kind == "empty"]
    if empty:
        raise TableError(
            f"No row has a value in {format_list(empty)}. Fill in the table, or leave out what is empty with "
            f"--ignore {','.join(empty)}."
        )
    if not schema.input_columns:
        reasons = "; ".join(f"{column.name}: {column.note}" for column in schema.columns)
        raise TableError(f"No column is left to learn from. {reasons or 'The table has only the target.'}")
    return schema, spec


def _groups_and_order(
    frame: pl.DataFrame, spec: Spec, targets: Sequence[str]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The number of each row's group, and each row's place in order, where the spec names columns for them."""
    columns: list[np.ndarray | None] = []
    for role, requested in (("groups", spec.data.groups), ("order", spec.data.order)):
        if not requested:
            columns.append(None)
            continue
        name = resolve_column_name(frame, requested)
        if name in targets:
            raise TableError(f"{name!r} is the target; it cannot be the {role} too.")
        if frame[name].has_nulls():
            raise TableError(f"{name!r} is to be the {role}, but {frame[name].null_count()} rows have no value there.")
        column = frame[name] if role == "groups" else _to_sort_key(frame[name])
        columns.append((column.rank("dense") - 1).to_numpy())
    if columns[0] is not None and columns[1] is not None:
        raise TableError("Rows can be split by groups or by order, not by both. Leave one of them out.")
    return columns[0], columns[1]


def _to_sort_key(column: pl.Series) -> pl.Series:
    """A column whose order is that of time: numbers and dates, also where they were read as text."""
    if column.dtype != pl.String:
        return column
    return infer_schema(column.to_frame(), 1).columns[0].sort_key(column)


def _split(
    y: np.ndarray,
    spec: Spec,
    supervised_task: SupervisedTask,
    has_test_table: bool,
    groups: np.ndarray | None,
    order: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are for training, and which for the test; none where the test has a table of its own."""
    n, fraction = len(y), spec.data.test_fraction
    if has_test_table or fraction == 0:
        return np.arange(n), np.arange(0)
    return train_test_split(
        n, fraction, spec.training.seed, y if supervised_task.labels and y.ndim == 1 else None, groups, order
    )
