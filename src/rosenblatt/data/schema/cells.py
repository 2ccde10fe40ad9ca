"""Normalize the cells of a column."""

from __future__ import annotations

import polars as pl


def all_integers(numbers: pl.Series) -> bool:
    """Whether all numbers are integers that a float64 holds exactly."""
    return bool((numbers.is_finite() & (numbers.abs() < 2.0**53) & (numbers == numbers.round())).all())


def strip_cells(series: pl.Series) -> pl.Series:
    """Strings without surrounding spaces, null for empty ones; floats that are all integers are written as such."""
    if series.dtype.is_float() and all_integers(series.drop_nulls().drop_nans()):
        series = series.fill_nan(None).cast(pl.Int64)
    text = series.cast(pl.String).str.strip_chars()
    return text.set((text.str.len_bytes() == 0).fill_null(False), None)
