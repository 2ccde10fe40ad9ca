"""In: a table as it was read, and its schema. Out: the typed table a network learns from, numbers and strings only.

The schema is found out once (`inference.py`), on the table that is learnt from, and saved with the model; every later
table is read by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.data.media.columns import KINDS as MEDIA
from rosenblatt.data.media.columns import as_medium, medium_of
from rosenblatt.data.schema.cells import (
    BOOLEANS,
    NumberStyle,
    as_dates,
    clean,
    parse_dates,
    parse_numbers,
    part_of_dates,
)
from rosenblatt.errors import TableError, listed, nearest

Kind = Literal[
    "number", "boolean", "category", "date", "identifier", "constant", "empty", "text", "nested", "image", "sequence"
]

Say = Callable[[str], None]

STRAYS = 0.02  # share of cells of another kind that are read as missing; beyond it the column is refused


def ignore(_: str) -> None:
    """Say nothing."""


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
    asked: bool = False  # whether a network that takes images, texts or sequences learns from this one

    @property
    def learnt(self) -> bool:
        """Whether a network learns from this column."""
        return self.asked or self.kind in ("number", "boolean", "category", "date")

    def in_order(self, series: pl.Series) -> pl.Series:
        """The values that the column's rows are ordered by: dates, numbers, or text."""
        if self.kind == "date":
            return self._dates(series, ignore)
        return self._numbers(series, ignore) if self.kind == "number" else series

    def read(self, series: pl.Series, say: Say = ignore) -> list[pl.Series]:
        """The typed columns made of this one, Float64 or String, null where missing. Raises TableError."""
        if self.kind in MEDIA:
            return [as_medium(series, self.kind)]
        if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
            raise TableError(
                f"Column {self.name!r} held {self.kind}s when the model learnt, but now {series.dtype} cells."
            )
        if self.kind == "number":
            return [self._numbers(series, say)]
        if self.kind == "date":
            dates = self._dates(series, say)
            return [part_of_dates(dates, part).alias(f"{self.name} ({part})") for part in self.parts]
        text = clean(series)
        if self.kind == "boolean":
            return [self._booleans(text, say)]
        return [text]

    def _numbers(self, series: pl.Series, say: Say) -> pl.Series:
        if series.dtype.is_numeric() or series.dtype == pl.Boolean:
            numbers = series.cast(pl.Float64).fill_nan(None)
        else:
            text = clean(series)
            _, numbers = parse_numbers(text, self.style)
            self._strays(text.set(text.is_in(list(self.markers)).fill_null(False), None), numbers, "numbers", say)
        infinite = ~numbers.is_finite().fill_null(True)
        if infinite.any():
            raise TableError(
                f"Column {self.name!r} holds an infinite number in row {(infinite.arg_max() or 0) + 1}. "
                "Write a finite number there, or leave the cell empty if it is not known."
            )
        return numbers.alias(self.name)

    def _booleans(self, text: pl.Series, say: Say) -> pl.Series:
        words = {word: str(value).lower() for word, value in BOOLEANS.items()} | {"1": "true", "0": "false"}
        read = text.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.String)
        self._strays(text, read, "yes or no", say)
        return read.alias(self.name)

    def _dates(self, series: pl.Series, say: Say) -> pl.Series:
        if series.dtype.is_temporal():
            return as_dates(series)
        text = clean(series)
        dates = parse_dates(text, self.format or "%Y-%m-%d %H:%M:%S%.f").fill_null(parse_dates(text, "%Y-%m-%d"))
        self._strays(text, dates, f"dates written as {self.format}" if self.format else "dates", say)
        return dates

    def _strays(self, text: pl.Series, read: pl.Series, what: str, say: Say) -> None:
        """Say which cells cannot be read, and are missing therefore; refuse the column if they are many."""
        strays = text.filter(read.is_null() & text.is_not_null())
        if len(strays) > max(STRAYS * len(text), 1):
            raise TableError(
                f"Column {self.name!r} held {what} when the model learnt, but {len(strays)} of these {len(text)} "
                f"cells are none, such as {strays[0]!r}. Give the column the kind of values it had."
            )
        if len(strays):
            say(f"{self.name}: {strays[0]!r} and whatever else is not {what} ({len(strays)} cells) is read as missing")


class Schema(BaseModel):
    """The columns of a table that may be learnt from, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[Column, ...]

    @property
    def learnt(self) -> list[Column]:
        """The columns a network learns from."""
        return [column for column in self.columns if column.learnt]

    def keeping(self, names: Sequence[str]) -> Schema:
        """This schema, but identifiers of these names are learnt from, as numbers or categories."""

        def kept(column: Column) -> Column:
            if column.name not in names or column.kind != "identifier":
                return column
            kind = "number" if column.note.startswith("a number") else "category"
            return column.model_copy(update={"kind": kind, "note": "learnt from, as asked"})

        return Schema(columns=tuple(kept(column) for column in self.columns))

    def with_media(self, kinds: Sequence[str]) -> Schema:
        """This schema, but columns of these kinds (image, text, sequence) are learnt from."""

        def asked(column: Column) -> Column:
            return column.model_copy(update={"asked": True, "note": ""}) if column.kind in kinds else column

        return Schema(columns=tuple(asked(column) for column in self.columns))

    def as_texts(self, names: Sequence[str]) -> Schema:
        """This schema, but columns of these names are texts."""

        def text(column: Column) -> Column:
            return column.model_copy(update={"kind": "text"}) if column.name in names else column

        return Schema(columns=tuple(text(column) for column in self.columns))

    @property
    def media(self) -> list[Column]:
        """The columns of images, texts and sequences that are learnt from."""
        return [column for column in self.learnt if column.kind in MEDIA]

    def read(self, frame: pl.DataFrame, say: Say = ignore) -> pl.DataFrame:
        """A typed table of the columns that are learnt. Raises TableError where one is missing or of another kind."""
        absent = [column.name for column in self.learnt if column.name not in frame.columns]
        if absent:
            raise TableError(
                f"The table lacks {listed(absent)}, which the model learnt from; it has {listed(frame.columns)}."
                f"{nearest(absent[0], frame.columns)}"
            )
        return pl.DataFrame([series for _, parts in self.parts(frame, say) for series in parts])

    def parts(self, frame: pl.DataFrame, say: Say = ignore) -> Iterator[tuple[Column, list[pl.Series]]]:
        """Each column that is learnt, and the typed columns made of it, whose names all differ."""
        taken = {column.name for column in self.learnt}
        for column in self.learnt:
            read = column.read(frame[column.name], say)
            for i, series in enumerate(read):
                name = series.name
                while column.kind == "date" and name in taken:
                    name += "'"
                taken.add(name)
                read[i] = series.alias(name)
            yield column, read


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
        if medium_of(series.dtype) or series.dtype in (pl.List, pl.Array):
            kind = medium_of(series.dtype) or "sequence"
            return Column(name=series.name, kind=kind, missing=missing, asked=True)
        if series.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            return Column(name=series.name, kind="category", missing=missing)
        raise TableError(
            f"Column {series.name!r} holds values of type {series.dtype}, but numbers, strings, categories, booleans "
            "or dates were expected. Convert or drop it."
        )

    return Schema(columns=tuple(column(series) for series in frame))
