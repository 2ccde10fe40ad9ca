"""Sample weights: the column by which rows count in training, validation and test scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rosenblatt.data.schema.columns import Column, Schema, plural_kind
from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.table import Table, TableFormat
from rosenblatt.data.tasks.target import Label
from rosenblatt.data.tasks.task import resolve_column_name
from rosenblatt.errors import TableError, format_count, format_list
from rosenblatt.workflows.problems.problem import LabelledRows, ProblemRequest

MAX_WEIGHT = 1e100  # so that sums of squared weights are finite


def weigh_training_rows(
    rows: LabelledRows, request: ProblemRequest, labels: Sequence[Label], messages: list[str]
) -> tuple[LabelledRows, Column | None]:
    """The rows with their weights, and how these are read, if the request names a column of weights.

    Raises TableError as `weigh_rows` does, and if less than two of the classes `labels` have a row with weight.
    """
    if not request.spec.data.weight:
        return rows, None
    name = resolve_column_name(rows.frame, request.spec.data.weight)
    if name in request.targets:
        raise TableError(f"{name!r} is the target and cannot be the weight column.")
    others = [other for other in rows.frame.columns if other != name]
    [inferred] = infer_schema(rows.frame, 1, request.table.format, others).columns
    if inferred.kind not in ("number", "boolean", "constant", "empty") and not inferred.is_numeric:
        kind = plural_kind(inferred.kind)
        raise TableError(f"The weight column {name!r} must hold numbers of 0 or more, but it holds {kind}.")
    column = inferred.model_copy(update={"kind": "number"})
    rows = weigh_rows(rows, column, messages, request.table.format)
    if labels and rows.y.ndim == 1 and len(rows.y) > 1:
        present = set(rows.y.astype(int).tolist())
        if len(present) < 2:
            label = labels[next(iter(present))]
            raise TableError(
                f"All rows with a weight in {name!r} have the class {label!r}; training needs two or more."
            )
        unweighted = [label for k, label in enumerate(labels) if k not in present]
        if unweighted:
            messages.append(f"classes without a row of weight, which are never predicted: {format_list(unweighted)}")
    messages.append(f"training, validation and test scores are weighted by {name!r}")
    if rows.weight is not None and np.ptp(rows.weight) == 0:
        messages[-1] += f", but all weights are {rows.weight[0]:g}, so they have no effect"
    return rows, column


def weigh_rows(rows: LabelledRows, column: Column, messages: list[str], format: TableFormat) -> LabelledRows:
    """The rows with their weights, without those of weight 0.

    Raises:
        TableError: if a weight is missing, negative or no finite number, or if all are 0.
    """
    series = rows.frame[column.name]
    numbers = Schema(columns=(column,)).read(rows.frame, messages, format)[column.name]
    if numbers.has_nulls():
        row = numbers.is_null().arg_max() or 0
        raise TableError(
            f"The weight column {column.name!r} must hold a number in every row, but row {rows.numbers[row]} holds "
            f"{'nothing' if series[row] is None else repr(series[row])}. Correct the table."
        )
    weight = numbers.to_numpy()
    if weight.min(initial=0.0) < 0:
        row = int(np.argmax(weight < 0))
        raise TableError(
            f"The weight column {column.name!r} must hold numbers of 0 or more, but row {rows.numbers[row]} holds "
            f"{weight[row]:g}. Correct the table."
        )
    if not weight.any():
        raise TableError(f"All weights in the column {column.name!r} are 0, so no row counts. Choose another column.")
    if weight.max() > MAX_WEIGHT:
        raise TableError(
            f"The weights in {column.name!r} are too large, up to {weight.max():g}. Divide all of them by it."
        )
    if not weight.all():
        messages.append(f"{format_count(int((weight == 0).sum()), 'row')} of weight 0 in {column.name!r} left out")
    return replace(rows, weight=weight).select(weight > 0)


def weigh_rows_of_table(rows: LabelledRows, table: Table, column: Column | None, messages: list[str]) -> LabelledRows:
    """The rows of a test or validation table with their weights, if the model has weights and the table has them too.

    Raises TableError as `weigh_rows` does.
    """
    if column is None:
        return rows
    if column.name not in rows.frame.columns:
        messages.append(f"the table has no weight column {column.name!r}: its rows count equally")
        return rows
    weight_messages: list[str] = []
    try:
        rows = weigh_rows(rows, column, weight_messages, table.format)
    except TableError as error:
        raise TableError(f"{table.source!r}: {error}") from error
    messages += [f"{table.source}: {message}" for message in weight_messages]
    return rows


def scale_weight(rows: LabelledRows, training_weight: np.ndarray | None) -> np.ndarray | None:
    """The weights of validation rows on the scale of the training rows, so that the mean weights of both are equal."""
    if training_weight is None:
        return None
    weight = np.ones(len(rows.y)) if rows.weight is None else rows.weight
    return weight * (training_weight.mean() / weight.mean())
