"""In: a table as it was read. Out: its schema, what each column holds: numbers, dates, categories, identifiers, ..."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from rosenblatt.data.media.columns import medium_of
from rosenblatt.data.media.images import is_content, is_image
from rosenblatt.data.schema.cells import (
    BOOLEANS,
    DATE_FORMATS,
    TIME_FORMATS,
    NumberStyle,
    as_dates,
    clean,
    is_whole,
    parse_dates,
    parse_numbers,
    parts_of_dates,
)
from rosenblatt.data.schema.columns import STRAYS, Column, Kind, Schema
from rosenblatt.errors import TableError, listed

MANY = 20  # more distinct values than this are many
WORDS_OF_TEXT = 4  # words a cell from which on a column is free text
IDENTIFIER = re.compile(
    r"(^|[_\W])(id|uuid|guid|key|index|rownum|row|no|nr)$|[a-z]I[dD]$|^unnamed|^column_1$", re.IGNORECASE
)


def infer(frame: pl.DataFrame, max_categories: int) -> Schema:
    """Find out what each column holds.

    Raises:
        TableError: for infinite numbers, and for a column that changes from numbers to words half-way.
    """
    columns = [_infer(series, max_categories) for series in frame]
    if any(column.style == "1.234,5" for column in columns):  # then 1.234 elsewhere in the table is 1234
        columns = [
            column.model_copy(update={"style": "1.234,5", "note": "numbers written as 1.234"})
            if column.style == "plain" and _may_be_thousands(frame[column.name])
            else column
            for column in columns
        ]
    return Schema(columns=tuple(columns))


def _may_be_thousands(series: pl.Series) -> bool:
    """Whether every point in these numbers may be one of thousands."""
    if series.dtype != pl.String:
        return False
    pointed = clean(series).drop_nulls()
    pointed = pointed.filter(pointed.str.contains(".", literal=True))
    return len(pointed) > 0 and bool(pointed.str.contains(r"^[-+]?[1-9]\d{0,2}(\.\d{3})+$").all())


def medium_in(series: pl.Series) -> Literal["image", "sequence"] | None:
    """Whether the cells of a column as it was read are images or sequences of numbers."""
    known = medium_of(series.dtype)
    if known in ("image", "sequence"):
        return "image" if known == "image" else "sequence"
    if isinstance(series.dtype, pl.Struct) and {"bytes", "path"} <= {field.name for field in series.dtype.fields}:
        return "image"
    if series.dtype == pl.String:
        cells = series.drop_nulls()
        images = len(cells) > 0 and is_image(cells[0]) and bool(cells.map_elements(is_image, pl.Boolean).all())
        return "image" if images else None
    if series.dtype == pl.Binary:
        first = series.drop_nulls().head(1)
        return "image" if len(first) and is_content(first[0]) else None
    inner = series.dtype
    while isinstance(inner, pl.List | pl.Array):
        inner = inner.inner  # type: ignore[assignment]
    if isinstance(inner, pl.Struct):
        inner = inner.fields[0].dtype  # type: ignore[assignment]
    return "sequence" if isinstance(series.dtype, pl.List | pl.Array) and inner.is_numeric() else None


@dataclass(frozen=True)
class _Known:
    """The cells of a column that hold a value, while it is being found out what kind."""

    name: str
    cells: pl.Series
    row: pl.Series  # of each cell in the table, from 1
    missing: int
    distinct: int

    def column(self, kind: Kind, note: str = "", **details: Any) -> Column:
        missing = self.missing + details.pop("strays", 0)
        return Column(name=self.name, kind=kind, missing=missing, distinct=self.distinct, note=note, **details)


def _infer(series: pl.Series, max_categories: int) -> Column:
    medium = medium_in(series)
    if medium:
        note = f"{medium}s: a network of kind {'cnn' if medium == 'image' else 'rnn'} learns from them; left out"
        return Column(name=series.name, kind=medium, missing=series.null_count(), distinct=len(series), note=note)
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        note = f"cells of type {series.dtype} are not supported yet: left out"
        return Column(name=series.name, kind="nested", missing=series.null_count(), note=note)
    is_text = series.dtype in (pl.String, pl.Categorical, pl.Enum)
    values = clean(series) if is_text else series.fill_nan(None) if series.dtype.is_float() else series
    rows = pl.int_range(1, len(values) + 1, eager=True)
    cells = values.drop_nulls()
    known = _Known(series.name, cells, rows.filter(values.is_not_null()), values.null_count(), cells.n_unique())
    if cells.is_empty():
        return known.column("empty", "holds no values")
    if known.distinct == 1 and not known.missing:
        return known.column("constant", f"every row holds {cells[0]!r}: left out, there is nothing to learn from it")
    if series.dtype == pl.Boolean:
        return known.column("boolean")
    if series.dtype.is_temporal():
        return known.column("date", parts=parts_of_dates(as_dates(cells)))
    if not is_text:
        return _of_numbers(known, cells.cast(pl.Float64))
    return _of_text(known, max_categories)


def _of_text(known: _Known, max_categories: int) -> Column:
    style, numbers = parse_numbers(known.cells)
    strays = known.cells.filter(numbers.is_null())
    if strays.is_empty():
        return _of_numbers(known, numbers, style)
    few_words = strays.n_unique() <= 3
    if numbers.n_unique() > MANY and (few_words or len(strays) < len(known.cells) / 2):
        _refuse_change_half_way(known, numbers)
        if few_words or len(strays) <= STRAYS * len(known.cells):
            words = strays.unique(maintain_order=True).to_list()
            note = f"{len(strays)} cells are no numbers ({listed(words, 3)}): read as missing"
            return known.column("number", note, style=style, markers=tuple(words), strays=len(strays))
    if set(known.cells.str.to_lowercase().unique()) <= BOOLEANS.keys():
        return known.column("boolean")
    for written in (*DATE_FORMATS, *TIME_FORMATS):
        if parse_dates(known.cells.head(10), written).has_nulls():
            continue
        dates = parse_dates(known.cells, written)
        if not dates.has_nulls():
            other = written.replace("%m/%d", "%d/%m")
            both = other != written and not parse_dates(known.cells, other).has_nulls()
            note = "read as month/day/year" + ", though day/month/year would fit too" * both
            note = note if other != written else "read as day/month/year" if written.startswith("%d/%m") else ""
            return known.column("date", note, format=written, parts=parts_of_dates(dates))
    return _of_words(known, max_categories)


def _of_words(known: _Known, max_categories: int) -> Column:
    n = len(known.cells)
    words = known.cells.head(10_000).str.count_matches(r"\S+").cast(pl.Float64).mean()
    if isinstance(words, float) and words >= WORDS_OF_TEXT and known.distinct > max(n / 2, MANY):
        return known.column("text", "free text: a network of kind rnn learns from it; left out")
    if known.distinct >= 0.95 * n and n >= MANY:
        return known.column("identifier", "nearly every row has a value of its own: left out, nothing repeats")
    if known.distinct > max_categories:
        note = (
            f"{known.distinct} categories: the {max_categories} most frequent get an input each, the others share one"
        )
        return known.column("category", note)
    return known.column("category")


def _of_numbers(known: _Known, numbers: pl.Series, style: NumberStyle = "plain") -> Column:
    finite = numbers.is_finite()
    if not finite.all():
        raise TableError(
            f"Column {known.name!r} holds an infinite number in row {known.row[(~finite).arg_max() or 0]}. "
            "Write a finite number there, or leave the cell empty if it is not known."
        )
    whole = known.cells.dtype.is_integer() or is_whole(numbers) or _are_digits(known.cells)
    if known.distinct == len(numbers) >= MANY and not known.missing and whole:
        counts_up = numbers[0] in (0, 1) and bool((numbers.diff().drop_nulls() == 1).all())
        if counts_up or IDENTIFIER.search(known.name):
            note = "a number for each row: left out, nothing repeats"
            return known.column("identifier", note, style=style)
    return known.column("number", "" if style == "plain" else f"numbers written as {style}", style=style)


def _are_digits(cells: pl.Series) -> bool:
    return cells.dtype == pl.String and bool(cells.str.contains(r"^\d+$").all())


def _refuse_change_half_way(known: _Known, numbers: pl.Series) -> None:
    """Refuse words that stand together in a column of numbers; strewn ones are stray values, or parts of codes.

    Of n cells with k words among them in random order, about 2 k (n - k) / n neighbors differ in kind; a tenth of that
    is together.
    """
    stray = numbers.is_null()
    n, k = len(stray), int(stray.sum())
    changes = int((stray.cast(pl.Int8).diff().drop_nulls() != 0).sum())
    if k >= 5 and changes < 0.1 * (2 * k * (n - k) / n):
        number, word = stray.arg_min() or 0, stray.arg_max() or 0
        raise TableError(
            f"Column {known.name!r} changes kind half-way: it holds numbers such as {known.cells[number]!r} in row "
            f"{known.row[number]}, but words such as {known.cells[word]!r} in row {known.row[word]}. Correct the "
            f"table, or leave the column out with --ignore {known.name}."
        )
