"""Parse the cells of a column as normalized strings or dates, null for missing values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import polars as pl

MARKERS_IN_TARGETS = frozenset({"", "?", "na", "n/a", "#n/a", "nan", "null"})  # 'none' may be a class
MISSING_MARKERS = MARKERS_IN_TARGETS | {"none", "nil", "-", "--", ".", "<na>", "missing"}

BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "y": True, "n": False, "t": True, "f": False}

DATE_FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.fZ", "%Y-%m-%dT%H:%M:%S%.f%z",
    "%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M",
    "%Y/%m/%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%d.%m.%Y", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d-%m-%Y", "%d-%b-%Y",
    "%d %b %Y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y", "%Y-%m", "%Y/%m", "%b %Y", "%B %Y",
)  # fmt: skip
TIME_FORMATS = ("%H:%M:%S", "%H:%M")


def normalize_cells(series: pl.Series, markers: Iterable[str] = MISSING_MARKERS) -> pl.Series:
    """Convert a series to strings without surrounding spaces; markers of missing values become null."""
    if series.dtype.is_float() and all_integers(series.drop_nulls().drop_nans()):
        series = series.fill_nan(None).cast(pl.Int64)  # so that 1.0 and 1 are the same category
    text = series.cast(pl.String).str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(list(markers)).fill_null(False), None)


def all_integers(numbers: pl.Series) -> bool:
    """Whether all numbers are integers that a float64 holds exactly."""
    return bool((numbers.is_finite() & (numbers.abs() < 2.0**53) & (numbers == numbers.round())).all())


def parse_dates(text: pl.Series, format: str) -> pl.Series:
    """Parse strings as Datetime, null for other strings; a month is its first day, a time is on 1 January 1970."""
    if format in TIME_FORMATS:
        return ("1970-01-01 " + text).str.to_datetime("%Y-%m-%d " + format, strict=False, time_unit="us")
    if "%d" not in format:
        return (text + " 1").str.to_date(f"{format} %d", strict=False).cast(pl.Datetime("us"))
    if "%H" not in format:
        return text.str.to_date(format, strict=False).cast(pl.Datetime("us"))
    return text.str.to_datetime(format, strict=False, time_unit="us").dt.replace_time_zone(None)


def as_dates(series: pl.Series) -> pl.Series:
    """Convert dates, times or durations to Datetime; times and durations count from 1 January 1970."""
    if series.dtype == pl.Datetime:
        return series.dt.replace_time_zone(None).cast(pl.Datetime("us"))
    if series.dtype == pl.Time:
        return (series.cast(pl.Int64) // 1000).cast(pl.Datetime("us"))
    if series.dtype == pl.Duration:
        return series.dt.total_microseconds().cast(pl.Datetime("us"))
    return series.cast(pl.Datetime("us"))


def date_features(dates: pl.Series) -> tuple[str, ...]:
    """The features of dates that vary: the day, and the position in the year, the week and the day."""
    values = dates.drop_nulls()
    if values.dt.date().n_unique() == 1:
        return ("hour",)
    has_time = bool((values.dt.time() != dt.time()).any())
    return ("day", "month", "weekday", "hour") if has_time else ("day", "month", "weekday")


def date_feature(dates: pl.Series, part: str) -> pl.Series:
    """One of `date_features`, as Float64: days since 1970, month 1 to 12, weekday 1 (Monday) to 7, hour 0 to 24."""
    if part == "day":
        return dates.dt.timestamp("ms").cast(pl.Float64) / 86_400_000
    if part == "month":
        return dates.dt.month().cast(pl.Float64)
    if part == "weekday":
        return dates.dt.weekday().cast(pl.Float64)
    return dates.dt.hour().cast(pl.Float64) + dates.dt.minute().cast(pl.Float64) / 60
