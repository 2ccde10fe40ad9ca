"""Parse the cells of a column into clean strings, numbers or dates, with null for missing values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Literal

import polars as pl

MARKERS_IN_TARGETS = frozenset({"", "?", "na", "n/a", "#n/a", "nan", "null"})  # 'none' may well be a class
MISSING_MARKERS = MARKERS_IN_TARGETS | {"none", "nil", "-", "--", ".", "<na>", "missing"}

BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "y": True, "n": False, "t": True, "f": False}

NumberStyle = Literal["plain", "1,234.5", "1.234,5"]

DATE_FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.fZ", "%Y-%m-%dT%H:%M:%S%.f%z",
    "%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M",
    "%Y/%m/%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%d.%m.%Y", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d-%m-%Y", "%d-%b-%Y",
    "%d %b %Y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y", "%Y-%m", "%Y/%m", "%b %Y", "%B %Y",
)  # fmt: skip
TIME_FORMATS = ("%H:%M:%S", "%H:%M")

# What may stand round a number, and the marks inside it: thousands by comma, blank or apostrophe and a decimal point,
# or thousands by point, blank or apostrophe and a decimal comma.
_SYMBOLS = r"[$€£¥%\s]"
_DECIMAL_POINT = r"^[-+]?\d{1,3}([, '\u00a0\u202f]\d{3})*(\.\d+)?$"
_DECIMAL_COMMA = r"^[-+]?\d{1,3}([. '\u00a0\u202f]\d{3})*(,\d+)?$|^[-+]?\d+,\d+$"


def normalize_cells(series: pl.Series, markers: Iterable[str] = MISSING_MARKERS) -> pl.Series:
    """Any series as strings, without blanks round them, null where a marker of missing values stands."""
    if series.dtype.is_float() and all_integers(series.drop_nulls().drop_nans()):
        series = series.fill_nan(None).cast(pl.Int64)  # 1.0 and 1 are the same category
    text = series.cast(pl.String).str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(list(markers)).fill_null(False), None)


def all_integers(numbers: pl.Series) -> bool:
    """Whether all are whole numbers (within the limits of an Int64)."""
    return bool((numbers.is_finite() & (numbers.abs() < 2.0**53) & (numbers == numbers.round())).all())


def parse_numbers(text: pl.Series, style: NumberStyle | None = None) -> tuple[NumberStyle, pl.Series]:
    """Strings as Float64, null where a string is none, and the style they are written in.

    With no style given, it is the one that reads most of the cells; plain numbers win a tie.
    """
    if style is not None:
        return style, _parse(text, style)
    plain = _parse(text, "plain")
    best: tuple[NumberStyle, pl.Series] = ("plain", plain)
    if plain.null_count() > text.null_count():
        for candidate in ("1,234.5", "1.234,5"):
            parsed = _parse(text, candidate)
            if parsed.null_count() < best[1].null_count():
                best = (candidate, parsed)
    return best


def _parse(text: pl.Series, style: NumberStyle) -> pl.Series:
    if style == "plain":
        return text.cast(pl.Float64, strict=False).fill_nan(None)
    stripped = text.str.replace_all(_SYMBOLS + r"+$|^" + _SYMBOLS + "+", "").str.replace(r"^([-+])[$€£¥]", "$1")
    plain = stripped.cast(pl.Float64, strict=False)
    if style == "1,234.5":
        digits = stripped.set(~stripped.str.contains(_DECIMAL_POINT), None).str.replace_all(r"[, '\u00a0\u202f]", "")
        return digits.cast(pl.Float64, strict=False).fill_null(plain)
    digits = (
        stripped.set(~stripped.str.contains(_DECIMAL_COMMA), None)
        .str.replace_all(r"[. '\u00a0\u202f]", "")
        .str.replace(",", ".")
    )
    return digits.cast(pl.Float64, strict=False)


def parse_dates(text: pl.Series, format: str) -> pl.Series:
    """Strings as Datetime, null where a string is none; a month is its first day, a time one of 1 January 1970."""
    if format in TIME_FORMATS:
        return ("1970-01-01 " + text).str.to_datetime("%Y-%m-%d " + format, strict=False, time_unit="us")
    if "%d" not in format:
        return (text + " 1").str.to_date(f"{format} %d", strict=False).cast(pl.Datetime("us"))
    if "%H" not in format:
        return text.str.to_date(format, strict=False).cast(pl.Datetime("us"))
    return text.str.to_datetime(format, strict=False, time_unit="us").dt.replace_time_zone(None)


def as_dates(series: pl.Series) -> pl.Series:
    """A series of any type for dates, times and durations as Datetime; the latter two count from 1 January 1970."""
    if series.dtype == pl.Datetime:
        return series.dt.replace_time_zone(None).cast(pl.Datetime("us"))
    if series.dtype == pl.Time:
        return (series.cast(pl.Int64) // 1000).cast(pl.Datetime("us"))
    if series.dtype == pl.Duration:
        return series.dt.total_microseconds().cast(pl.Datetime("us"))
    return series.cast(pl.Datetime("us"))


def date_features(dates: pl.Series) -> tuple[str, ...]:
    """What of these dates a network can learn from: when it was, and where in the year, the week and the day."""
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
