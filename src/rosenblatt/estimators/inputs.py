"""Convert the arguments of `fit` to a schema and a typed dataset."""

from __future__ import annotations

import datetime as dt
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from scipy.sparse import csr_array, issparse
from sklearn.utils.validation import _check_sample_weight

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.media.columns import medium_kind
from rosenblatt.data.readers.frames import as_frame, as_matrix, column_names, is_frame
from rosenblatt.data.schema.columns import Schema, schema_from_dtypes, schema_from_matrix
from rosenblatt.errors import TableError

Frame: TypeAlias = pl.DataFrame | np.ndarray | csr_array
"""Checked rows: a frame, a matrix of numbers (NaN if missing), or a sparse matrix."""


def is_text_array(X: Any) -> bool:
    """Whether an array-like holds strings, dates, durations or other objects.

    Raises TableError if it is nested, or holds complex numbers.
    """
    try:
        array = np.asarray(X) if isinstance(X, list) else X
    except ValueError as error:
        raise TableError(
            "X must be a table, with equally many numbers or strings in each row, but some rows are longer, or nested."
        ) from error
    kind = getattr(getattr(array, "dtype", None), "kind", "f")  # an array-like may have no dtype
    if kind == "c":
        raise TableError("Complex data not supported: X holds complex numbers. Give their parts as columns.")
    return kind in "OUSmM"


def fill_masked(values: Any) -> Any:
    """Fill a masked array with NaN, or with None if it holds no numbers; return anything else as it is."""
    if not np.ma.is_masked(values):
        return values
    is_numeric = values.dtype.kind in "biuf"
    filled = values.data.astype(np.float64 if is_numeric else object)
    filled[np.ma.getmaskarray(values)] = np.nan if is_numeric else None
    return filled


def to_numpy_dtype(y: Any) -> Any:
    """Convert a pandas extension dtype, such as Int64, boolean or category, to NumPy's if no value is missing.

    Masked values become missing ones, and objects that are all booleans become booleans.
    """
    y = fill_masked(y)
    dtype: Any = getattr(y, "dtype", None)
    is_complete = dtype is not None and hasattr(y, "isna") and not y.isna().any()
    if is_complete and hasattr(dtype, "categories"):
        y = y.astype(dtype.categories.dtype)
    elif is_complete and hasattr(dtype, "numpy_dtype"):
        y = y.to_numpy(dtype.numpy_dtype)
    if getattr(dtype, "kind", "") == "O" and all(isinstance(value, bool | np.bool_) for value in np.ravel(y)):
        return np.asarray(y, bool)
    return y


def reject_dates(y: Any, advice: str) -> None:
    """Raise TableError if y holds dates, times or durations; `advice` says what to do."""
    array = np.asarray(y)
    values = array.ravel() if array.dtype == object else ()
    first = next((value for value in values if value is not None), None)
    if array.dtype.kind in "mM" or isinstance(first, dt.date | dt.time | dt.timedelta):
        raise TableError(f"y holds dates or times, but {advice}")


def check_sample_weight(sample_weight: Any, n: int) -> np.ndarray | None:
    """Check weights as scikit-learn does; (n,) non-negative, or None if none are given."""
    if sample_weight is None:
        return None
    return _check_sample_weight(sample_weight, np.empty((n, 1)), ensure_non_negative=True)


def schema_from_frame(frame: Frame, X: Any, *, keeps_sparse: bool) -> Schema:
    """Make the schema of checked rows from the types of their columns, named as in X. Raises TableError.

    It lists no columns of a sparse matrix if `keeps_sparse`: networks that take it as it is.
    """
    if isinstance(frame, pl.DataFrame):
        return schema_from_dtypes(frame)
    if issparse(frame) and keeps_sparse:
        if np.isnan(frame.data).any():
            raise TableError("The sparse matrix X contains NaN or infinite values. Remove these entries.")
        return Schema(columns=())
    return schema_from_matrix(frame, column_names(X) if is_frame(X) else [f"x{i}" for i in range(frame.shape[1])])


def check_validation_rows(frame: Frame, validation_frame: Frame) -> None:
    """Check that validation rows have the form of the training rows.

    Raises TableError if only one of them is sparse, or if a column stores images differently.
    """
    if isinstance(frame, pl.DataFrame) and isinstance(validation_frame, pl.DataFrame):
        for name in set(frame.columns) & set(validation_frame.columns):
            storage, validation_storage = _image_storage(frame, name), _image_storage(validation_frame, name)
            if storage != validation_storage:
                raise TableError(
                    f"Column {name!r} holds {storage} in the training rows, but {validation_storage} in the "
                    "validation rows. Use the same for both."
                )
    if issparse(frame) != issparse(validation_frame):
        raise TableError(
            "The training and validation rows must both be sparse, or neither of them. Convert one of them."
        )


def _image_storage(frame: pl.DataFrame, name: str) -> str:
    dtype = frame.schema[name]
    if medium_kind(dtype) != "image":
        return "no images"
    return "paths of images" if dtype == pl.Struct({"image": pl.String}) else "images"


def make_dataset(frame: Frame, schema: Schema, y: np.ndarray, weight: np.ndarray | None) -> Dataset:
    """Type the columns by the schema and remove rows of weight 0; sparse matrices stay sparse.

    Rows of a schema that is numeric become a matrix. Raises TableError if they do not fit the schema.
    """
    rows, names = typed_rows(frame, schema), tuple(column.name for column in schema.input_columns)
    columns = () if isinstance(rows, pl.DataFrame) else names
    if weight is None:
        return Dataset(rows, y, columns=columns)
    has_weight = weight > 0
    selected = rows.filter(has_weight) if isinstance(rows, pl.DataFrame) else rows[has_weight]
    return Dataset(selected, y[has_weight], weight[has_weight], columns=columns)


def typed_rows(frame: Frame, schema: Schema) -> Frame:
    """Type checked rows by the schema: a matrix if the schema is numeric, else a typed table, or a sparse matrix."""
    if isinstance(frame, csr_array) and not schema.columns:
        return frame
    if isinstance(frame, np.ndarray | csr_array):
        if schema.is_numeric:
            return schema.read_matrix(frame)
        frame = as_frame(
            frame if isinstance(frame, np.ndarray) else frame.toarray(), [column.name for column in schema.columns]
        )
    typed = schema.read(frame)
    matrix = as_matrix(typed) if schema.is_numeric else None
    return typed if matrix is None else matrix
