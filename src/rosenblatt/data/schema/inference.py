"""Infer the schema of a table: which columns hold numbers, dates, categories, identifiers and so on."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from rosenblatt.data.media.columns import medium_kind
from rosenblatt.data.media.images import has_image_suffix, is_image_content
from rosenblatt.data.schema.cells import (
    BOOLEANS,
    DATE_FORMATS,
    TIME_FORMATS,
    all_integers,
    as_dates,
    date_features,
    normalize_cells,
    parse_dates,
)
from rosenblatt.data.schema.columns import Column, Kind, Schema
from rosenblatt.data.schema.decimal_marks import DecimalMarks, detect_marks
from rosenblatt.data.schema.missing import WORDS_AMONG_NUMBERS
from rosenblatt.data.schema.notes import Note
from rosenblatt.data.schema.numbers import (
    MAX_STRAY_FRACTION,
    TypedNumbers,
    infer_numbers,
    plain_numbers,
)
from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.errors import TableError, format_count, format_list

MIN_IDENTIFIER_ROWS = 20  # number of distinct values from which a column may be an identifier
MAX_MISSING_WORDS = 3  # number of different words among numbers up to which the numbers are many
MAX_EXACT_INTEGER = 2.0**53  # integers from which floats do not tell all apart
MIN_TEXT_WORDS = 4  # mean number of words per cell from which a column is free text
IDENTIFIER_NAME = re.compile(
    r"(^|[_\W])(id|uuid|guid|key|index|rownum|row|no|nr)$|[a-z]I[dD]$|^unnamed|^column_1$", re.IGNORECASE
)


def infer_schema(
    frame: pl.DataFrame,
    max_categories: int,
    format: TableFormat = DETECT_FORMAT,
    exclude: Sequence[str] = (),
) -> Schema:
    """Infer what each column holds.

    Args:
        frame: the table as read, with all columns, as all help to find how numbers and dates are written.
        max_categories: number of categories of a column beyond which its note says that the rest share one input.
        format: how the table is written.
        exclude: columns that do not become part of the schema, such as the target.

    Raises:
        TableError: if a column holds infinite numbers, or changes from numbers to words half-way.
    """
    marks = detect_marks(frame, format)
    columns = [infer_column(series, max_categories, format, marks) for series in frame if series.name not in exclude]
    return Schema(columns=tuple(columns))


def detect_medium(series: pl.Series) -> Literal["image", "sequence"] | None:
    """Detect whether the cells of a column are images or sequences of numbers; None for all others."""
    kind = medium_kind(series.dtype)
    if kind in ("image", "sequence"):
        return "image" if kind == "image" else "sequence"
    if isinstance(series.dtype, pl.Struct) and {"bytes", "path"} <= {field.name for field in series.dtype.fields}:
        return "image"
    if series.dtype == pl.String:
        cells = series.drop_nulls()
        all_images = (
            len(cells) > 0
            and has_image_suffix(cells[0])
            and bool(cells.map_elements(has_image_suffix, pl.Boolean).all())
        )
        return "image" if all_images else None
    if series.dtype == pl.Binary:
        first = series.drop_nulls().head(1)
        return "image" if len(first) and is_image_content(first[0]) else None
    inner = series.dtype
    while isinstance(inner, pl.List | pl.Array):
        inner = inner.inner  # type: ignore[assignment]
    if isinstance(inner, pl.Struct) and inner.fields:
        inner = inner.fields[0].dtype  # type: ignore[assignment]
    return "sequence" if isinstance(series.dtype, pl.List | pl.Array) and inner.is_numeric() else None


@dataclass(frozen=True)
class _ColumnCells:
    """The cells of a column that hold a value, while their kind is inferred."""

    name: str
    cells: pl.Series
    row_numbers: pl.Series  # row number of each cell in the table, from 1
    missing: int
    distinct: int

    def make_column(self, kind: Kind, text: str = "", detail: str = "", **details: Any) -> Column:
        missing, notes = self.missing + details.pop("strays", 0), (Note(text=text, detail=detail),) if text else ()
        notes += details.pop("notes", ())
        return Column(name=self.name, kind=kind, missing=missing, distinct=self.distinct, notes=notes, **details)


def infer_column(series: pl.Series, max_categories: int, format: TableFormat, marks: DecimalMarks) -> Column:
    """Infer what one column holds, given the decimal marks of its table. Raises TableError as `infer_schema`."""
    medium = detect_medium(series)
    if medium:
        note = f"{medium}s, which need a network of kind {'cnn' if medium == 'image' else 'rnn'}: left out"
        return Column(
            name=series.name, kind=medium, missing=series.null_count(), distinct=len(series), notes=(Note(text=note),)
        )
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        note = f"cells of type {series.dtype} are not supported: left out"
        return Column(name=series.name, kind="nested", missing=series.null_count(), notes=(Note(text=note),))
    if series.dtype == pl.String and not format.missing:
        numbers = _plain_column(series, marks)
        if numbers is not None:
            return _number_column(_column_cells(numbers), TypedNumbers(numbers.drop_nulls()), max_categories, marks)
    is_text = series.dtype in (pl.String, pl.Categorical, pl.Enum)
    values = normalize_cells(series) if is_text else series.fill_nan(None) if series.dtype.is_float() else series
    column = _column_cells(values)
    cells = column.cells
    if cells.is_empty():
        return column.make_column("empty", "no row has a value: left out")
    if column.distinct == 1 and not column.missing:
        return column.make_column("constant", "every row holds the same value: left out", repr(cells[0]))
    if series.dtype == pl.Boolean:
        return column.make_column("boolean")
    if series.dtype.is_temporal():
        return column.make_column("date", date_parts=date_features(as_dates(cells)))
    if not is_text:
        return _number_column(column, TypedNumbers(cells.cast(pl.Float64)), max_categories, marks)
    return _string_column(column, max_categories, marks)


def _column_cells(values: pl.Series) -> _ColumnCells:
    cells = values.drop_nulls()
    rows = pl.int_range(1, len(values) + 1, eager=True).filter(values.is_not_null())
    return _ColumnCells(values.name, cells, rows, values.null_count(), cells.n_unique())


def _plain_column(series: pl.Series, marks: DecimalMarks) -> pl.Series | None:
    """The values of a column of strings that a plain cast reads, if there are several, and floats tell them apart."""
    if marks[series.name] == "," and series.str.contains(".", literal=True).any():
        return None
    numbers = plain_numbers(series)
    if numbers is None or numbers.n_unique() - numbers.has_nulls() < 2:
        return None
    return None if (numbers.abs() >= MAX_EXACT_INTEGER).any() else numbers


def _string_column(column: _ColumnCells, max_categories: int, marks: DecimalMarks) -> Column:
    typed = infer_numbers(column.cells, marks[column.name], marks.thousands)
    numbers = typed.values
    strays = column.cells.filter(numbers.is_null())
    if strays.is_empty():
        return _number_column(column, typed, max_categories, marks)
    notes: tuple[Note, ...] = () if numbers.count() else typed.notes
    if numbers.n_unique() > MIN_IDENTIFIER_ROWS:
        if strays.n_unique() <= MAX_MISSING_WORDS or len(strays) < len(column.cells) / 2:
            _reject_mixed_types(column, numbers)
        words = strays.unique(maintain_order=True).to_list()
        detail = f"{format_list(words, 3)} in {format_count(len(strays), 'cell')}"
        if _are_missing(strays, len(column.cells)):
            note = Note(text="words among numbers read as missing", detail=detail)
            column = dataclasses.replace(column, cells=column.cells.filter(numbers.is_not_null()))
            typed = TypedNumbers(numbers.drop_nulls(), typed.format, (*typed.notes, note))
            number_column = _number_column(column, typed, max_categories, marks)
            missing = column.missing + len(strays)
            return number_column.model_copy(update={"kind": "number", "markers": tuple(words), "missing": missing})
        notes = (Note(text="words among numbers: all are read as words", detail=detail),)
    word_column = _word_column(column, max_categories)
    return word_column.model_copy(update={"notes": (*notes, *word_column.notes)})


def _are_missing(strays: pl.Series, n: int) -> bool:
    """Whether the cells among n that are no numbers mean missing values: if they are few, or say so."""
    if len(strays) <= MAX_STRAY_FRACTION * n:
        return True
    return len(strays) < n / 2 and set(strays.str.to_lowercase().unique()) <= WORDS_AMONG_NUMBERS


def _word_column(column: _ColumnCells, max_categories: int) -> Column:
    if set(column.cells.str.to_lowercase().unique()) <= BOOLEANS.keys():
        return column.make_column("boolean")
    for date_format in (*DATE_FORMATS, *TIME_FORMATS):
        if parse_dates(column.cells.head(10), date_format).has_nulls():
            continue
        dates = parse_dates(column.cells, date_format)
        if not dates.has_nulls():
            note = "read as day/month/year" if date_format.startswith("%d/%m") else ""
            if "%m/%d" in date_format:
                day_first = parse_dates(column.cells, date_format.replace("%m/%d", "%d/%m"))
                note = "read as month/day/year" + ", though day/month/year is possible too" * (
                    not day_first.has_nulls()
                )
            return column.make_column("date", note, date_format=date_format, date_parts=date_features(dates))
    return _category_column(column, max_categories)


def _category_column(column: _ColumnCells, max_categories: int) -> Column:
    n = len(column.cells)
    words_per_cell = column.cells.head(10_000).str.count_matches(r"\S+").cast(pl.Float64).mean()
    if (
        isinstance(words_per_cell, float)
        and words_per_cell >= MIN_TEXT_WORDS
        and column.distinct > max(n / 2, MIN_IDENTIFIER_ROWS)
    ):
        return column.make_column("text", "free text, which needs a network of kind rnn: left out")
    if column.distinct >= 0.95 * n and n >= MIN_IDENTIFIER_ROWS:
        return column.make_column("identifier", "identifiers, as nearly every value occurs once: left out")
    if column.distinct > max_categories:
        note = f"the {max_categories} most frequent categories get an input each, the rest share one (--max-categories)"
        return column.make_column("category", note, f"{column.distinct:,} categories")
    return column.make_column("category")


def _number_column(column: _ColumnCells, typed: TypedNumbers, max_categories: int, marks: DecimalMarks) -> Column:
    numbers, finite = typed.values, typed.values.is_finite()
    if not finite.all():
        raise TableError(
            f"Column {column.name!r} holds an infinite number in row {column.row_numbers[(~finite).arg_max() or 0]}. "
            "Write a finite number there, or leave the cell empty if it is unknown."
        )
    is_inexact = bool((numbers.abs() >= MAX_EXACT_INTEGER).any())
    if is_inexact and _all_digits(column.cells) and numbers.n_unique() < column.distinct:
        words = dataclasses.replace(column, cells=column.cells.cast(pl.String))
        return _category_column(words, max_categories)
    is_fraction = bool((numbers.abs() <= 1).all())
    number_format = typed.format.model_copy(update={"decimal": marks[column.name], "is_fraction": is_fraction})
    notes = (*typed.notes, *([marks.notes[column.name]] if column.name in marks.notes else []))
    is_integer = all_integers(numbers) or _all_digits(column.cells)
    if column.distinct == len(numbers) >= MIN_IDENTIFIER_ROWS and not column.missing and is_integer:
        is_row_number = numbers[0] in (0, 1) and bool((numbers.diff().drop_nulls() == 1).all())
        if is_row_number or IDENTIFIER_NAME.search(column.name):
            note = "identifiers, a number for each row: left out"
            return column.make_column("identifier", note, number_format=number_format, notes=notes, is_numeric=True)
    return column.make_column("number", number_format=number_format, notes=notes)


def _all_digits(cells: pl.Series) -> bool:
    return cells.dtype.is_integer() or (cells.dtype == pl.String and bool(cells.str.contains(r"^[-+]?\d+$").all()))


def _reject_mixed_types(column: _ColumnCells, numbers: pl.Series) -> None:
    """Raise TableError if the words in a column of numbers are all in one place; scattered ones are stray values.

    In random order, about 2 k (n - k) / n neighbors of n cells with k words differ in kind; fewer than a tenth of that
    means one place.
    """
    is_stray = numbers.is_null()
    n, k = len(is_stray), int(is_stray.sum())
    changes = int((is_stray.cast(pl.Int8).diff().drop_nulls() != 0).sum())
    if k >= 5 and changes < 0.1 * (2 * k * (n - k) / n):
        number_index, word_index = is_stray.arg_min() or 0, is_stray.arg_max() or 0
        raise TableError(
            f"Column {column.name!r} changes kind half-way: it holds numbers such as {column.cells[number_index]!r} in "
            f"row {column.row_numbers[number_index]}, but words such as {column.cells[word_index]!r} in row "
            f"{column.row_numbers[word_index]}. Correct the table, or leave the column out with --ignore {column.name}."
        )
