"""Types of the columns of typed tables, as plain data; and text columns as columns of the types that they hold."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.schema.date_patterns import TIME
from rosenblatt.data.schema.decimal_marks import detect_marks
from rosenblatt.data.schema.inference import infer_column
from rosenblatt.data.table import TableFormat
from rosenblatt.errors import TableError

_SIMPLE = {
    str(dtype): dtype
    for dtype in (
        pl.Boolean, pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64,
        pl.Float32, pl.Float64, pl.String, pl.Date, pl.Time, pl.Categorical,
    )
}  # fmt: skip
_TIME_FORMATS = {"Date": "%Y-%m-%d", "Time": "%H:%M:%S%.f", "Datetime": "%Y-%m-%d %H:%M:%S%.f"}  # of text in Polars


class CellType(BaseModel):
    """The type of a column of words, numbers or times."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # as in Polars
    time_unit: str = ""
    time_zone: str | None = None
    precision: int | None = None
    scale: int = 0
    categories: tuple[str, ...] = ()

    @classmethod
    def from_dtype(cls, dtype: pl.DataType) -> Self | None:
        """The type as plain data; None for types of other cells, such as lists."""
        if isinstance(dtype, pl.Datetime):
            return cls(name="Datetime", time_unit=dtype.time_unit, time_zone=dtype.time_zone)
        if isinstance(dtype, pl.Decimal):
            return cls(name="Decimal", precision=dtype.precision, scale=dtype.scale)
        if isinstance(dtype, pl.Enum):
            return cls(name="Enum", categories=tuple(dtype.categories))
        name = str(dtype.base_type())
        return cls(name=name) if name in _SIMPLE else None

    def to_dtype(self) -> pl.DataType:
        """The type in Polars."""
        if self.name == "Datetime":
            return pl.Datetime(self.time_unit, self.time_zone)  # type: ignore[arg-type]
        if self.name == "Decimal":
            return pl.Decimal(self.precision, self.scale)
        return pl.Enum(self.categories) if self.name == "Enum" else _SIMPLE[self.name]()


def make_values(name: str, values: Sequence[Any], cell_type: CellType | None) -> pl.Series:
    """Make a column of words, numbers or booleans, in this type if it can hold them."""
    is_text = all(isinstance(value, str) for value in values)
    if cell_type is not None:
        with suppress(pl.exceptions.PolarsError, TypeError, OverflowError):
            dtype = cell_type.to_dtype()
            if is_text and dtype.is_temporal():
                time_format = _TIME_FORMATS[cell_type.name] + ("%z" if cell_type.time_zone else "")
                return pl.Series(name, values, pl.String).str.strptime(dtype, time_format)  # type: ignore[arg-type]
            return pl.Series(name, values, pl.String).cast(dtype) if is_text else pl.Series(name, values, dtype)
    try:
        return pl.Series(name, values, pl.String if is_text else None)
    except TypeError:  # of several types
        return pl.Series(name, list(map(str, values)))


def to_typed_columns(frame: pl.DataFrame, schema: Schema, format: TableFormat) -> pl.DataFrame:
    """The columns of a table as they are read: numbers, dates, and true or false instead of text.

    Args:
        frame: the table as read.
        schema: how some of the columns are read; others are read as their values suggest.
        format: how the table is written.
    """
    columns = {column.name: column for column in schema.columns}
    marks, typed = detect_marks(frame, format), list[pl.Series]()
    for series in frame:
        try:
            column = columns.get(series.name) or infer_column(series, 1, format, marks)
            typed.append(_to_typed(column, series))
        except TableError:  # cells that cannot be read stay as they are
            typed.append(series)
    return pl.DataFrame(typed)


def _to_typed(column: Column, series: pl.Series) -> pl.Series:
    if series.dtype != pl.String:
        return series
    integers = series.str.strip_chars().cast(pl.Int64, strict=False)
    if column.kind == "number":
        numbers = column.sort_key(series)
        return integers if integers.cast(pl.Float64).eq_missing(numbers).all() else numbers
    if column.kind == "date":
        dates = column.sort_key(series)
        if TIME in column.date_format.layouts:
            return dates.dt.time()
        has_time = bool((dates.dt.truncate("1d") != dates).any())
        return dates if has_time else dates.cast(pl.Date)
    if column.kind == "boolean":
        return column.read(series)[0] == "true"
    is_written_as_integers = len(integers) > 0 and (integers.cast(pl.String) == series).fill_null(False).all()
    return integers if is_written_as_integers else series
