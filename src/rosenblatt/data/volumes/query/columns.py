"""Columns of a volume as queries see them: the kind of their values, and values of a query converted to their type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import polars as pl

from rosenblatt.data.volumes.query.conditions import ColumnName, Value
from rosenblatt.data.volumes.query.instants import parse_instant, parse_time_of_day
from rosenblatt.errors import QueryError, did_you_mean, format_list

Kind: TypeAlias = Literal["text", "boolean", "number", "float", "date", "time", "null", "other"]
BEYOND_ALL_RANGES = Fraction(2**200)  # stands for infinity among whole numbers
NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6}
NANOSECONDS_PER_DAY = 86_400 * 10**9
_EXPECTED: dict[Kind, str] = {
    "text": "a text in quotes",
    "boolean": "true or false",
    "number": "a number",
    "float": "a number",
    "date": "a date such as '2024-01-31' or '2024-01-31 14:30'",
    "time": "a time such as '14:30'",
}


@dataclass(frozen=True)
class TypedColumn:
    """A column of a query, with its type and the expression of its values."""

    node: ColumnName
    dtype: pl.DataType
    values: pl.Expr
    source: str  # the column of the volume that has to be read

    def __str__(self) -> str:
        return f"column {self.node.name!r} ({self.dtype})"

    @property
    def kind(self) -> Kind:
        """What its values can be compared with."""
        match self.dtype:
            case pl.String() | pl.Categorical() | pl.Enum():
                return "text"
            case pl.Boolean():
                return "boolean"
            case pl.Float32() | pl.Float64():
                return "float"
            case pl.Date() | pl.Datetime():
                return "date"
            case pl.Time():
                return "time"
            case pl.Null():
                return "null"
        return "number" if self.dtype.is_integer() or isinstance(self.dtype, pl.Decimal) else "other"

    @property
    def unit(self) -> Fraction:
        """One unit of the whole numbers that represent its values: in ones (numbers), or in nanoseconds (times)."""
        match self.dtype:
            case pl.Decimal():
                return Fraction(1, 10**self.dtype.scale)
            case pl.Date():
                return Fraction(NANOSECONDS_PER_DAY)
            case pl.Datetime():
                return Fraction(NANOSECONDS[self.dtype.time_unit])
        return Fraction(1)

    @property
    def units(self) -> pl.Expr:
        """Its numbers, dates or times as whole numbers of the unit, of 128 bits."""
        return self.values.to_physical().cast(pl.Int128)

    @property
    def texts(self) -> pl.Expr:
        """Its texts as a column of type String."""
        return self.values if self.dtype == pl.String else self.values.cast(pl.String)


def is_list(dtype: pl.DataType) -> bool:
    """Whether the values of a type are lists."""
    return isinstance(dtype, pl.List | pl.Array)


def time_zone(dtype: pl.DataType) -> str | None:
    """The time zone of a date and time; None if the type has none."""
    return dtype.time_zone if isinstance(dtype, pl.Datetime) else None


def find_column(node: ColumnName, schema: pl.Schema) -> TypedColumn:
    """Look up a column, or a field of a column of structs such as `camera.model`.

    Raises QueryError if it does not exist, and suggests the most similar one.
    """
    if node.name in schema:
        return TypedColumn(node, schema[node.name], pl.col(node.name), node.name)
    fields = {
        field: (dtype, values, name)
        for name, column_type in schema.items()
        for field, dtype, values in _fields(name, column_type, pl.col(name))
    }
    if node.name in fields:
        return TypedColumn(node, *fields[node.name])
    suggestion = did_you_mean(node.name, [*schema, *fields]).strip()
    value = "a value (texts in quotes) or " if node.may_be_text else ""
    raise node.place.error(
        f"Expected {value}a column, one of {format_list(schema, 20)}{suggestion and f' ({suggestion})'}, but got "
        f"{node.name!r}"
    )


def _fields(name: str, dtype: pl.DataType, values: pl.Expr) -> Iterator[tuple[str, pl.DataType, pl.Expr]]:
    """The fields of a column of structs and of structs in it: names with dots, types and values."""
    for field in dtype.fields if isinstance(dtype, pl.Struct) else ():
        inner, path = as_instance(field.dtype), f"{name}.{field.name}"
        yield path, inner, values.struct.field(field.name)
        yield from _fields(path, inner, values.struct.field(field.name))


def as_instance(dtype: Any) -> pl.DataType:
    """A type within another one, which may be given as a class."""
    instance: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return instance


def convert_value(column: TypedColumn, value: Value) -> str | bool | float | Fraction:
    """Convert a value to the type of a column: dates, times and exact numbers to a number of its units.

    Raises QueryError if it has another type.
    """
    try:
        return _convert(column, value)
    except (ValueError, TypeError, OverflowError):
        raise _type_error(column, value) from None


def _convert(column: TypedColumn, value: Value) -> str | bool | float | Fraction:
    content = value.value
    match column.kind, content:
        case "text", str(text) if not value.is_date:
            return text
        case "boolean", bool(flag):
            return flag
        case "float", Decimal():
            return float(content)
        case "number", Decimal():
            return _exact_number(content) / column.unit if not content.is_nan() else float("nan")
        case "time", str():
            return Fraction(parse_time_of_day(content))
        case "date", str() | Decimal():
            return parse_instant(str(content), time_zone(column.dtype)) / column.unit
    raise TypeError(content)


def _exact_number(number: Decimal) -> Fraction:
    if number.is_infinite():
        return BEYOND_ALL_RANGES if number > 0 else -BEYOND_ALL_RANGES
    return Fraction(number)


def _type_error(column: TypedColumn, value: Value) -> QueryError:
    content = value.value
    if value.place == column.node.place:
        return value.place.error(f"Expected an operator such as = or < after {column}, which is not true or false")
    if column.kind == "other":
        hint = f"; to search its lists, write {_format(value)} in {column.node.name}" if is_list(column.dtype) else ""
        if isinstance(column.dtype, pl.Struct):
            fields = [name for name, _, _ in _fields(column.node.name, column.dtype, column.values)]
            hint = f"; it has the fields {format_list(fields)}"
        return value.place.error(f"Expected 'is null' or 'is not null', because {column} cannot be compared{hint}")
    expected, hint = _EXPECTED[column.kind], ""
    if column.kind == "text":
        hint = f"; write it as '{content}'" if not isinstance(content, bool) else ""
    elif isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is None:
        expected += " without an offset"
    return value.place.error(f"Expected {expected} to compare with {column}, but got {_format(value)}{hint}")


def _format(value: Value) -> str:
    return repr(value.value) if isinstance(value.value, str) and not value.is_date else str(value.value).lower()
