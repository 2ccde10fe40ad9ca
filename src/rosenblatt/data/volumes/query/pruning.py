"""Choose the metadata files that may hold samples of a condition, by the statistics of the log.

Statistics are bounds, and may be wider than the values: texts are shortened, times rounded to milliseconds, and bounds
of decimals to floats. NaN lies outside of the bounds of a column. What is not known excludes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np
import polars as pl

from rosenblatt.data.volumes.query.columns import TypedColumn, convert_value, find_column
from rosenblatt.data.volumes.query.comparisons import APPLY, compare_columns, compare_value
from rosenblatt.data.volumes.query.compile import compile_condition
from rosenblatt.data.volumes.query.conditions import (
    NEGATED,
    ColumnName,
    Combination,
    ComparisonCondition,
    Condition,
    InColumn,
    InValues,
    IsNull,
    Like,
    Not,
    Operator,
    Value,
)

ROWS = "rows"
MAX_VALUES = 100  # of a list that are looked for one by one
TIME_RESOLUTION = pl.duration(milliseconds=1)  # of bounds in a log
_UNKNOWN = pl.lit(True)  # there may be such a sample
_WILDCARD = re.compile(r"[%_\\]")
_KINDS = ("text", "number", "float", "date")  # of columns whose bounds exclude files


def prune(condition: Condition | None, schema: pl.Schema, files: pl.DataFrame) -> np.ndarray:
    """Choose the files that may hold samples of a condition.

    Args:
        condition: of a query.
        schema: columns of the volume.
        files: a row for each file: `rows`, and as far as they are known `min.x`, `max.x` and `null_count.x` of
            columns x, of the column's type.

    Returns:
        (files,) bool. No other file holds a sample of the condition.

    Raises QueryError if a column does not exist or has an unsuitable type.
    """
    if condition is None:
        return np.ones(files.height, bool)
    compile_condition(condition, schema)
    possible = _Statistics(schema, files.schema).is_possible(condition, negated=False)
    return files.select((possible.fill_null(value=True) & (pl.col(ROWS) > 0)).alias("possible")).to_series().to_numpy()


class _Statistics:
    """The expressions that say, of each file, whether a condition may be true for one of its samples."""

    def __init__(self, schema: pl.Schema, statistics: pl.Schema) -> None:
        self._schema, self._statistics = schema, statistics

    def is_possible(self, condition: Condition, *, negated: bool) -> pl.Expr:
        """Whether a condition, or its negation, may be true for a sample; null where that is not known."""
        match condition:
            case Not(inner):
                return self.is_possible(inner, negated=not negated)
            case Combination(operator, conditions):
                parts = [self.is_possible(inner, negated=negated).fill_null(value=True) for inner in conditions]
                return pl.all_horizontal(parts) if (operator == "and") != negated else pl.any_horizontal(parts)
            case IsNull(column):
                nulls = self._nulls(column)
                return nulls < pl.col(ROWS) if negated else nulls > 0
            case ComparisonCondition(column, operator, operand):
                return self._has_values(column) & self._compare(column, operator, operand, negated=negated)
            case InValues(column, values):
                return self._has_values(column) & self._is_in(column, values, negated=negated)
            case Like(column):
                return self._has_values(column) & (_UNKNOWN if negated else self._begins_with(condition))
            case InColumn(_, column):
                return self._has_values(column)

    def _nulls(self, column: ColumnName) -> pl.Expr:
        name = f"null_count.{column.name}"
        return (
            pl.col(name) if name in self._statistics and column.name in self._schema else pl.lit(None, dtype=pl.Int64)
        )

    def _has_values(self, column: ColumnName) -> pl.Expr:
        return (self._nulls(column) < pl.col(ROWS)).fill_null(value=True)

    def _bounds(self, node: ColumnName) -> tuple[TypedColumn, TypedColumn] | None:
        """Lower and upper bound of a column; None if there are none that hold."""
        column, (low, high) = find_column(node, self._schema), (f"{name}.{node.name}" for name in ("min", "max"))
        types = {self._statistics.get(low), self._statistics.get(high)}
        is_field = node.name not in self._schema  # of structs, some of which may be missing
        if is_field or types != {column.dtype} or column.kind not in _KINDS or isinstance(column.dtype, pl.Decimal):
            return None
        bounds = pl.col(low), pl.col(high)
        if isinstance(column.dtype, pl.Datetime):
            bounds = bounds[0] - TIME_RESOLUTION, bounds[1] + TIME_RESOLUTION
        elif column.kind == "float":
            bounds = bounds[0].fill_nan(None), bounds[1].fill_nan(None)
        return replace(column, values=bounds[0]), replace(column, values=bounds[1])

    def _compare(
        self, column: ColumnName, operator: Operator, operand: ColumnName | Value, *, negated: bool
    ) -> pl.Expr:
        bounds = self._bounds(column)
        operator = NEGATED[operator] if negated else operator
        if bounds is None or (bounds[0].kind == "float" and (negated or operator == "!=")):
            return _UNKNOWN
        if isinstance(operand, Value):
            return _compare_bounds(*bounds, operator, operand)
        others = self._bounds(operand)
        if others is None or operator == "!=" or (others[0].kind == "float" and negated) or bounds[0].kind == "text":
            return _UNKNOWN
        parts = []
        if operator in ("<", "<=", "="):
            parts.append(compare_columns(bounds[0], "<=" if operator == "=" else operator, others[1]))
        if operator in (">", ">=", "="):
            parts.append(compare_columns(bounds[1], ">=" if operator == "=" else operator, others[0]))
        return self._has_values(operand) & pl.all_horizontal(parts)

    def _is_in(self, column: ColumnName, values: Sequence[Value], *, negated: bool) -> pl.Expr:
        if self._bounds(column) is None or (len(values) > MAX_VALUES and negated):
            return _UNKNOWN
        if len(values) > MAX_VALUES:
            return self._is_within(column, values)
        parts = [self._compare(column, "=", value, negated=negated).fill_null(value=True) for value in values]
        return pl.all_horizontal(parts) if negated else pl.any_horizontal(parts)

    def _is_within(self, column: ColumnName, values: Sequence[Value]) -> pl.Expr:
        """Whether there may be values between the smallest and the largest of many."""
        typed = find_column(column, self._schema)
        ordered = sorted((convert_value(typed, value), i) for i, value in enumerate(values) if not _is_nan(value))
        if len(ordered) < len(values):
            return _UNKNOWN
        low, high = (values[i] for _, i in (ordered[0], ordered[-1]))
        return self._compare(column, ">=", low, negated=False) & self._compare(column, "<=", high, negated=False)

    def _begins_with(self, like: Like) -> pl.Expr:
        """Whether there may be texts that begin as a pattern does."""
        prefix, bounds = _WILDCARD.split(like.pattern, maxsplit=1)[0], self._bounds(like.column)
        if bounds is None or like.ignores_case:
            return _UNKNOWN
        low, high = bounds[0].values, bounds[1].values
        is_low_enough = (low < prefix) | low.str.starts_with(prefix)
        return is_low_enough & _reaches(high, ">=", prefix)


def _compare_bounds(low: TypedColumn, high: TypedColumn, operator: Operator, value: Value) -> pl.Expr:
    """Whether a value between two bounds may compare to a value in this way."""
    if _is_nan(value):
        return _UNKNOWN
    match operator:
        case "=":
            return _compare_bounds(low, high, "<=", value) & _compare_bounds(low, high, ">=", value)
        case "!=":
            is_exact = low.dtype.is_integer() or low.dtype == pl.Date
            return ~(compare_value(low, "=", value) & compare_value(high, "=", value)) if is_exact else _UNKNOWN
        case "<" | "<=":
            return compare_value(low, operator, value)
    if low.kind == "text" and isinstance(value.value, str):
        return _reaches(high.values, operator, value.value)
    return compare_value(high, operator, value)


def _reaches(high: pl.Expr, operator: Operator, text: str) -> pl.Expr:
    """Whether texts up to a bound, which may have been shortened, may be after a text."""
    return APPLY[operator](high, pl.lit(text)) | pl.lit(text).str.starts_with(high)


def _is_nan(value: Value) -> bool:
    return isinstance(value.value, Decimal) and value.value.is_nan()
