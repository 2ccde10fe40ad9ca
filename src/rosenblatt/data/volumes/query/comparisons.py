"""Comparisons of typed columns with values and with each other, as Polars expressions that are exact and keep nulls.

Whole numbers, decimals, dates and times are compared as whole numbers of a unit, so that none of them is rounded. As
for floats of IEEE 754, comparisons with NaN are false and `!=` is true, but `= nan` finds NaN.
"""

from __future__ import annotations

import math
import operator as py
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.volumes.query.columns import TypedColumn, convert_value, time_zone
from rosenblatt.data.volumes.query.conditions import FLIPPED, Operator, Value

APPLY: dict[Operator, Callable[[Any, Any], Any]] = {
    "=": py.eq, "!=": py.ne, "<": py.lt, "<=": py.le, ">": py.gt, ">=": py.ge,
}  # fmt: skip
MAX_INTEGER = 2.0**65  # beyond all whole numbers of 64 bits, and exact as a float
MAX_DIGITS = 38  # of numbers of 128 bits
MAX_UNITS = 2**126  # beyond all whole numbers of 38 digits


def compare_value(column: TypedColumn, operator: Operator, value: Value) -> pl.Expr:
    """Compare a column with a value. Raises QueryError if their types differ."""
    if column.kind == "null":
        return _constant(column, False)
    operand = convert_value(column, value)
    if column.kind == "boolean" and operator not in ("=", "!="):
        raise value.place.error(f"Expected = or != to compare with {column}, but got {operator}")
    if isinstance(operand, str | bool):
        return APPLY[operator](column.texts if isinstance(operand, str) else column.values, pl.lit(operand))
    if isinstance(operand, Fraction):
        return _compare_units(column, operator, operand)
    if not math.isnan(operand):
        return _compare_float(column, operator, operand)
    if operator not in ("=", "!="):
        raise value.place.error(f"Expected = or != to compare with nan, which has no order, but got {operator}")
    is_nan = column.values.is_nan() if column.kind == "float" else _constant(column, False)
    return is_nan if operator == "=" else ~is_nan


def equals_any(column: TypedColumn, values: Sequence[Value]) -> pl.Expr:
    """Whether each value of a column is one of several. Raises QueryError if a type differs."""
    if column.kind in ("null", "boolean", "other"):
        return pl.any_horizontal([compare_value(column, "=", value) for value in values])
    operands = [convert_value(column, value) for value in values]
    if column.kind == "text":
        return column.texts.is_in(pl.lit(pl.Series(operands, dtype=pl.String)).implode())
    if column.kind == "float":
        floats = [number for number in operands if isinstance(number, float)]
        numbers = pl.Series([number for number in floats if _is_representable(column, number)], dtype=column.dtype)
        is_equal = column.values.is_in(pl.lit(numbers).implode())
        return is_equal | column.values.is_nan() if any(map(math.isnan, floats)) else is_equal
    units = [n.numerator for n in operands if isinstance(n, Fraction) and n.denominator == 1 and abs(n) < MAX_UNITS]
    return column.units.is_in(pl.lit(pl.Series(units, dtype=pl.Int128)).implode())


def compare_columns(left: TypedColumn, operator: Operator, right: TypedColumn) -> pl.Expr:
    """Compare two columns. Raises QueryError if their types cannot be compared."""
    match left.kind, right.kind:
        case ("null", _) | (_, "null"):
            return pl.lit(None, dtype=pl.Boolean)
        case "text", "text":
            return APPLY[operator](left.texts, right.texts)
        case "boolean", "boolean" if operator in ("=", "!="):
            return APPLY[operator](left.values, right.values)
        case "float", "number":
            return compare_columns(right, FLIPPED[operator], left)
        case "number", "float" if left.dtype.is_integer():
            compared = _compare_integers(left.units, operator, right.values)
            return _resolve_nan(left.values.cast(pl.Float64), operator, right.values, compared)
        case ("number" | "float", "float"):
            floats = left.values.cast(pl.Float64), right.values.cast(pl.Float64)
            return _resolve_nan(floats[0], operator, floats[1], APPLY[operator](*floats))
        case ("number", "number") | ("date", "date") | ("time", "time") if _have_common_unit(left, right):
            unit = min(left.unit, right.unit)
            return APPLY[operator](*(column.units * int(column.unit / unit) for column in (left, right)))
    raise right.node.place.error(f"Expected a column that {operator} can compare with {left}, but got {right}")


def _constant(column: TypedColumn, value: bool) -> pl.Expr:
    """The same result for all values, and null where the column is null."""
    return pl.when(column.values.is_not_null()).then(pl.lit(value))


def _compare_units(column: TypedColumn, operator: Operator, number: Fraction) -> pl.Expr:
    """Compare whole numbers of a unit with any number."""
    if operator in ("=", "!=") and number.denominator != 1:
        return _constant(column, operator == "!=")
    bound = math.floor(number) if operator in ("<=", ">") else math.ceil(number)
    return APPLY[operator](column.units, pl.lit(max(-MAX_UNITS, min(bound, MAX_UNITS)), dtype=pl.Int128))


def _compare_float(column: TypedColumn, operator: Operator, number: float) -> pl.Expr:
    """Compare floats with a number, rounded to their type as their values are."""
    is_representable = _is_representable(column, number)
    values = column.values if is_representable else column.values.cast(pl.Float64)
    compared = APPLY[operator](values, pl.lit(number, dtype=column.dtype if is_representable else pl.Float64))
    is_true_for_nan = operator in (">", ">=")  # in Polars, for which NaN is the largest number
    return compared & column.values.is_not_nan() if is_true_for_nan else compared


def _is_representable(column: TypedColumn, number: float) -> bool:
    """Whether a float can be rounded to the type of a column; NaN is not a number."""
    if column.dtype == pl.Float64 or math.isinf(number):
        return not math.isnan(number)
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.float32(number)))


def _compare_integers(integers: pl.Expr, operator: Operator, floats: pl.Expr) -> pl.Expr:
    """Compare integers with floats without rounding either."""
    clipped = floats.clip(-MAX_INTEGER, MAX_INTEGER)
    bounds = (clipped.floor() if operator in ("<=", ">") else clipped.ceil()).cast(pl.Int128, strict=False)
    compared = APPLY[operator](integers, bounds)
    if operator in ("=", "!="):
        is_whole = clipped == clipped.floor()
        return compared & is_whole if operator == "=" else compared | ~is_whole
    return compared


def _resolve_nan(left: pl.Expr, operator: Operator, right: pl.Expr, compared: pl.Expr) -> pl.Expr:
    """The result of a comparison, with that of IEEE 754 where a value is NaN, and null where one is null."""
    has_nan = left.is_nan() | right.is_nan()
    has_null = left.is_null() | right.is_null()
    return pl.when(has_null).then(None).when(has_nan).then(pl.lit(operator == "!=")).otherwise(compared)


def _have_common_unit(left: TypedColumn, right: TypedColumn) -> bool:
    """Whether both or neither have a time zone, and their values fit into 128 bits in the smaller unit."""
    zones = {time_zone(column.dtype) is None for column in (left, right)}
    digits = [
        column.dtype.precision + math.log10(column.unit / min(left.unit, right.unit))
        for column in (left, right)
        if isinstance(column.dtype, pl.Decimal)
    ]
    return len(zones) == 1 and max(digits, default=0) <= MAX_DIGITS
