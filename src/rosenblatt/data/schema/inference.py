"""Infer the schema of a table: which columns hold numbers, dates, categories, identifiers and so on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from rosenblatt.data.media.columns import medium_kind
from rosenblatt.data.media.images import has_image_suffix, is_image_content
from rosenblatt.data.schema.booleans import find_pair
from rosenblatt.data.schema.cells import all_integers, strip_cells
from rosenblatt.data.schema.columns import Column, Kind, Schema
from rosenblatt.data.schema.dates import (
    DAY_FIRST,
    MAX_STRAY_WORDS,
    MONTH_FIRST,
    InferredDates,
    as_dates,
    date_features,
    infer_dates,
    typed_date_format,
)
from rosenblatt.data.schema.decimal_marks import DecimalMarks, complete_format, detect_marks
from rosenblatt.data.schema.identifiers import MIN_IDENTIFIER_ROWS, are_codes, is_numbering
from rosenblatt.data.schema.missing import (
    WORDS_AMONG_NUMBERS,
    MissingRule,
    count_words,
    make_rule,
    make_word_rule,
    marker_notes,
    space_notes,
)
from rosenblatt.data.schema.notes import Note
from rosenblatt.data.schema.numbers import (
    MAX_STRAY_FRACTION,
    NumberFormat,
    TypedNumbers,
    infer_numbers,
    plain_numbers,
)
from rosenblatt.data.schema.numeric_dates import has_date_name, infer_numeric_dates
from rosenblatt.data.schema.units import SECONDS
from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.errors import TableError, format_list

MAX_MISSING_WORDS = 3  # number of different words among numbers up to which the numbers are many
MAX_SPELLINGS = 16  # number of distinct words, in any case, up to which a column may hold booleans
MIN_TEXT_WORDS = 4  # mean number of words per cell from which a column is free text


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

    def infer(name: str, format: TableFormat) -> Column:
        column = infer_column(frame[name], max_categories, format, marks)
        return _find_numeric_dates(column, frame[name], format.day_first) or column

    columns = [infer(name, format) for name in frame.columns if name not in exclude]
    certain_orders = {column.date_format.order for column in columns if not column.date_format.is_ambiguous}
    if len(certain_orders & {DAY_FIRST, MONTH_FIRST}) == 1:
        same_order = format.model_copy(update={"day_first": DAY_FIRST in certain_orders})
        note = Note(text="ambiguous order of day and month, read as in other columns of the table")
        for i, column in enumerate(columns):
            if column.date_format.is_ambiguous:
                inferred = infer(column.name, same_order)
                columns[i] = inferred.model_copy(update={"notes": (note, *inferred.notes)})
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
    missing_rule: MissingRule
    notes: tuple[Note, ...] = ()

    @classmethod
    def from_values(cls, values: pl.Series, rule: MissingRule, notes: tuple[Note, ...] = ()) -> _ColumnCells:
        """The cells of a column, null for missing ones by the rule."""
        cells, rows = values.drop_nulls(), pl.int_range(1, len(values) + 1, eager=True)
        row_numbers = rows.filter(values.is_not_null())
        return cls(values.name, cells, row_numbers, values.null_count(), cells.n_unique(), rule, notes)

    @classmethod
    def from_text(cls, text: pl.Series, rule: MissingRule) -> _ColumnCells:
        """The cells of a column of strings, as `strip_cells` returns them, with notes on markers of missing values."""
        return cls.from_values(rule.apply(text), rule, marker_notes(text, rule))

    def make_column(self, kind: Kind, text: str = "", detail: str = "", **details: Any) -> Column:
        notes = (*([Note(text=text, detail=detail)] if text else []), *self.notes, *details.pop("notes", ()))
        return Column(
            name=self.name, kind=kind, missing=self.missing, distinct=self.distinct, notes=notes,
            missing_rule=self.missing_rule, **details,
        )  # fmt: skip


def infer_column(series: pl.Series, max_categories: int, format: TableFormat, marks: DecimalMarks) -> Column:
    """Infer what one column holds, given the decimal marks of its table. Raises TableError as `infer_schema`."""
    medium = detect_medium(series)
    if medium:
        note = f"left out, as {medium}s need a network of kind {'cnn' if medium == 'image' else 'rnn'}"
        return Column(
            name=series.name, kind=medium, missing=series.null_count(), distinct=len(series), notes=(Note(text=note),)
        )
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        note = f"left out, as cells of type {series.dtype} are not supported"
        return Column(name=series.name, kind="nested", missing=series.null_count(), notes=(Note(text=note),))
    rule = make_rule(format.missing)
    if series.dtype in (pl.String, pl.Categorical, pl.Enum):
        return _text_column(series, rule, max_categories, format, marks)
    values = rule.apply_to_numbers(series) if series.dtype.is_numeric() else series
    column = _ColumnCells.from_values(values.fill_nan(None) if values.dtype.is_float() else values, rule)
    uninformative = _uninformative_column(column)
    if uninformative:
        return uninformative
    if series.dtype == pl.Boolean:
        return column.make_column("boolean")
    if series.dtype == pl.Duration:
        return column.make_column("number", number_format=NumberFormat(unit=SECONDS))
    if series.dtype.is_temporal():
        written = typed_date_format(series.dtype)
        return column.make_column("date", date_format=written, date_parts=date_features(as_dates(column.cells)))
    numbers = column.cells.cast(pl.Float64)
    if are_codes(column.cells, numbers):
        return _word_column(dataclasses.replace(column, cells=column.cells.cast(pl.String)), max_categories)
    return _number_column(column, TypedNumbers(numbers), marks)


def _uninformative_column(column: _ColumnCells) -> Column | None:
    """A column without values, or with one value in all rows; None for others."""
    if column.cells.is_empty():
        return column.make_column("empty", "left out, as no row has a value")
    if column.distinct == 1 and not column.missing:
        return column.make_column("constant", "left out, as every row holds the same value", repr(column.cells[0]))
    return None


def _text_column(
    series: pl.Series, rule: MissingRule, max_categories: int, format: TableFormat, marks: DecimalMarks
) -> Column:
    plain = _plain_column(series, marks) if series.dtype == pl.String and not rule.words else None
    if plain is not None:
        cells, typed = _ColumnCells.from_values(plain, rule), TypedNumbers(plain.drop_nulls())
        return _note_leading_zeros(_number_column(cells, typed, marks), series)
    text = strip_cells(series)
    column, notes = _ColumnCells.from_text(text, rule), tuple[Note, ...]()
    if len(column.cells):
        uninformative = _uninformative_column(column)
        if uninformative:
            return uninformative
        number_column, notes = _find_numbers(column, marks)
        typed_column = number_column or _find_dates(column, format.day_first)
        if typed_column:
            return _note_leading_zeros(typed_column, column.cells)
    word_rule = make_word_rule(text, format.missing, is_typed=format.is_typed)
    column = column if word_rule == rule else _ColumnCells.from_text(text, word_rule)
    spaces = space_notes(series) if series.dtype == pl.String else ()
    column = dataclasses.replace(column, notes=(*notes, *column.notes, *spaces))
    return _uninformative_column(column) or _word_column(column, max_categories)


def _note_leading_zeros(column: Column, cells: pl.Series) -> Column:
    """The column, with a note if it has numbers written with leading zeros, as codes are."""
    is_padded = cells.str.contains(r"^[-+]?0\d+$") if column.kind == "number" else None
    if is_padded is None or not is_padded.any():
        return column
    note = Note(text="numbers, although some have leading zeros", detail=f"such as {cells.filter(is_padded)[0]!r}")
    return column.model_copy(update={"notes": (*column.notes, note)})


def _plain_column(series: pl.Series, marks: DecimalMarks) -> pl.Series | None:
    """The values of a column of strings that a plain cast reads, if there are several, and all are numbers."""
    if marks[series.name] == "," and series.str.contains(".", literal=True).any():
        return None
    numbers = plain_numbers(series)
    if numbers is None or numbers.n_unique() - numbers.has_nulls() < 2 or are_codes(series, numbers):
        return None
    return numbers


def _find_numbers(column: _ColumnCells, marks: DecimalMarks) -> tuple[Column | None, tuple[Note, ...]]:
    """The column, if its cells are numbers, and else why they are words. Raises TableError as `infer_schema`."""
    typed = infer_numbers(column.cells, marks[column.name], marks.thousands)
    numbers = typed.values
    strays = column.cells.filter(numbers.is_null())
    if strays.is_empty():
        return (None if are_codes(column.cells, numbers) else _number_column(column, typed, marks)), ()
    if numbers.n_unique() <= MIN_IDENTIFIER_ROWS:
        return None, () if numbers.count() else typed.notes
    if strays.n_unique() <= MAX_MISSING_WORDS or len(strays) < len(column.cells) / 2:
        _reject_mixed_types(column, numbers)
    words = strays.unique(maintain_order=True).to_list()
    if not _are_missing(strays, len(column.cells)):
        return None, (
            Note(
                text="numbers read as words, as other words occur among them (--missing CELL if they mean missing)",
                detail=count_words(strays),
            ),
        )
    note = Note(text="words among numbers read as missing", detail=count_words(strays))
    column = dataclasses.replace(
        column, cells=column.cells.filter(numbers.is_not_null()), missing=column.missing + len(strays)
    )
    typed = TypedNumbers(numbers.drop_nulls(), typed.format, (*typed.notes, note))
    return _number_column(column, typed, marks).model_copy(update={"kind": "number", "markers": tuple(words)}), ()


def _are_missing(strays: pl.Series, n: int) -> bool:
    """Whether the cells among n that are no numbers mean missing values: if they are few, or say so."""
    if len(strays) <= MAX_STRAY_FRACTION * n:
        return True
    return len(strays) < n / 2 and set(strays.str.to_lowercase().unique()) <= WORDS_AMONG_NUMBERS


def _find_dates(column: _ColumnCells, day_first: bool | None) -> Column | None:
    """The column, if its cells are dates."""
    inferred = infer_dates(column.cells, column.name, day_first)
    return _to_date_column(column.make_column("date"), column.cells, inferred) if inferred else None


def _find_numeric_dates(column: Column, series: pl.Series, day_first: bool | None) -> Column | None:
    """The column, if its numbers are dates."""
    if not has_date_name(column.name) or column.kind not in ("number", "identifier", "category"):
        return None
    text = column.missing_rule.apply(strip_cells(series)).drop_nulls()
    numbers = text.cast(pl.Float64, strict=False)
    inferred = None if numbers.has_nulls() else infer_numeric_dates(numbers, column.name, day_first)
    return _to_date_column(column, text, inferred) if inferred else None


def _to_date_column(column: Column, cells: pl.Series, inferred: InferredDates) -> Column:
    words = cells.filter(inferred.dates.is_null()).unique(maintain_order=True).to_list()
    return Column(
        name=column.name, kind="date", date_format=inferred.format, date_parts=date_features(inferred.dates),
        missing=column.missing + inferred.dates.null_count(), distinct=column.distinct,
        markers=tuple(words) if len(words) <= MAX_STRAY_WORDS else (), missing_rule=column.missing_rule,
        notes=(*column.notes, *inferred.notes),
    )  # fmt: skip


def _word_column(column: _ColumnCells, max_categories: int) -> Column:
    words = sorted(column.cells.unique()) if column.distinct <= MAX_SPELLINGS else []
    pair = find_pair(words) if words else None
    if pair:
        text, detail = ("case is ignored", format_list(words)) if len(words) > len(pair) else ("", "")
        return column.make_column("boolean", text, detail, boolean_pair=pair)
    n = len(column.cells)
    words_per_cell = column.cells.head(10_000).str.count_matches(r"\S+").cast(pl.Float64).mean()
    if (
        isinstance(words_per_cell, float)
        and words_per_cell >= MIN_TEXT_WORDS
        and column.distinct > max(n / 2, MIN_IDENTIFIER_ROWS)
    ):
        return column.make_column("text", "left out as free text, which needs a network of kind rnn")
    if column.distinct >= 0.95 * n and n >= MIN_IDENTIFIER_ROWS:
        return column.make_column(
            "identifier", "left out as identifiers, as nearly all values are unique (--keep to use)"
        )
    if column.distinct > max_categories:
        note = f"the {max_categories} most frequent categories get an input each, the rest share one (--max-categories)"
        return column.make_column("category", note, f"{column.distinct:,} categories")
    return column.make_column("category")


def _number_column(column: _ColumnCells, typed: TypedNumbers, marks: DecimalMarks) -> Column:
    numbers, finite = typed.values, typed.values.is_finite()
    if not finite.all():
        raise TableError(
            f"Column {column.name!r} holds an infinite number in row {column.row_numbers[(~finite).arg_max() or 0]}. "
            "Write a finite number there, or leave the cell empty if it is unknown."
        )
    number_format = complete_format(typed, column.cells, marks)
    notes = (*typed.notes, *([marks.notes[column.name]] if column.name in marks.notes else []))
    is_distinct = column.distinct == len(numbers) and (all_integers(numbers) or _all_digits(column.cells))
    if is_distinct and is_numbering(column.name, numbers, has_missing=column.missing > 0):
        note = "left out as identifiers, a different number in each row (--keep to use)"
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
