"""Types for the text columns of a table, so that it can be queried, without loss of what its cells say.

A column becomes numbers, dates or booleans only where `fit` reads its cells as such, and else stays as it is written:
007 is text. Cells that mean a missing value become null, and spaces around cells are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from rosenblatt.data.schema.cells import all_integers, strip_cells
from rosenblatt.data.schema.columns import Column, Notes
from rosenblatt.data.schema.date_patterns import DATE, NAME, NUMBERS
from rosenblatt.data.schema.decimal_marks import detect_marks
from rosenblatt.data.schema.inference import infer_column, infer_schema
from rosenblatt.data.schema.missing import ALL_MARKERS, AMBIGUOUS_MARKERS, CLEAR_MARKERS, make_rule, marker_notes
from rosenblatt.data.schema.notes import Note, summarize_notes
from rosenblatt.data.schema.numbers import plain_numbers
from rosenblatt.data.table import TableFormat
from rosenblatt.errors import TableError, format_count

_LEADING_ZERO = r"^[-+]?0\d"
_MANY_DIGITS = r"^[-+]?\d{16,}$"  # integers that a float64 may not hold
_DAYS = {DATE, NUMBERS, NAME}  # layouts of dates that name a day
_BOOLEANS = [["false", "true"], ["False", "True"], ["FALSE", "TRUE"]]


def to_typed_columns(frame: pl.DataFrame, format: TableFormat, notes: list[str]) -> pl.DataFrame:
    """The columns of a table with types; `notes` receives what was read as missing, or converted.

    Args:
        frame: the table as read; columns that have types already stay as they are.
        format: how the table is written.
        notes: receives a line for each kind of conversion.
    """
    if format.is_typed:
        return frame
    columns, column_notes, typed = _infer_columns(frame, format), list[tuple[str, Note]](), list[pl.Series]()
    for series in frame:
        column = columns.get(series.name)
        is_text = series.dtype == pl.String
        typed.append(_to_typed(series, column, format, column_notes) if column and is_text else series)
    notes += summarize_notes(column_notes)
    return pl.DataFrame(typed)


def _infer_columns(frame: pl.DataFrame, format: TableFormat) -> dict[str, Column]:
    """What the columns hold; those that cannot be read, such as numbers with both decimal marks, are left out."""

    def infer(exclude: Sequence[str]) -> dict[str, Column]:
        schema = infer_schema(frame, max(frame.height, 1), format, exclude)
        return {column.name: column for column in schema.columns}

    try:
        return infer(())
    except TableError:
        marks, unreadable = detect_marks(frame, format), list[str]()
        for series in frame:
            try:
                infer_column(series, max(frame.height, 1), format, marks)
            except TableError:
                unreadable.append(series.name)
        return infer(unreadable)


def _to_typed(series: pl.Series, column: Column, format: TableFormat, notes: Notes) -> pl.Series:
    """A text column as numbers, dates or booleans if its cells are these, and else as text."""
    rule = make_rule(format.missing)
    is_plain = not rule.words and plain_numbers(series) is not None and series.count() > 0
    text = series if is_plain else strip_cells(series)
    values = series if is_plain else rule.apply(text)
    values = values.set(values.is_in(list(column.markers)).fill_null(False), None) if column.markers else values
    typed = None
    if values.count():
        typed = _to_numbers(series, values, column)
        typed = _to_dates(series, column) if typed is None and column.kind == "date" else typed
        typed = _to_booleans(values) if typed is None and column.distinct <= 2 else typed
    if typed is None:
        text = strip_cells(series)
        words = series if column.kind == "text" else _strip_words(series, text, notes)
        return _to_words(words, text, format, notes)
    missing = marker_notes(text, rule) if values.null_count() > text.null_count() else ()
    notes += [(series.name, note) for note in (*_conversion_notes(column), *missing)]
    return typed.alias(series.name)


def _conversion_notes(column: Column) -> list[Note]:
    """The notes on how numbers and dates are read, without those on what networks do with the column."""
    return [note for note in column.notes if not note.text.startswith(("left out", "read as missing", "case is"))]


def _to_numbers(series: pl.Series, values: pl.Series, column: Column) -> pl.Series | None:
    """The numbers of a column: integers if they are written as such; None if there are other cells, or digits are lost.

    Args:
        series: the cells as read.
        values: the same without spaces, null if missing.
        column: what the column holds.
    """
    if values.str.contains(_LEADING_ZERO).any():
        return None
    integers = values.cast(pl.Int64, strict=False)
    if integers.null_count() == values.null_count():
        return integers
    if values.str.contains(_MANY_DIGITS).any():
        return None
    plain = values.cast(pl.Float64, strict=False)
    is_number = column.kind == "number" or column.is_numeric
    if not is_number:
        is_plain = plain.null_count() == values.null_count() and bool(plain.is_finite().all())
        return plain if is_plain and column.kind in ("category", "constant") else None
    numbers = column.model_copy(update={"kind": "number"}).sort_key(series)
    has_integers = not column.number_format.has_decimals and all_integers(numbers.drop_nulls())
    return numbers.cast(pl.Int64) if has_integers else numbers


def _to_dates(series: pl.Series, column: Column) -> pl.Series | None:
    """The dates of a column, with times if there are some; None for numbers and for months, weeks and times of day."""
    if column.date_format.unit or not _DAYS.issuperset(column.date_format.layouts):
        return None
    times = column.sort_key(series)
    has_time = bool((times.dt.truncate("1d") != times).any())
    return times if has_time else times.cast(pl.Date)


def _to_booleans(values: pl.Series) -> pl.Series | None:
    """True and false written as words, in one way; other pairs of words, such as yes and no, stay words."""
    words = set(values.unique().drop_nulls())
    pair = next((pair for pair in _BOOLEANS if words <= {*pair}), None)
    return None if pair is None else values.replace_strict(pair, [False, True], return_dtype=pl.Boolean)


def _strip_words(series: pl.Series, text: pl.Series, notes: Notes) -> pl.Series:
    """Words without surrounding spaces, which do not count when a model is fitted either."""
    n_padded = int((series.str.len_bytes() != text.str.len_bytes()).sum())
    if n_padded:
        detail = format_count(n_padded, "cell")
        notes.append((series.name, Note(text="spaces around words are left out", detail=detail)))
    return text


def _to_words(words: pl.Series, text: pl.Series, format: TableFormat, notes: Notes) -> pl.Series:
    """A text column with null where a cell means a missing value whatever its column is used for.

    NA, none and the like may be categories, which depends on the empty cells beside them: they stay as they are.

    Args:
        words: the cells, without spaces around them unless they are free text.
        text: the cells without spaces, null for empty ones.
        format: how the table is written.
        notes: receives which cells are missing.
    """
    rule = make_rule(format.missing)
    lowered = text.unique().drop_nulls().str.to_lowercase()
    present = set(lowered.filter(lowered.is_in(list(ALL_MARKERS)))) if rule.with_markers else set[str]()
    if not present and not rule.words:
        return words.set(text.is_null(), None) if text.null_count() > words.null_count() else words
    ambiguous = tuple(sorted(AMBIGUOUS_MARKERS & present))
    if ambiguous and CLEAR_MARKERS & present and not text.has_nulls():
        return words
    rule = rule.model_copy(update={"categories": ambiguous})
    notes += [(words.name, note) for note in marker_notes(text, rule)]
    return words.set(rule.apply(text).is_null(), None)
