"""Parse the cells of a column as normalized strings or dates, null for missing values."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

MARKERS_IN_TARGETS = frozenset({"", "?", "na", "n/a", "#n/a", "nan", "null"})  # 'none' may be a class
MISSING_MARKERS = MARKERS_IN_TARGETS | {"none", "nil", "-", "--", ".", "<na>", "missing"}

BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "y": True, "n": False, "t": True, "f": False}


def normalize_cells(series: pl.Series, markers: Iterable[str] = MISSING_MARKERS) -> pl.Series:
    """Convert a series to strings without surrounding spaces; markers of missing values become null."""
    if series.dtype.is_float() and all_integers(series.drop_nulls().drop_nans()):
        series = series.fill_nan(None).cast(pl.Int64)  # so that 1.0 and 1 are the same category
    text = series.cast(pl.String).str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(list(markers)).fill_null(False), None)


def all_integers(numbers: pl.Series) -> bool:
    """Whether all numbers are integers that a float64 holds exactly."""
    return bool((numbers.is_finite() & (numbers.abs() < 2.0**53) & (numbers == numbers.round())).all())
