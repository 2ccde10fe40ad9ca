"""Find columns of numbers that only identify the rows, from their names and values."""

from __future__ import annotations

import re

import polars as pl

MIN_IDENTIFIER_ROWS = 20  # number of distinct values from which a column may be an identifier
MAX_EXACT_INTEGER = 2.0**53  # from here on, integers differ that are equal as Float64
MIN_DENSITY = 0.9  # fraction of the integers between the smallest and the largest that occur in a numbering of rows

_IDENTIFIER_WORDS = frozenset({"id", "uid", "uuid", "guid", "rowid", "userid", "unnamed"})
_NUMBERING_WORDS = frozenset({"key", "index", "idx", "row", "rownum", "no", "nr", "num", "number"})
_ROW_NAMES = frozenset({"index", "row", "rownum"})
_WORD = re.compile(r"[^\W\d_]+|\d+")
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def split_name(name: str) -> list[str]:
    """The words of a column name, in lower case; a part in camel case is a word.

    >>> split_name("customerId")
    ['customer', 'id']
    """
    return [part.lower() for word in _WORD.findall(name) for part in _CAMEL_CASE.split(word)]


def is_numbering(name: str, numbers: pl.Series, *, has_missing: bool) -> bool:
    """Whether a column of integers, each different, identifies rows.

    The integers do so if they count the rows in order; if the name has a word such as id; or if it ends in a word such
    as index and the values number the rows in some order.

    Args:
        name: the name of the column.
        numbers: its values.
        has_missing: whether some cells are missing.
    """
    if len(numbers) < MIN_IDENTIFIER_ROWS:
        return False
    is_row_number = numbers[0] in (0, 1) and not has_missing and bool((numbers.diff().drop_nulls() == 1).all())
    words = split_name(name)
    if is_row_number or not words:
        return is_row_number
    low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
    if not _IDENTIFIER_WORDS.isdisjoint((words[0], words[-1])) or "".join(words) in _ROW_NAMES:
        return low >= 0
    is_dense = len(numbers) >= MIN_DENSITY * (high - low + 1)
    return is_dense and not has_missing and (words[-1] in _NUMBERING_WORDS or words == ["column", "1"])


def are_codes(cells: pl.Series, numbers: pl.Series) -> bool:
    """Whether cells are codes made of digits, of which distinct ones are equal as numbers: 007 and 7, or 20 digits.

    Args:
        cells: strings or integers.
        numbers: the same as Float64.
    """
    if not (numbers == numbers.round()).all():
        return False
    is_exact = float(numbers.abs().max()) < MAX_EXACT_INTEGER  # type: ignore[arg-type]
    if cells.dtype != pl.String:
        return cells.dtype.is_integer() and not is_exact and cells.n_unique() > numbers.n_unique()
    if is_exact and not cells.str.contains(r"^[-+]?0\d").any():
        return False
    return cells.n_unique() > numbers.n_unique() and bool(cells.str.contains(r"^[-+]?\d+$").all())
