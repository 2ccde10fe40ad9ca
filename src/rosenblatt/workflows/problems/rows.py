"""Learning problems on the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.media.columns import MEDIA_KINDS
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.schema.notes import summarize_notes
from rosenblatt.data.schema.order import read_order
from rosenblatt.data.splits import rarest_label, train_test_split
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.tagging import token_unit_for_tags
from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import SupervisedTask, adapt_to_table, detect_task, resolve_column_name
from rosenblatt.errors import TableError, format_count, format_list
from rosenblatt.inspection.description import summarize_columns, summarize_task
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.problems.problem import (
    LabelledRows,
    LearningProblem,
    ProblemRequest,
    drop_unlabelled,
    labelled_rows,
    readable_image_mask,
)
from rosenblatt.workflows.problems.start import check_start_options, start_schema, start_target, start_task
from rosenblatt.workflows.problems.weights import scale_weight, weigh_rows_of_table, weigh_training_rows

MIN_TEST_ROWS = 30  # test scores of fewer rows are called rough
MEDIA_BY_KIND = {  # kinds of media columns that each kind of network takes
    "cnn": MEDIA_KINDS,
    "rnn": MEDIA_KINDS,
    "channel_mlp": ("image",),
}


def tabular_problem(request: ProblemRequest, messages: list[str]) -> LearningProblem:
    """Predict the target columns of a row from its other columns. Raises TableError, SpecError."""
    # Task: what the target columns hold.
    ignored = _ignored_columns(request)
    task = _read_task(request, messages)
    rows = drop_unlabelled(request.table.frame, task.y, task.names, messages)
    rows, weight_column = weigh_training_rows(rows, request, task.labels, messages)
    if len(rows.y) < 2:
        raise TableError(f"Only one row has {format_list(task.names, 3)}, but training needs two or more.")

    # Schema: what the input columns hold.
    schema, spec = _build_schema(rows.frame, ignored, request, messages)
    rows = _select_readable(rows, schema, spec, messages, headers_suffice=True)
    frame, y = rows.frame, rows.y
    messages += [*summarize_columns(schema, task.columns), f"task: {summarize_task(task)}"]
    if task.task == "tagging":
        spec = spec.replace(tokens=token_unit_for_tags(schema.read(frame), y, spec.data.tokens))

    # Split: training and test rows.
    groups, order = _read_groups(rows, request), _read_order(rows, schema, request, messages)
    test_table = request.test or request.table.test
    stratify = _to_strata(task, y, messages)
    fraction = 0.0 if test_table else spec.data.test_fraction
    train, held_out = train_test_split(len(y), fraction, spec.training.seed, stratify, groups, order)
    data = Dataset(schema.read(frame[train]), y[train], *(_take(a, train) for a in (rows.weight, groups, order)))

    # Target: fitted on the training rows; other tables are read by it.
    target, validation, start = _make_target(task, data.y, spec, request), None, request.start
    test, test_typed = rows.select(held_out), schema.read(frame[held_out], messages)
    if test_table:
        test, test_typed = _read_labelled(test_table, schema, target, spec, weight_column, messages)
    rough = " (few: their scores are rough)" if 0 < len(test.y) < MIN_TEST_ROWS else ""
    messages.append(f"rows: {len(train):,} for training, {len(test.y):,} for testing{rough}")
    if request.validation:
        rows, typed = _read_labelled(request.validation, schema, target, spec, weight_column, messages)
        validation = Dataset(typed, rows.y, scale_weight(rows, data.weight))
    return LearningProblem(
        spec, schema, task, target, data, validation, frame, test.frame, test_typed, test.y,
        test_row_numbers=None if request.table.test else test.numbers,
        test_weight=test.weight, weight_column=weight_column, start=start.trials[0] if start else None,
    )  # fmt: skip


def _read_task(request: ProblemRequest, messages: list[str]) -> SupervisedTask:
    """The task that the target columns hold, or that of the model whose networks are continued."""
    if request.start is None:
        return detect_task(request.table.frame, request.targets, request.task, messages, request.table.format)
    options = {"--ignore": request.ignore, "--keep": request.keep, "--text": request.texts}
    check_start_options(request.start, request.task, options)
    return start_task(request.start, request.table, [*request.targets], messages)


def _make_target(task: SupervisedTask, y: np.ndarray, spec: Spec, request: ProblemRequest) -> Target:
    return task.target(y, spec) if request.start is None else start_target(request.start, task, y, spec)


def _ignored_columns(request: ProblemRequest) -> list[str]:
    """The columns that are no inputs: ignored by the user or the reader of the table, or only used for the split."""
    table, data = request.table, request.spec.data
    ignored = [resolve_column_name(table.frame, name) for name in request.ignore]
    needed = {*request.targets, *request.keep, data.groups, data.order, data.weight}
    ignored += [name for name in table.excluded_columns if name not in needed]
    if set(ignored) & set(request.targets):
        raise TableError(f"{request.targets[0]!r} is the target and cannot be ignored.")
    used_otherwise = [resolve_column_name(table.frame, name) for name in (data.groups, data.weight) if name]
    return list(dict.fromkeys(ignored + used_otherwise))


def _build_schema(
    frame: pl.DataFrame, ignored: Sequence[str], request: ProblemRequest, messages: list[str]
) -> tuple[Schema, Spec]:
    """The schema of the input columns, and the spec with a kind of network that can use them."""
    spec = request.spec
    if request.start is not None:
        return start_schema(request.start, request.table, [*request.targets], messages), spec
    identifiers, texts = (
        [resolve_column_name(frame, name) for name in names]
        for names in (request.keep, (*request.table.texts, *request.texts))
    )
    exclude = [*request.targets, *ignored]
    schema = infer_schema(frame, spec.data.max_categories, request.table.format, exclude)
    schema = schema.with_identifiers(identifiers).as_texts(texts)
    media = [column.kind for column in schema.columns if column.kind in MEDIA_KINDS]
    if spec.network.kind == "mlp" and media and (texts or not schema.input_columns):
        spec = spec.replace(kind="cnn" if media[0] == "image" else "rnn")
        messages.append(f"kind: {spec.network.kind}, as the rows hold {media[0]}s")
    schema = schema.with_media(MEDIA_BY_KIND.get(spec.network.kind, ()))
    if not schema.input_columns:
        reasons = "; ".join(f"{column.name}: {column.note}" for column in schema.columns)
        raise TableError(f"No usable input column. {reasons or 'The table has only the target.'}")
    return schema, spec


def _read_groups(rows: LabelledRows, request: ProblemRequest) -> np.ndarray | None:
    """The group index (n,) of each row, or None if no column of groups is given."""
    if not request.spec.data.groups:
        return None
    name = _resolve_split_column(rows.frame, request.spec.data.groups, "groups", request.targets)
    missing = rows.frame[name].null_count()
    if missing:
        raise TableError(f"The groups column {name!r} has no value in {format_count(missing, 'row')}. Fill it in.")
    return (rows.frame[name].rank("dense") - 1).to_numpy()


def _read_order(rows: LabelledRows, schema: Schema, request: ProblemRequest, messages: list[str]) -> np.ndarray | None:
    """The rank (n,) of each row in order, or None if no order is given. Raises TableError."""
    data = request.spec.data
    if not data.order:
        return None
    if data.groups:
        raise TableError("Rows can be split by groups or by order, not by both. Remove one of them.")
    name = _resolve_split_column(rows.frame, data.order, "order", request.targets)
    column = next((column for column in schema.columns if column.name == name), None)
    if column is None:
        others = [other for other in rows.frame.columns if other != name]
        column = infer_schema(rows.frame, data.max_categories, request.table.format, others).columns[0]
        messages += [f"  {line}" for line in summarize_notes((name, note) for note in column.notes)]
    cells = rows.frame[name]
    keys = read_order(cells, column, "order", rows.numbers)
    first, last = cells[keys.arg_min() or 0], cells[keys.arg_max() or 0]
    messages.append(f"order: {name}, from {str(first)!r} to {str(last)!r}")
    return (keys.rank("dense") - 1).to_numpy()


def _resolve_split_column(frame: pl.DataFrame, given_name: str, role: str, targets: Sequence[str]) -> str:
    name = resolve_column_name(frame, given_name)
    if name in targets:
        raise TableError(f"{name!r} is the target and cannot be the {role} column.")
    return name


def _to_strata(task: SupervisedTask, y: np.ndarray, messages: list[str]) -> np.ndarray | None:
    """What the split is stratified by, (n,): the class or the rarest label of each row; None for other tasks."""
    if task.task == "multilabel":
        return rarest_label(y)
    if not task.labels or y.ndim > 1:
        return None
    single = np.flatnonzero(np.bincount(y.astype(int)) == 1)
    if single.size:
        messages.append(f"classes of one row, which is for training: {format_list([task.labels[k] for k in single])}")
    return y


def _select_readable(
    rows: LabelledRows, schema: Schema, spec: Spec, messages: list[str], **options: Any
) -> LabelledRows:
    """The rows whose images can all be read. Options and errors are those of `find_damaged_images`."""
    return rows.select(readable_image_mask(schema, spec.data.on_damaged_images, rows.frame, messages, **options))


def _take(array: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if array is None else array[rows]


def _read_labelled(
    table: Table, schema: Schema, target: Target, spec: Spec, weight_column: Column | None, messages: list[str]
) -> tuple[LabelledRows, pl.DataFrame]:
    """The labelled rows of a test or validation table, as read and typed. Raises TableError."""
    table_messages: list[str] = []
    schema, target = adapt_to_table(schema, target, table.frame, table.format, table_messages)
    rows = weigh_rows_of_table(labelled_rows(table, target, table_messages), table, weight_column, table_messages)
    rows = _select_readable(rows, schema, spec, table_messages)
    typed = schema.read(rows.frame, table_messages, table.format)
    messages += [f"{table.source}: {message}" for message in table_messages]
    if target.task == "tagging":
        token_unit_for_tags(typed, rows.y, spec.data.tokens)
    return rows, typed
