"""Dates written as numbers: eight digits such as 20240131, the days of Excel, and Unix times.

Numbers are dates only if the name of their column says so, and their values lie in a plausible range.
"""

from __future__ import annotations

import polars as pl

from rosenblatt.data.schema.dates import (
    DateFormat,
    InferredDates,
    describe_strays,
    infer_dates,
    may_be_strays,
    read_dates,
)
from rosenblatt.data.schema.identifiers import split_name
from rosenblatt.data.schema.notes import Note

_DATE_WORDS = {"date", "dates", "datum", "fecha", "datetime", "birthdate", "birthday", "dob"}
_TIME_WORDS = {
    "time", "timestamp", "timestamps", "ts", "dt", "day", "when", "epoch", "unix", "created", "updated", "modified",
    "month", "yearmonth", "period", "ymd", "ym", "yyyymmdd", "yyyymm",
}  # fmt: skip
_NAME_ENDINGS = ("date", "datum", "time", "timestamp", "_at")

_DIGITS = {  # how digits are written as dates with separators
    "yyyymmdd": (r"^([0-9]{4})([0-9]{2})([0-9]{2})$", "$1-$2-$3"),
    "yyyymm": (r"^([0-9]{4})([0-9]{2})$", "$1-$2"),
    "yyyymmddhhmmss": (r"^([0-9]{8})([0-9]{6})$", "$1 $2"),
    "yyyymmddhhmm": (r"^([0-9]{8})([0-9]{4})$", "$1 $2"),
    "ddmmyyyy": (r"^([0-9]{1,2})([0-9]{2})([0-9]{4})$", "$1/$2/$3"),
    "yymmdd": (r"^([0-9]{2})([0-9]{2})([0-9]{2})$", "$1-$2-$3"),
}
_MICROSECONDS = {
    "days of Excel": 86_400e6, "Unix seconds": 1e6, "Unix milliseconds": 1e3, "Unix microseconds": 1.0,
    "Unix nanoseconds": 1e-3,
}  # fmt: skip
_EXCEL_EPOCH = 25_569  # 1 January 1970 in days of Excel
_EXCEL_RANGE = (20_000, 80_000)  # the years 1954 to 2119
_UNIX_RANGE_US = (315_532_800e6, 4_102_444_800e6)  # the years 1980 to 2100
_YEAR_RANGE = (1850, 2100)


def has_date_name(name: str) -> bool:
    """Whether a column of this name may hold dates or times."""
    return not (_DATE_WORDS | _TIME_WORDS).isdisjoint(split_name(name)) or name.lower().endswith(_NAME_ENDINGS)


def infer_numeric_dates(numbers: pl.Series, name: str, day_first: bool | None = None) -> InferredDates | None:
    """Infer what numbers without nulls count, if the name of their column says that they are dates.

    See `infer_dates` for the arguments. Returns None if they are just numbers.
    """
    if not has_date_name(name):
        return None
    for unit in _DIGITS:
        inferred = infer_dates(_digits_to_text(numbers, unit), name, day_first)
        if inferred is not None and inferred.dates.drop_nulls().dt.year().is_between(*_YEAR_RANGE).all():
            return _with_unit(inferred, unit)
    for unit in _MICROSECONDS:
        if unit == "days of Excel" and _DATE_WORDS.isdisjoint(split_name(name)):
            continue
        values = numbers.set(~_is_plausible(numbers, unit), None)
        strays = _to_text(numbers.filter(values.is_null()))
        if may_be_strays(strays, len(numbers)):
            dates = _count(values, unit)
            return _with_unit(InferredDates(DateFormat(layouts=(unit,)), dates, describe_strays(strays)), unit)
    return None


def read_numeric_dates(text: pl.Series, format: DateFormat, notes: list[Note]) -> pl.Series:
    """Read cells as dates in the format of the training table; null for cells that are no dates.

    Cells that are no numbers may be dates in another layout, see `read_dates`.
    """
    numbers = text.cast(pl.Float64, strict=False)
    other_dates = read_dates(text.set(numbers.is_not_null(), None), format, notes)
    if format.unit in _DIGITS:
        dates = read_dates(_digits_to_text(numbers, format.unit), format, notes)
    else:
        dates = _count(numbers.set(~_is_plausible(numbers, format.unit), None), format.unit)
    return dates.zip_with(numbers.is_not_null(), other_dates)


def _with_unit(inferred: InferredDates, unit: str) -> InferredDates:
    notes = (Note(text=f"numbers read as dates, as the name says: {unit}"), *inferred.notes)
    return InferredDates(inferred.format.model_copy(update={"unit": unit}), inferred.dates, notes)


def _to_text(numbers: pl.Series) -> pl.Series:
    is_integer = (numbers == numbers.round()) & (numbers.abs() < 2.0**53)
    return numbers.cast(pl.Int64, strict=False).cast(pl.String).zip_with(is_integer, numbers.cast(pl.String))


def _digits_to_text(numbers: pl.Series, unit: str) -> pl.Series:
    """Numbers as dates that `split_dates` reads."""
    pattern, replacement = _DIGITS[unit]
    return _to_text(numbers).str.replace(pattern, replacement)


def _is_plausible(numbers: pl.Series, unit: str) -> pl.Series:
    if unit == "days of Excel":
        return numbers.is_between(*_EXCEL_RANGE)
    return (numbers * _MICROSECONDS[unit]).is_between(*_UNIX_RANGE_US)


def _count(numbers: pl.Series, unit: str) -> pl.Series:
    epoch = _EXCEL_EPOCH if unit == "days of Excel" else 0
    return ((numbers - epoch) * _MICROSECONDS[unit]).round().cast(pl.Int64).cast(pl.Datetime("us"))
