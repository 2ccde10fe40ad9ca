"""Hints at data leakage, which makes test scores too optimistic: copies of rows, columns that give the target away,
and rows of one patient or customer on both sides of the split.

A hint needs strong evidence, so that nearly all tables have none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import format_count, format_list, join_names
from rosenblatt.models.training_rows import RowHashes

MIN_ROWS = 30  # training rows below which no hint is given, as chance explains a lot
MIN_ROWS_OF_CLASS = 20  # rows of each of two classes that a threshold must separate
MIN_ROWS_OF_VALUE = 5  # rows of a value from which on it shows which class it goes with
MIN_COPIES = 5  # test rows that are copies of training rows
MIN_COPY_FRACTION = 0.01  # of the test rows
MIN_AGREEMENT = 0.9  # of the targets of rows with equal inputs, beyond chance; less shows that they are no copies
MAX_VALUES = 50  # different values of a column up to which each is looked at
MAX_ERROR = 0.02  # of the best guess from one column, relative to that without it
MIN_CORRELATION = 0.999
MAX_SAMPLE = 20_000  # rows on which columns are tried first
MAX_TARGETS = 10  # targets that columns are compared with
MIN_ENTITIES, MIN_IDS = 5, 10  # different values of a column named for an entity, or with a name that ends in id
MIN_ROWS_PER_ENTITY = 1.5
MIN_SHARED_FRACTION = 0.1  # of the test rows, whose entity also has training rows
_ENTITIES = "patient|customer|client|user|subject|person|participant|respondent|student|employee|household"
_ENTITY_NAME = re.compile(rf"(?:id)?(?:{_ENTITIES})(?:id|uid|no|nr|num|number|code|key|name)?")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def have_few_combinations(data: Dataset) -> bool:
    """Whether columns have so few values that rows coincide by chance: fewer combinations of values than rows."""
    typed = data.frame
    return isinstance(typed, pl.DataFrame) and math.prod(column.n_unique() for column in typed) < typed.height


def hint_at_copies(train: RowHashes, test: RowHashes, target: Target, y_test: np.ndarray) -> str:
    """A hint if many test rows are copies of training rows; "" if not.

    Rows of a few discrete values coincide by chance, too, but then often with different targets.
    """
    is_copy = np.isin(test.rows, train.rows)
    min_copies = max(MIN_COPIES, MIN_COPY_FRACTION * len(y_test))
    if is_copy.sum() < min_copies:
        return ""
    inputs, n_targets = np.unique(train.inputs[np.unique(train.rows, return_index=True)[1]], return_counts=True)
    is_repeated = np.isin(test.inputs, inputs)
    is_copy &= np.isin(test.inputs, inputs[n_targets == 1])
    n_copies = int(is_copy.sum())
    if n_copies < min_copies:
        return ""
    agreement = n_copies / int(is_repeated.sum())
    if target.task in ("binary", "multiclass"):
        chance = float(((np.unique(y_test, return_counts=True)[1] / len(y_test)) ** 2).sum())
        agreement = (agreement - chance) / (1 - chance) if chance < 1 else 0.0
    if agreement < MIN_AGREEMENT:
        return ""
    return (
        f"possible leakage: {n_copies:,} of the {format_count(len(y_test), 'test row')} also occur in training, with "
        "the same inputs and targets. Remove the duplicates, or keep them together with --groups COLUMN"
    )


def hint_at_columns(schema: Schema, data: Dataset, target: Target) -> Iterator[str]:
    """Hints at columns that alone predict a target, from the training rows."""
    typed, y = data.frame, data.y.reshape(len(data.y), -1)
    names = [column.name for column in schema.input_columns if column.kind in ("number", "boolean", "category")]
    if not isinstance(typed, pl.DataFrame) or len(y) < MIN_ROWS or len(schema.input_columns) < 2 or target.is_per_step:
        return
    is_numeric, sample = target.task == "regression", slice(None, None, -(-len(y) // MAX_SAMPLE))
    for k, target_name in enumerate(target.names[:MAX_TARGETS]):
        values, sampled = y[:, k], y[sample, k]
        predictors, gaps = [], []
        for name in names:
            column = typed[name]
            if 0 < _min_entities(name) <= column.n_unique():  # see hint_at_entities
                continue
            if _is_gap_of_class(column, values, is_numeric):
                gaps.append(name)
            elif _predicts(column.gather_every(sample.step), sampled, is_numeric) and _predicts(
                column, values, is_numeric
            ):
                predictors.append(name)
        for columns, what in ((predictors, "alone predicts"), (gaps, "is empty exactly for one class of")):
            if columns:
                subject = f"column {columns[0]!r}" if len(columns) == 1 else f"each of {format_list(columns, 5)}"
                yield (
                    f"possible leakage: {subject} {what} {target_name!r}. If it is not known when a prediction is "
                    f"made, leave it out with --ignore {','.join(columns)}"
                )


def _is_gap_of_class(column: pl.Series, y: np.ndarray, is_numeric: bool) -> bool:
    """Whether a column is empty for all rows of one class, and for no others."""
    n_missing = column.null_count()
    if is_numeric or min(n_missing, len(y) - n_missing) < MIN_ROWS_OF_VALUE:
        return False
    is_missing = column.is_null().to_numpy()
    first = y[is_missing][0]
    return bool(((y == first) == is_missing).all())


def _predicts(column: pl.Series, y: np.ndarray, is_numeric: bool) -> bool:
    """Whether a typed column (n,) determines a target (n,): the classes, or the values if `is_numeric`."""
    n_values = column.n_unique()
    if n_values < 2:
        return False
    if n_values <= min(MAX_VALUES, len(y) / MIN_ROWS_OF_VALUE) and _values_predict(column, y, is_numeric):
        return True
    if not column.dtype.is_numeric():
        return False
    is_known = column.is_not_null().to_numpy()
    x, y_known = column.drop_nulls().to_numpy(), y[is_known]
    if len(x) < max(MIN_ROWS, (1 - MAX_ERROR) * len(y)):
        return False
    return _correlates(x, y_known) if is_numeric else _is_threshold(x, y_known)


def _values_predict(column: pl.Series, y: np.ndarray, is_numeric: bool) -> bool:
    """Whether the most frequent class, or the mean, of the rows with each value leaves next to no error."""
    groups = pl.DataFrame({"x": column, "y": y}).group_by("x")
    if is_numeric:
        residuals = groups.agg(pl.len(), error=((pl.col("y") - pl.col("y").mean()) ** 2).sum())
        rows, errors = residuals["len"].to_numpy(), residuals["error"].to_numpy()
        total, limit = ((y - y.mean()) ** 2).sum(), 1 - MIN_CORRELATION
        return bool(rows.min() >= MIN_ROWS_OF_VALUE and total > 0 and errors.sum() <= limit * total)
    mistakes = groups.agg(pl.len(), error=pl.len() - pl.col("y").unique_counts().max())
    rows, errors = mistakes["len"].to_numpy(), mistakes["error"].to_numpy()
    total = len(y) - np.unique(y, return_counts=True)[1].max()
    errors = np.where(rows < MIN_ROWS_OF_VALUE, rows, errors)  # a rare value may go with one class by chance
    return bool(total >= MIN_ROWS_OF_VALUE and errors.sum() <= MAX_ERROR * total)


def _correlates(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether two numbers (n,) are nearly proportional, or in the same or the reverse order."""
    if x.std() == 0 or y.std() == 0:
        return False
    ranks = [np.unique(values, return_inverse=True)[1].astype(float) for values in (x, y)]
    return any(abs(np.corrcoef(a, b)[0, 1]) > MIN_CORRELATION for a, b in ((x, y), ranks))


def _is_threshold(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether one number separates the two classes of y (n,) by x (n,)."""
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) != 2 or counts.min() < MIN_ROWS_OF_CLASS:
        return False
    a, b = (x[y == value] for value in classes)
    return bool(a.max() < b.min() or b.max() < a.min())


def hint_at_entities(frame: pl.DataFrame, test: pl.DataFrame, targets: Sequence[str], *, is_separate: bool) -> str:
    """A hint if rows of one patient, customer or the like are on both sides of the split; "" if not.

    Args:
        frame, test: rows as read; unless the test is a separate table, its rows are also in `frame`.
        targets: names of the target columns.
        is_separate: whether the test is a table of its own.
    """
    names = []
    for name in frame.columns:
        min_values = _min_entities(name)
        if not min_values or name in targets or name not in test.columns or frame[name].dtype.is_nested():
            continue
        values, tested = frame[name].drop_nulls().cast(pl.String), test[name].drop_nulls().cast(pl.String)
        n_values = values.n_unique()
        if n_values < min_values or len(values) < MIN_ROWS_PER_ENTITY * n_values:
            continue
        if not is_separate:
            counts, test_counts = (
                v.alias("value").value_counts(name=n) for v, n in ((values, "rows"), (tested, "test_rows"))
            )
            joined = counts.join(test_counts, on="value")
            n_shared = joined.filter(pl.col("rows") > pl.col("test_rows"))["test_rows"].sum()
        else:
            n_shared = tested.is_in(values.unique().implode()).sum()
        if n_shared >= max(MIN_SHARED_FRACTION * test.height, 1):
            names.append(name)
    if not names:
        return ""
    return (
        f"possible leakage: rows of the same {join_names([repr(name) for name in names[:5]])} are in training and in "
        f"the test. If the model is for values that it has not seen, split the rows by them with --groups {names[0]}"
    )


def _min_entities(name: str) -> int:
    """Number of different values from which on a column of this name identifies entities; 0 if it never does."""
    words = [word.lower() for word in _WORD.findall(name)]
    if _ENTITY_NAME.fullmatch("".join(words)):
        return MIN_ENTITIES
    return MIN_IDS if "id" in (*words[:1], *words[-1:]) else 0
