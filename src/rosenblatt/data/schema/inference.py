"""Infer the schema of a table: which columns hold numbers, dates, categories, identifiers and so on."""

from __future__ import annotations

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
    NumberStyle,
    all_integers,
    as_dates,
    date_features,
    normalize_cells,
    parse_dates,
    parse_numbers,
)
from rosenblatt.data.schema.columns import MAX_STRAY_FRACTION, Column, Kind, Note, Schema
from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.errors import TableError, format_count, format_list

MIN_IDENTIFIER_ROWS = 20  # number of distinct values from which a column may be an identifier
MIN_TEXT_WORDS = 4  # mean number of words per cell from which a column is free text
IDENTIFIER_NAME = re.compile(
    r"(^|[_\W])(id|uuid|guid|key|index|rownum|row|no|nr)$|[a-z]I[dD]$|^unnamed|^column_1$", re.IGNORECASE
)


def infer_schema(
    frame: pl.DataFrame,
    max_categories: int,
    format: TableFormat = DETECT_FORMAT,  # noqa: ARG001
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
    columns = [_infer(series, max_categories) for series in frame if series.name not in exclude]
    if any(column.number_style == "1.234,5" for column in columns):  # then 1.234 in other columns is 1234
        columns = [
            column.model_copy(update={"number_style": "1.234,5", "notes": (Note(text="numbers written as 1.234"),)})
            if column.number_style == "plain" and _may_be_thousands(frame[column.name])
            else column
            for column in columns
        ]
    return Schema(columns=tuple(columns))


def _may_be_thousands(series: pl.Series) -> bool:
    """Whether every point in a column of numbers can be a thousands separator."""
    if series.dtype != pl.String:
        return False
    cells = normalize_cells(series).drop_nulls()
    cells = cells.filter(cells.str.contains(".", literal=True))
    return len(cells) > 0 and bool(cells.str.contains(r"^[-+]?[1-9]\d{0,2}(\.\d{3})+$").all())


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
    if isinstance(inner, pl.Struct):
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
        return Column(name=self.name, kind=kind, missing=missing, distinct=self.distinct, notes=notes, **details)


def _infer(series: pl.Series, max_categories: int) -> Column:
    medium = detect_medium(series)
    if medium:
        note = f"{medium}s, which need a network of kind {'cnn' if medium == 'image' else 'rnn'}: left out"
        return Column(
            name=series.name, kind=medium, missing=series.null_count(), distinct=len(series), notes=(Note(text=note),)
        )
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        note = f"cells of type {series.dtype} are not supported: left out"
        return Column(name=series.name, kind="nested", missing=series.null_count(), notes=(Note(text=note),))
    is_text = series.dtype in (pl.String, pl.Categorical, pl.Enum)
    values = normalize_cells(series) if is_text else series.fill_nan(None) if series.dtype.is_float() else series
    rows = pl.int_range(1, len(values) + 1, eager=True)
    cells = values.drop_nulls()
    column = _ColumnCells(series.name, cells, rows.filter(values.is_not_null()), values.null_count(), cells.n_unique())
    if cells.is_empty():
        return column.make_column("empty", "no row has a value: left out")
    if column.distinct == 1 and not column.missing:
        return column.make_column("constant", "every row holds the same value: left out", repr(cells[0]))
    if series.dtype == pl.Boolean:
        return column.make_column("boolean")
    if series.dtype.is_temporal():
        return column.make_column("date", date_parts=date_features(as_dates(cells)))
    if not is_text:
        return _number_column(column, cells.cast(pl.Float64))
    return _string_column(column, max_categories)


def _string_column(column: _ColumnCells, max_categories: int) -> Column:
    style, numbers = parse_numbers(column.cells)
    strays = column.cells.filter(numbers.is_null())
    if strays.is_empty():
        return _number_column(column, numbers, style)
    few_words = strays.n_unique() <= 3
    if numbers.n_unique() > MIN_IDENTIFIER_ROWS and (few_words or len(strays) < len(column.cells) / 2):
        _reject_mixed_types(column, numbers)
        if few_words or len(strays) <= MAX_STRAY_FRACTION * len(column.cells):
            words = strays.unique(maintain_order=True).to_list()
            detail = f"{format_list(words, 3)} in {format_count(len(strays), 'cell')}"
            return column.make_column(
                "number", "words among numbers read as missing", detail,
                number_style=style, markers=tuple(words), strays=len(strays),
            )  # fmt: skip
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


def _number_column(column: _ColumnCells, numbers: pl.Series, style: NumberStyle = "plain") -> Column:
    finite = numbers.is_finite()
    if not finite.all():
        raise TableError(
            f"Column {column.name!r} holds an infinite number in row {column.row_numbers[(~finite).arg_max() or 0]}. "
            "Write a finite number there, or leave the cell empty if it is unknown."
        )
    is_integer = column.cells.dtype.is_integer() or all_integers(numbers) or _all_digits(column.cells)
    if column.distinct == len(numbers) >= MIN_IDENTIFIER_ROWS and not column.missing and is_integer:
        is_row_number = numbers[0] in (0, 1) and bool((numbers.diff().drop_nulls() == 1).all())
        if is_row_number or IDENTIFIER_NAME.search(column.name):
            note = "identifiers, a number for each row: left out"
            return column.make_column("identifier", note, number_style=style, is_numeric=True)
    return column.make_column("number", "" if style == "plain" else f"numbers written as {style}", number_style=style)


def _all_digits(cells: pl.Series) -> bool:
    return cells.dtype == pl.String and bool(cells.str.contains(r"^\d+$").all())


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
