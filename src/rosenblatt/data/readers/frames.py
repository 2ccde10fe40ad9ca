"""Convert arrays and pandas or Polars frames to Polars frames."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.polars_threads import require_polars
from rosenblatt.errors import TableError


def is_frame(rows: Any) -> bool:
    """Whether rows are a data frame of Polars or pandas."""
    return isinstance(rows, pl.DataFrame) or (hasattr(rows, "columns") and hasattr(rows, "dtypes"))


def column_names(rows: Any) -> list[str]:
    """The column names of a data frame of Polars or pandas. Raises TableError if two columns have the same name."""
    names = [str(name) for name in rows.columns]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise TableError(f"Several columns are named {repeated[0]!r}. Give each column its own name.")
    return names


def as_matrix(rows: Any) -> np.ndarray | None:
    """Convert a data frame or an array of numbers to a matrix (n, F) float64, without Polars' threads.

    Missing values are NaN. Returns None if a column holds anything else, such as strings, booleans or dates; arrays may
    hold booleans and numbers that are written as strings.
    """
    if isinstance(rows, pl.DataFrame):
        if not all(dtype.is_numeric() for dtype in rows.dtypes):
            return None
        matrix = np.empty(rows.shape, order="F")
        for i, series in enumerate(rows):
            matrix[:, i] = series.cast(pl.Float64).to_numpy()
        return matrix
    if is_frame(rows):
        is_numeric = all(getattr(dtype, "kind", "O") in "iuf" for dtype in set(rows.dtypes))
        return rows.to_numpy(np.float64, na_value=np.nan) if is_numeric else None
    array = np.asarray(rows)
    if array.dtype.kind not in "biufOUS":
        return None
    try:
        matrix = array.astype(np.float64, copy=False)
    except (ValueError, TypeError):
        return None
    return matrix.reshape(-1, 1) if matrix.ndim == 1 else matrix


def as_frame(rows: Any, names: Sequence[str] | None = None) -> pl.DataFrame:
    """Convert a data frame or an array to a Polars frame.

    Args:
        rows: a frame of Polars or pandas, or an array (n,) or (n, F). In arrays of objects, None and NaN are missing.
        names: column names of an array; x0, x1, ... by default.

    Raises:
        TypeError: if a cell of an array is neither a number nor a string.
        TableError: if two columns have the same name, or in a forked process (see `require_polars`).
    """
    require_polars()
    if isinstance(rows, pl.DataFrame):
        return rows
    if is_frame(rows):
        return pl.DataFrame([_from_pandas(name, rows.iloc[:, i]) for i, name in enumerate(column_names(rows))])
    array = np.asarray(rows)
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    names = [f"x{i}" for i in range(array.shape[1])] if names is None else list(names)
    return pl.DataFrame([_from_array(name, column) for name, column in zip(names, array.T, strict=True)])


def _from_pandas(name: str, column: Any) -> pl.Series:
    kind = getattr(column.dtype, "kind", "O")
    if kind in "iuf":
        return pl.Series(name, column.to_numpy(np.float64, na_value=np.nan))
    if kind == "M":
        local = column.dt.tz_localize(None) if getattr(column.dtype, "tz", None) else column
        return pl.Series(name, local.to_numpy("datetime64[us]"))
    if kind == "m":
        return pl.Series(name, column.to_numpy("timedelta64[us]"))
    missing = column.isna().to_numpy()
    values = [None if is_missing else value for value, is_missing in zip(column.astype(object), missing, strict=True)]
    if any(isinstance(value, list | tuple | np.ndarray) for value in values):
        return _from_lists(name, values)
    if any(isinstance(value, bytes) for value in values):
        return pl.Series(name, values, pl.Binary)
    if column.dtype.name not in ("category", "str", "string"):
        with contextlib.suppress(TypeError, ValueError, pl.exceptions.PolarsError):
            series = pl.Series(name, values)
            if series.dtype == pl.Boolean or series.dtype.is_numeric() or series.dtype.is_temporal():
                return series
    strings = pl.Series(name, [None if value is None else str(value) for value in values], pl.String)
    return strings.cast(pl.Categorical) if column.dtype.name == "category" else strings


def _from_lists(name: str, values: list[Any]) -> pl.Series:
    """Sequences of numbers, or of steps with several numbers each. Raises TypeError for other lists."""
    try:
        return pl.Series(name, [None if value is None else np.asarray(value, np.float64).tolist() for value in values])
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise TypeError(f"Column {name!r} must hold sequences of numbers, all of one shape: {error}.") from error


def _from_array(name: str, column: np.ndarray) -> pl.Series:
    if column.dtype.kind in "biuf":
        return pl.Series(name, column.astype(np.float64))
    with contextlib.suppress(ValueError, TypeError):
        return pl.Series(name, column.astype(np.float64))
    missing = [value is None or (isinstance(value, float) and math.isnan(value)) for value in column]
    invalid = next(
        (
            v
            for v, is_missing in zip(column, missing, strict=True)
            if not is_missing and not isinstance(v, str | float | int | bool)
        ),
        None,
    )
    if invalid is not None:
        raise TypeError(
            f"argument must be a string or a number, but column {name} holds {invalid!r}. Convert or drop the column."
        )
    return pl.Series(
        name, [None if is_missing else str(v) for v, is_missing in zip(column, missing, strict=True)], pl.String
    )
