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
    text, is_percent = strip_unit(column, str(cell).strip())
    if isinstance(cell, str):
        text = plain_number(text, column["decimal"], column["thousands"])
    try:
        number = float(text if isinstance(cell, str) else cell)
    except (TypeError, ValueError):
        raise ValueError(f"Column {column['name']!r} must hold numbers, but holds {cell!r}.") from None
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"Column {column['name']!r} holds an infinite number.")
    if column["unit"] == "%":
        number = scale_percentage(column, number, is_percent)
    return float("nan") if number in column["missing_numbers"] else number


def strip_unit(column: dict[str, Any], text: str) -> tuple[str, bool]:
    """A number without the unit of the column, and whether it had a percent sign."""
    is_percent = column["unit"] == "%"
    for prefix in column["unit_before"]:
        if text.startswith(prefix):
            return text[len(prefix) :], is_percent
    for suffix in column["unit_after"]:
        if text.endswith(suffix):
            return text[: -len(suffix)], is_percent
    return text, False


def scale_percentage(column: dict[str, Any], number: float, is_percent: bool) -> float:
    """A percentage as a fraction. Raises ValueError if a number without a percent sign may be either of them."""
    if is_percent:
        return number / 100
    if 0 < abs(number) < 1 if column["plain_is_percent"] else abs(number) > 1:
        kind = "percentages" if column["plain_is_percent"] else "fractions"
        raise ValueError(
            f"Column {column['name']!r} must hold percentages such as 45%, or {kind} as in training, but holds "
            f"{number:g}. Add the percent sign, or convert the number."
        )
    return number / 100 if column["plain_is_percent"] else number


def plain_number(text: str, decimal: str, thousands: str) -> str:
    """A number with a decimal point and without separators of thousands; the empty string for other text.

    Groups have three digits, or two as in India, and one separator; the first group has no leading zero.
    """
    groups = [rf"[1-9]\d{{0,2}}({re.escape(mark)}\d{{3}}){{1,5}}" for mark in thousands]
    groups += [rf"[1-9]\d?({re.escape(mark)}\d{{2}}){{1,7}}{re.escape(mark)}\d{{3}}" for mark in thousands]
    mark = re.escape(decimal)
    grouped = rf"({'|'.join(groups)})({mark}\d+)?|" if groups else ""
    if not re.fullmatch(rf"[-+]?({grouped}(\d+{mark}?\d*|{mark}\d+)(e[-+]?\d+)?)", text, re.ASCII | re.IGNORECASE):
        return ""
    return "".join(mark for mark in text if mark not in thousands).replace(decimal, ".")


TIME = r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?"
DATE = rf"(\d{{4}})-(\d\d)-(\d\d)(?:[T ]{TIME}(?: ?(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?)?"


def read_date(column: dict[str, Any], cell: Any) -> list[float]:
    """The features of a date: days since 1970, month, weekday and hour, as far as the column uses them.

    Dates are objects of `datetime`, or text as 2024-01-31 or 2024-01-31T12:30:00+01:00; in a column of times, text as
    12:30:00. Raises ValueError for other cells.
    """
    if is_missing(column, cell):
        return [float("nan")] * len(column["date_parts"])
    try:
        if column["offset"] is None and column["zone"] and str(cell).strip().lower().endswith(column["zone"]):
            cell = str(cell).strip()[: -len(column["zone"])]  # the zone of training, such as Europe/Berlin
        moment = parse_moment(cell, column["is_time"])
    except ValueError:
        expected = "times such as 12:30:00" if column["is_time"] else "dates such as 2024-01-31"
        raise ValueError(f"Column {column['name']!r} must hold {expected}, but holds {cell!r}.") from None
    moment = to_local_time(column, moment)
    milliseconds = (moment - dt.datetime(1970, 1, 1)) // dt.timedelta(milliseconds=1)  # noqa: DTZ001 - local time
    features = {
        "day": milliseconds / 86_400_000,
        "month": moment.month,
        "weekday": moment.isoweekday(),
        "hour": moment.hour + moment.minute / 60,
    }
    return [float(features[part]) for part in column["date_parts"]]


def parse_moment(cell: Any, is_time: bool) -> dt.datetime:
    """A date, or a time as one of 1 January 1970, with its time zone if it has one. Raises ValueError for others."""
    if isinstance(cell, dt.datetime):
        return cell
    if isinstance(cell, dt.date) and not is_time:
        return dt.datetime(cell.year, cell.month, cell.day)  # noqa: DTZ001 - dates have no time zone
    if isinstance(cell, dt.time) and is_time and cell.tzinfo is None:
        return dt.datetime.combine(dt.date(1970, 1, 1), cell)
    match = re.fullmatch(TIME if is_time else DATE, str(cell).strip(), re.ASCII | re.IGNORECASE)
    if match is None:
        raise ValueError(cell)
    parts = ("1970", "1", "1", *match.groups(), None) if is_time else match.groups()
    *numbers, fraction, zone = parts
    year, month, day, hour, minute, second = (int(number or 0) for number in numbers)
    if not 1000 <= year <= 2200:
        raise ValueError(cell)
    microsecond = int((fraction or "").ljust(6, "0"))
    moment = dt.datetime(year, month, day, hour, minute, second, microsecond)  # noqa: DTZ001 - its zone follows
    return moment if zone is None else moment.replace(tzinfo=parse_zone(zone))


def parse_zone(zone: str) -> dt.timezone:
    """The time zone of Z, +01:00, +0100 or +01."""
    if zone[0] not in "+-":
        return dt.timezone.utc  # noqa: UP017 - Python 3.10 has no dt.UTC
    minutes = int(zone[1:3]) * 60 + int(zone[3:].replace(":", "") or 0)
    return dt.timezone(dt.timedelta(minutes=-minutes if zone[0] == "-" else minutes))


def to_local_time(column: dict[str, Any], moment: dt.datetime) -> dt.datetime:
    """The time in the time zone of training; as written if training, or the cell, had none.

    Raises ValueError for a time zone beside that of training, if its offset from UTC is not known.
    """
    if moment.tzinfo is None or (column["offset"] is None and not column["zone"]):
        return moment.replace(tzinfo=None)
    if column["offset"] is None:
        raise ValueError(
            f"Column {column['name']!r} must hold times without a time zone, which are read in that of training "
            f"({column['zone']}), but holds {moment.isoformat()!r}. Convert it."
        )
    return moment.astimezone(dt.timezone(dt.timedelta(minutes=column["offset"]))).replace(tzinfo=None)


def read_category(column: dict[str, Any], cell: Any) -> int:
    """The code of a cell of categories or booleans; see `category_code`. Raises ValueError for other cells."""
    text = "" if is_missing(column, cell) else str(cell).strip()
    if text in ("True", "False") and not isinstance(cell, str):
        text = text.lower()
    elif column["kind"] == "boolean" and text:
        words = [word.lower() for word in column["words"]]
        if text.lower() not in words:
            expected = " or ".join(map(repr, column["words"]))
            raise ValueError(f"Column {column['name']!r} must hold {expected}, but holds {cell!r}.")
        text = ("false", "true")[words.index(text.lower())]
    elif text and isinstance(cell, (float, np.floating)):
        raise ValueError(
            f"Column {column['name']!r} must hold categories as text, but holds the number {cell!r}. Write it as in "
            "training."
        )
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
