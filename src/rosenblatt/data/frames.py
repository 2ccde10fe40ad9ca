"""In: rows as users hold them: arrays, pandas or Polars frames. Out: a Polars frame."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl


def is_frame(rows: Any) -> bool:
    """Whether these rows have named columns."""
    return isinstance(rows, pl.DataFrame) or (hasattr(rows, "columns") and hasattr(rows, "dtypes"))


def as_frame(rows: Any, names: Sequence[str] | None = None) -> pl.DataFrame:
    """A Polars frame of the same rows; columns of an array are named x0, x1, ... unless `names` says otherwise.

    Columns of strings are taken as categories, also those of an array of objects, where None and NaN are missing.
    Raises TypeError where a cell is neither number nor string.
    """
    if isinstance(rows, pl.DataFrame):
        return rows
    if is_frame(rows):
        return pl.DataFrame([_of_pandas(str(name), rows.iloc[:, i]) for i, name in enumerate(rows.columns)])
    array = np.asarray(rows)
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    names = names or [f"x{i}" for i in range(array.shape[1])]
    return pl.DataFrame([_of_array(name, column) for name, column in zip(names, array.T, strict=True)])


def _of_pandas(name: str, column: Any) -> pl.Series:
    kind = getattr(column.dtype, "kind", "O")
    missing = column.isna().to_numpy()
    if kind in "iuf":
        return pl.Series(name, column.to_numpy(np.float64, na_value=np.nan))
    if kind == "M":
        return pl.Series(name, column.to_numpy("datetime64[us]"))
    values = column.astype(object).to_numpy()
    if kind == "b":
        return pl.Series(
            name, [None if gone else bool(value) for value, gone in zip(values, missing, strict=True)], pl.Boolean
        )
    return pl.Series(
        name, [None if gone else str(value) for value, gone in zip(values, missing, strict=True)], pl.String
    )


def _of_array(name: str, column: np.ndarray) -> pl.Series:
    if column.dtype.kind in "biuf":
        return pl.Series(name, column.astype(np.float64))
    with contextlib.suppress(ValueError, TypeError):
        return pl.Series(name, column.astype(np.float64))
    missing = [value is None or (isinstance(value, float) and math.isnan(value)) for value in column]
    stray = next(
        (
            v
            for v, gone in zip(column, missing, strict=True)
            if not gone and not isinstance(v, str | float | int | bool)
        ),
        None,
    )
    if stray is not None:
        raise TypeError(
            f"argument must be a string or a number, but column {name} holds {stray!r}. Convert or drop it."
        )
    return pl.Series(name, [None if gone else str(v) for v, gone in zip(column, missing, strict=True)], pl.String)
