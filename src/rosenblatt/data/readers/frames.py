"""Convert arrays and pandas or Polars frames to Polars frames."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from rosenblatt.data.polars_threads import require_polars
from rosenblatt.data.table import check_column_names
from rosenblatt.errors import TableError

MAX_OBJECT_ROWS = 256  # rows of a pandas frame up to which all its cells are converted to objects


def is_frame(rows: Any) -> bool:
    """Whether rows are a data frame of Polars or pandas."""
    return isinstance(rows, pl.DataFrame) or (hasattr(rows, "columns") and hasattr(type(rows), "dtypes"))


def column_names(rows: Any) -> list[str]:
    """The column names of a data frame of Polars or pandas.

    Raises:
        TableError: if two columns have the same name, or the name of a column is a pattern of names.
    """
    names = [str(name) for name in rows.columns]
    if len({*names}) < len(names):
        repeated = next(name for name, count in Counter(names).items() if count > 1)
        raise TableError(f"Several columns are named {repeated!r}. Give each column its own name.")
    check_column_names(names)
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
    numbers = _as_numbers(np.asarray(rows))
    return numbers.reshape(-1, 1) if numbers is not None and numbers.ndim == 1 else numbers


def _as_numbers(array: np.ndarray) -> np.ndarray | None:
    """Convert an array to float64, if it holds numbers, booleans, numbers written as strings, or None."""

    def is_float(cell: type) -> bool:
        return issubclass(cell, _FLOAT_TYPES) and not issubclass(cell, np.timedelta64)  # NumPy's durations are integers

    if array.dtype.kind not in "biufUS" and not (
        array.dtype.kind == "O" and all(map(is_float, set(map(type, array.ravel()))))
    ):
        return None
    with contextlib.suppress(ValueError, TypeError):
        return array.astype(np.float64, copy=False)
    return None


def as_frame(rows: Any, names: Sequence[str] | None = None) -> pl.DataFrame:
    """Convert a data frame or an array to a Polars frame.

    Args:
        rows: a frame of Polars or pandas, or an array (n,) or (n, F). The kind of a column of objects follows from all
            its cells; None, NaN and NaT are missing.
        names: column names of an array; x0, x1, ... by default.

    Raises:
        TypeError: if a cell is neither a number, a boolean, a string, a date, a duration nor a sequence of numbers.
        TableError: if two columns have the same name, a name is a pattern of names, or in a forked process (see
            `require_polars`).
    """
    require_polars()
    if isinstance(rows, pl.DataFrame):
        check_column_names(rows.columns)
        return rows
    if is_frame(rows):
        return pl.DataFrame(list(_pandas_columns(rows)))
    array = np.asarray(rows)
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    names = [f"x{i}" for i in range(array.shape[1])] if names is None else list(names)
    return pl.DataFrame([_from_array(name, column) for name, column in zip(names, array.T, strict=True)])


def _pandas_columns(rows: Any) -> Iterator[pl.Series]:
    """The columns of a pandas frame. Of few rows, pandas gives all cells at once faster than it makes a column."""
    cells = rows.to_numpy(object).T if len(rows) <= MAX_OBJECT_ROWS else [None] * len(rows.columns)
    for i, (name, dtype, objects) in enumerate(zip(column_names(rows), rows.dtypes, cells, strict=True)):
        is_number = isinstance(dtype, np.dtype) and dtype.kind in "iuf"
        words = None if objects is None or is_number else _words(objects.tolist(), dtype.name)
        if objects is not None and is_number:
            yield pl.Series(name, objects.astype(np.float64))
        else:
            yield _from_pandas(name, rows.iloc[:, i]) if words is None else pl.Series(name, words, pl.String)


def _words(cells: list[Any], dtype: str) -> list[str | None] | None:
    """The cells of a column of strings, None if missing; None for columns of other types."""
    is_text = dtype in ("str", "string") or (dtype == "object" and str in {*map(type, cells)})
    if not is_text or not all(type(cell) is str or _is_missing(cell) for cell in cells):
        return None
    return [cell if type(cell) is str else None for cell in cells]


def _from_pandas(name: str, column: Any) -> pl.Series:
    dtype = column.dtype
    kind = getattr(dtype, "kind", "O")
    if kind in "iuf":
        return pl.Series(name, column.to_numpy(np.float64, na_value=np.nan))
    if kind == "M":
        local = column.dt.tz_localize(None) if getattr(dtype, "tz", None) else column
        return pl.Series(name, local.to_numpy("datetime64[us]"))
    if kind == "m":
        return pl.Series(name, column.to_numpy("timedelta64[us]"))
    if dtype.name.startswith("period"):
        return _from_pandas(name, column.dt.to_timestamp())
    inferred = column.infer_objects() if dtype.name == "object" else column
    if inferred.dtype.name != dtype.name:
        return _from_pandas(name, inferred)
    missing = column.isna().to_numpy()
    values = [None if is_missing else value for value, is_missing in zip(column.astype(object), missing, strict=True)]
    return _text(name, values).cast(pl.Categorical) if dtype.name == "category" else _from_objects(name, values)


def _from_array(name: str, column: np.ndarray) -> pl.Series:
    if column.dtype.kind == "M":
        return pl.Series(name, column.astype("datetime64[us]"))
    if column.dtype.kind == "m":
        return pl.Series(name, column.astype("timedelta64[us]"))
    numbers = _as_numbers(column)
    if numbers is not None:
        return pl.Series(name, numbers)
    return _from_objects(name, [None if _is_missing(value) else value for value in column])


def _is_missing(value: Any) -> bool:
    """Whether a cell is None, NaN, NaT, or pandas' NA."""
    is_nan = isinstance(value, float | np.generic | dt.datetime) and value != value  # noqa: PLR0124 - NaN
    return value is None or bool(is_nan) or type(value).__name__ == "NAType"


def _from_objects(name: str, values: list[Any]) -> pl.Series:
    """A column of Python objects by the types of all its cells: numbers, dates or others of one kind, or else text.

    Raises TypeError for cells that are none of these.
    """
    types = {type(value) for value in values if value is not None}
    if any(issubclass(cell, list | tuple | np.ndarray) for cell in types):
        return _from_lists(name, values)
    for kind in _OBJECT_KINDS:
        if types and all(issubclass(cell, kind.types) for cell in types):
            return pl.Series(name, [None if value is None else kind.convert(value) for value in values], kind.dtype)
    return _text(name, values)


class _ObjectKind(NamedTuple):
    types: tuple[type, ...]
    dtype: pl.DataType | type[pl.DataType]
    convert: Callable[[Any], Any]


def _to_datetime(value: Any) -> dt.datetime:
    """Local time without a time zone, as for columns of dates."""
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item()
    if not isinstance(value, dt.datetime):
        return dt.datetime.combine(value, dt.time())
    return value.replace(tzinfo=None)


_OBJECT_KINDS = (
    _ObjectKind((bool, np.bool_), pl.Boolean, bool),
    _ObjectKind((dt.date, np.datetime64), pl.Datetime("us"), _to_datetime),
    _ObjectKind(
        (dt.timedelta, np.timedelta64), pl.Duration("us"), lambda value: np.timedelta64(value).astype("m8[us]").item()
    ),
    _ObjectKind((Real, Decimal, np.bool_), pl.Float64, float),  # and np.timedelta64, above
    _ObjectKind((dt.time,), pl.Time, lambda value: value.replace(tzinfo=None)),
    _ObjectKind((bytes,), pl.Binary, bytes),
)
_FLOAT_TYPES = (str, int, float, np.integer, np.floating, np.bool_, type(None))  # as in scikit-learn's arrays
_NOT_TEXT = (complex, np.complexfloating, bytes, dict, set, frozenset, np.void)


def _text(name: str, values: list[Any]) -> pl.Series:
    """Cells as strings. Raises TypeError for containers, complex numbers, and objects without a text of their own."""
    for cell in {type(value) for value in values if value is not None}:
        has_text = any(vars(base).keys() & {"__str__", "__repr__"} for base in cell.__mro__[:-1])
        if issubclass(cell, _NOT_TEXT) or not has_text:
            example = repr(next(value for value in values if type(value) is cell))[:60]
            raise TypeError(
                f"argument must be a string or a number, but column {name} holds {example}. Convert or drop the column."
            )
    return pl.Series(name, [None if value is None else str(value) for value in values], pl.String)


def _from_lists(name: str, values: list[Any]) -> pl.Series:
    """Sequences of numbers, or of steps with several numbers each. Raises TypeError for other lists."""
    rows = []
    for index, value in enumerate(values):
        try:
            rows.append(None if value is None else np.asarray(value, np.float64).tolist())
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"Column {name!r} must hold sequences of numbers, or of steps with equally many numbers each, but row "
                f"{index + 1} holds {str(value)[:60]}."
            ) from error
    try:
        return pl.Series(name, rows)
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise TypeError(
            f"Column {name!r} must hold sequences of numbers, all of one shape. Convert or drop the column."
        ) from error
