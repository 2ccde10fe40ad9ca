"""The schema of a table, and the typed table (numbers and strings only) that it makes of a table as read.

The schema is found out once (`inference.py`), on the table that is learnt from, and saved with the model; every later
table is read by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.data.media.columns import MEDIA_KINDS, medium_kind, to_media_column
from rosenblatt.data.schema.cells import (
    BOOLEANS,
    NumberStyle,
    as_dates,
    date_feature,
    normalize_cells,
    parse_dates,
    parse_numbers,
)
from rosenblatt.errors import TableError, did_you_mean, format_list

Kind = Literal[
    "number", "boolean", "category", "date", "identifier", "constant", "empty", "text", "nested", "image", "sequence"
]

MAX_STRAY_FRACTION = 0.02  # share of cells of another kind that are read as missing; beyond it the column is refused


class Column(BaseModel):
    """What one column of a table holds, and how its cells are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    number_style: NumberStyle = "plain"  # how numbers are written
    date_format: str = ""  # how dates are written, as in strptime
    date_parts: tuple[str, ...] = ()  # what is taken of dates
    markers: tuple[str, ...] = ()  # words of this column that stand for a missing number
    missing: int = 0
    distinct: int = 0
    note: str = ""
    include: bool = False  # whether a network that takes images, texts or sequences learns from this one

    @property
    def is_input(self) -> bool:
        """Whether a network learns from this column."""
        return self.include or self.kind in ("number", "boolean", "category", "date")

    def sort_key(self, series: pl.Series) -> pl.Series:
        """The values that the column's rows are ordered by: dates, numbers, or text."""
        if self.kind == "date":
            return self._dates(series)
        return self._numbers(series) if self.kind == "number" else series

    def read(self, series: pl.Series, messages: list[str] | None = None) -> list[pl.Series]:
        """The typed columns made of this one, Float64 or String, null where missing. Raises TableError."""
        if self.kind in MEDIA_KINDS:
            return [to_media_column(series, self.kind)]
        if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
            raise TableError(
                f"Column {self.name!r} held {self.kind}s when the model learnt, but now {series.dtype} cells."
            )
        if self.kind == "number":
            return [self._numbers(series, messages)]
        if self.kind == "date":
            dates = self._dates(series, messages)
            return [date_feature(dates, part).alias(f"{self.name} ({part})") for part in self.date_parts]
        text = normalize_cells(series)
        if self.kind == "boolean":
            return [self._booleans(text, messages)]
        return [text]

    def _numbers(self, series: pl.Series, messages: list[str] | None = None) -> pl.Series:
        if series.dtype.is_numeric() or series.dtype == pl.Boolean:
            numbers = series.cast(pl.Float64).fill_nan(None)
        else:
            text = normalize_cells(series)
            _, numbers = parse_numbers(text, self.number_style)
            self._report_strays(
                text.set(text.is_in(list(self.markers)).fill_null(False), None), numbers, "numbers", messages
            )
        infinite = ~numbers.is_finite().fill_null(True)
        if infinite.any():
            raise TableError(
                f"Column {self.name!r} holds an infinite number in row {(infinite.arg_max() or 0) + 1}. "
                "Write a finite number there, or leave the cell empty if it is not known."
            )
        return numbers.alias(self.name)

    def _booleans(self, text: pl.Series, messages: list[str] | None) -> pl.Series:
        words = {word: str(value).lower() for word, value in BOOLEANS.items()} | {"1": "true", "0": "false"}
        values = text.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.String)
        self._report_strays(text, values, "yes or no", messages)
        return values.alias(self.name)

    def _dates(self, series: pl.Series, messages: list[str] | None = None) -> pl.Series:
        if series.dtype.is_temporal():
            return as_dates(series)
        text = normalize_cells(series)
        dates = parse_dates(text, self.date_format or "%Y-%m-%d %H:%M:%S%.f").fill_null(parse_dates(text, "%Y-%m-%d"))
        self._report_strays(
            text, dates, f"dates written as {self.date_format}" if self.date_format else "dates", messages
        )
        return dates

    def _report_strays(self, text: pl.Series, parsed: pl.Series, expected: str, messages: list[str] | None) -> None:
        """Say which cells cannot be read, and are missing therefore; refuse the column if they are many."""
        strays = text.filter(parsed.is_null() & text.is_not_null())
        if len(strays) > max(MAX_STRAY_FRACTION * len(text), 1):
            raise TableError(
                f"Column {self.name!r} held {expected} when the model learnt, but {len(strays)} of these {len(text)} "
                f"cells are none, such as {strays[0]!r}. Give the column the kind of values it had."
            )
        if len(strays) and messages is not None:
            messages.append(
                f"{self.name}: {strays[0]!r} and whatever else is not {expected} ({len(strays)} cells) is read as "
                "missing"
            )


class Schema(BaseModel):
    """The columns of a table that may be learnt from, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[Column, ...]

    @property
    def input_columns(self) -> list[Column]:
        """The columns a network learns from."""
        return [column for column in self.columns if column.is_input]

    def with_identifiers(self, names: Sequence[str]) -> Schema:
        """This schema, but identifiers of these names are learnt from, as numbers or categories."""

        def include(column: Column) -> Column:
            if column.name not in names or column.kind != "identifier":
                return column
            kind = "number" if column.note.startswith("a number") else "category"
            return column.model_copy(update={"kind": kind, "note": "learnt from, as asked"})

        return Schema(columns=tuple(include(column) for column in self.columns))

    def with_media(self, kinds: Sequence[str]) -> Schema:
        """This schema, but columns of these kinds (image, text, sequence) are learnt from."""

        def include(column: Column) -> Column:
            return column.model_copy(update={"include": True, "note": ""}) if column.kind in kinds else column

        return Schema(columns=tuple(include(column) for column in self.columns))

    def as_texts(self, names: Sequence[str]) -> Schema:
        """This schema, but columns of these names are texts."""

        def text(column: Column) -> Column:
            return column.model_copy(update={"kind": "text"}) if column.name in names else column

        return Schema(columns=tuple(text(column) for column in self.columns))

    @property
    def media_columns(self) -> list[Column]:
        """The columns of images, texts and sequences that are learnt from."""
        return [column for column in self.input_columns if column.kind in MEDIA_KINDS]

    def read(self, frame: pl.DataFrame, messages: list[str] | None = None) -> pl.DataFrame:
        """A typed table of the columns that are learnt. Raises TableError where one is missing or of another kind."""
        missing = [column.name for column in self.input_columns if column.name not in frame.columns]
        if missing:
            raise TableError(
                f"The table lacks {format_list(missing)}, which the model learnt from; it has "
                f"{format_list(frame.columns)}.{did_you_mean(missing[0], frame.columns)}"
            )
        return pl.DataFrame([series for _, typed_columns in self.parts(frame, messages) for series in typed_columns])

    def parts(self, frame: pl.DataFrame, messages: list[str] | None = None) -> Iterator[tuple[Column, list[pl.Series]]]:
        """Each column that is learnt, and the typed columns made of it, whose names all differ."""
        used_names = {column.name for column in self.input_columns}
        for column in self.input_columns:
            typed_columns = column.read(frame[column.name], messages)
            for i, series in enumerate(typed_columns):
                name = series.name
                while column.kind == "date" and name in used_names:
                    name += "'"
                used_names.add(name)
                typed_columns[i] = series.alias(name)
            yield column, typed_columns


def schema_from_dtypes(frame: pl.DataFrame) -> Schema:
    """The schema of a data frame, whose columns' types say what they hold. Raises TableError for other types."""

    def column(series: pl.Series) -> Column:
        missing = series.null_count()
        if series.dtype == pl.Boolean:
            return Column(name=series.name, kind="boolean", missing=missing)
        if series.dtype.is_numeric():
            return Column(name=series.name, kind="number", missing=missing)
        if series.dtype.is_temporal():
            return Column(
                name=series.name, kind="date", date_parts=("day", "month", "weekday", "hour"), missing=missing
            )
        if medium_kind(series.dtype) or series.dtype in (pl.List, pl.Array):
            kind = medium_kind(series.dtype) or "sequence"
            return Column(name=series.name, kind=kind, missing=missing, include=True)
        if series.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            return Column(name=series.name, kind="category", missing=missing)
        raise TableError(
            f"Column {series.name!r} holds values of type {series.dtype}, but numbers, strings, categories, booleans "
            "or dates were expected. Convert or drop it."
        )

    return Schema(columns=tuple(column(series) for series in frame))
