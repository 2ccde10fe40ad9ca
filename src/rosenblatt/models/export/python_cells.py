"""Cells of a table, as text or values, as numbers and codes of categories; copied into exported Python files.

A column is a dictionary: its `name`, `kind`, the `missing` cells, and how numbers are written; see `python_file`.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import numpy as np


def read_rows(columns: list[dict[str, Any]], rows: Any) -> list[list[Any]]:
    """The cells of rows, in the order of the columns.

    Args:
        columns: how each column is written.
        rows: dictionaries by the names of the columns, or lists or an array (n, columns) in their order.

    Raises:
        ValueError: if a row lacks a column.
    """
    cells = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) and len(row) != len(columns):
            raise ValueError(f"Row {number} has {len(row)} cells, but {len(columns)} were expected.")
        missing = [column["name"] for column in columns if isinstance(row, dict) and column["name"] not in row]
        if missing:
            raise ValueError(f"Row {number} lacks the column {missing[0]!r}.")
        cells.append([row[column["name"]] for column in columns] if isinstance(row, dict) else list(row))
    return cells


def is_missing(column: dict[str, Any], cell: Any) -> bool:
    """Whether a cell stands for a missing value: None, NaN, an empty cell, or a marker such as NA."""
    if cell is None or cell != cell or str(cell).strip() == "":  # noqa: PLR0124 - NaN is not itself
        return True
    text = str(cell).strip()
    if text.lower() in column["missing"] or text in column["missing_words"]:
        return True
    try:
        return float(text) in column["missing_numbers"]
    except ValueError:
        return False


def read_number(column: dict[str, Any], cell: Any) -> float:
    """A number, NaN if missing. Raises ValueError for other cells."""
    if is_missing(column, cell):
        return float("nan")
    text, is_percent = str(cell).strip(), False
    if column["unit"]:
        plain = text.removeprefix(column["unit"]).removesuffix(column["unit"]).strip()
        is_percent, text = column["unit"] == "%" and plain != text, plain
    if isinstance(cell, str):
        text = plain_number(text, column["decimal"], column["thousands"])
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"Column {column['name']!r} must hold numbers, but holds {cell!r}.") from None
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"Column {column['name']!r} holds an infinite number.")
    if column["unit"] == "%" and (is_percent or column["plain_is_percent"]):
        number /= 100
    return number


def plain_number(text: str, decimal: str, thousands: str) -> str:
    """A number with a decimal point and without separators of thousands; the empty string for other text."""
    groups = rf"\d{{1,3}}([{re.escape(thousands)}]\d{{2,3}})*[{re.escape(thousands)}]\d{{3}}|" if thousands else ""
    mark = re.escape(decimal)
    if not re.fullmatch(rf"[-+]?({groups}\d+|(?={mark}\d))({mark}\d*)?(e[-+]?\d+)?", text, re.ASCII | re.IGNORECASE):
        return ""
    return "".join(mark for mark in text if mark not in thousands).replace(decimal, ".")


def read_date(column: dict[str, Any], cell: Any) -> list[float]:
    """The features of a date: days since 1970, month, weekday and hour, as far as the column uses them.

    Dates are objects of `datetime`, or text as 2024-01-31 or 2024-01-31 12:30:00. Raises ValueError for other cells.
    """
    if is_missing(column, cell):
        return [float("nan")] * len(column["date_parts"])
    try:
        date = cell if isinstance(cell, dt.date) else dt.datetime.fromisoformat(str(cell).strip())
    except ValueError:
        raise ValueError(f"Column {column['name']!r} must hold dates such as 2024-01-31, but holds {cell!r}.") from None
    if not isinstance(date, dt.datetime):
        date = dt.datetime(date.year, date.month, date.day)  # noqa: DTZ001 - dates have no time zone
    date = date.replace(tzinfo=None)
    milliseconds = (date - dt.datetime(1970, 1, 1)) // dt.timedelta(milliseconds=1)  # noqa: DTZ001
    features = {
        "day": milliseconds / 86_400_000,
        "month": date.month,
        "weekday": date.isoweekday(),
        "hour": date.hour + date.minute / 60,
    }
    return [float(features[part]) for part in column["date_parts"]]


def read_category(column: dict[str, Any], cell: Any) -> int:
    """The code of a cell of categories or booleans; see `category_code`. Raises ValueError for other booleans."""
    text = "" if is_missing(column, cell) else str(cell).strip()
    if column["kind"] == "boolean" and text:
        words = ["false", "true"] if str(cell) in ("False", "True") else [word.lower() for word in column["words"]]
        if text.lower() not in words:
            expected = " or ".join(map(repr, column["words"]))
            raise ValueError(f"Column {column['name']!r} must hold {expected}, but holds {cell!r}.")
        text = ("false", "true")[words.index(text.lower())]
    return category_code(column, text)


def category_code(column: dict[str, Any], category: str) -> int:
    """The code of a category: its position; then one for the empty string, which is missing, and one for others."""
    categories = column["categories"]
    if not category:
        return len(categories)
    return categories.index(category) if category in categories else len(categories) + 1


def to_arrays(columns: list[dict[str, Any]], rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (n, N), NaN if missing, and codes of categories (n, C) of rows. Raises ValueError for other cells."""
    numbers: list[list[float]] = []
    codes: list[list[int]] = []
    for cells in read_rows(columns, rows):
        numbers.append([])
        codes.append([])
        for column, cell in zip(columns, cells, strict=True):
            if column["kind"] == "number":
                numbers[-1].append(read_number(column, cell))
            elif column["kind"] == "date":
                numbers[-1] += read_date(column, cell)
            else:
                codes[-1].append(read_category(column, cell))
    return np.array(numbers, np.float64), np.array(codes, np.int64)
