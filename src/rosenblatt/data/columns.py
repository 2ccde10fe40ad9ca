"""In: a table as it was read, and its schema. Out: the typed table a network learns from, numbers and strings only.

The schema is found out once (`inference.py`), on the table that is learnt from, and saved with the model; every later
table is read by it.
"""

from __future__ import annotations

from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.data.cells import (
    BOOLEANS,
    NumberStyle,
    as_dates,
    clean,
    parse_dates,
    parse_numbers,
    part_of_dates,
)
from rosenblatt.errors import TableError, listed, nearest

Kind = Literal["number", "boolean", "category", "date", "identifier", "constant", "empty", "text", "nested"]

STRAYS = 0.02  # share of cells of another kind that are read as missing; beyond it the column is refused


class Column(BaseModel):
    """What one column of a table holds, and how its cells are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    style: NumberStyle = "plain"  # how numbers are written
    format: str = ""  # how dates are written, as in strptime
    parts: tuple[str, ...] = ()  # what is taken of dates
    markers: tuple[str, ...] = ()  # words of this column that stand for a missing number
    missing: int = 0
    distinct: int = 0
    note: str = ""

    @property
    def learnt(self) -> bool:
        """Whether a network learns from this column."""
        return self.kind in ("number", "boolean", "category", "date")

    def read(self, series: pl.Series) -> list[pl.Series]:
        """The typed columns made of this one, Float64 or String, null where missing. Raises TableError."""
        if self.kind == "number":
            return [self._numbers(series)]
        if self.kind == "date":
            dates = self._dates(series)
            return [part_of_dates(dates, part).alias(f"{self.name} ({part})") for part in self.parts]
        text = clean(series)
        if self.kind == "boolean":
            lower = text.str.to_lowercase()
            words = {word: str(value).lower() for word, value in BOOLEANS.items()}
            return [lower.replace(list(words), list(words.values())).alias(self.name)]
        return [text]

    def _numbers(self, series: pl.Series) -> pl.Series:
        if series.dtype.is_numeric() or series.dtype == pl.Boolean:
            numbers = series.cast(pl.Float64).fill_nan(None)
        else:
            text = clean(series)
            _, numbers = parse_numbers(text, self.style)
            self._refuse_strays(text.set(text.is_in(list(self.markers)).fill_null(False), None), numbers, "numbers")
        infinite = ~numbers.is_finite().fill_null(True)
        if infinite.any():
            raise TableError(
                f"Column {self.name!r} holds an infinite number in row {(infinite.arg_max() or 0) + 1}. "
                "Write a finite number there, or leave the cell empty if it is not known."
            )
        return numbers.alias(self.name)

    def _dates(self, series: pl.Series) -> pl.Series:
        if series.dtype.is_temporal():
            return as_dates(series)
        text = clean(series)
        dates = parse_dates(text, self.format) if self.format else text.str.to_datetime(strict=False)
        self._refuse_strays(text, dates, f"dates written as {self.format}")
        return dates

    def _refuse_strays(self, text: pl.Series, parsed: pl.Series, what: str) -> None:
        strays = text.filter(parsed.is_null() & text.is_not_null())
        if len(strays) > max(STRAYS * len(text), 1):
            raise TableError(
                f"Column {self.name!r} held {what} when the model learnt, but {len(strays)} of these {len(text)} "
                f"cells are none, such as {strays[0]!r}. Give the column the kind of values it had."
            )


class Schema(BaseModel):
    """The columns of a table that may be learnt from, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[Column, ...]

    @property
    def learnt(self) -> list[Column]:
        """The columns a network learns from."""
        return [column for column in self.columns if column.learnt]

    def read(self, frame: pl.DataFrame) -> pl.DataFrame:
        """A typed table of the columns that are learnt. Raises TableError where one is missing or of another kind."""
        absent = [column.name for column in self.learnt if column.name not in frame.columns]
        if absent:
            raise TableError(
                f"The table lacks {listed(absent)}, which the model learnt from; it has {listed(frame.columns)}."
                f"{nearest(absent[0], frame.columns)}"
            )
        return pl.DataFrame([series for column in self.learnt for series in column.read(frame[column.name])])


def of_types(frame: pl.DataFrame) -> Schema:
    """The schema of a data frame, whose columns' types say what they hold. Raises TableError for other types."""

    def column(series: pl.Series) -> Column:
        missing = series.null_count()
        if series.dtype == pl.Boolean:
            return Column(name=series.name, kind="boolean", missing=missing)
        if series.dtype.is_numeric():
            return Column(name=series.name, kind="number", missing=missing)
        if series.dtype.is_temporal():
            return Column(name=series.name, kind="date", parts=("day", "month", "weekday", "hour"), missing=missing)
        if series.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            return Column(name=series.name, kind="category", missing=missing)
        raise TableError(
            f"Column {series.name!r} holds values of type {series.dtype}, but numbers, strings, categories, booleans "
            "or dates were expected. Convert or drop it."
        )

    return Schema(columns=tuple(column(series) for series in frame))
