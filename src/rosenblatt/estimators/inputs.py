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
from rosenblatt.data.readers.frames import as_frame
from rosenblatt.data.schema.columns import Column, Schema, schema_from_dtypes
from rosenblatt.errors import TableError

Frame: TypeAlias = pl.DataFrame | np.ndarray | csr_array
"""Checked rows: a frame, or for perceptrons also an array or a sparse matrix."""


def is_text_array(X: Any) -> bool:
    """Whether an array-like holds strings or other objects."""
    array = np.asarray(X) if isinstance(X, list) else X
    return getattr(getattr(array, "dtype", None), "kind", "f") in "OUS"  # an array-like may have no dtype


def to_numpy_dtype(y: Any) -> Any:
    """Convert a pandas extension dtype, such as Int64, boolean or category, to NumPy's if no value is missing.

    Objects that are all booleans become booleans.
    """
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


def schema_from_frame(frame: Frame) -> Schema:
    """Make the schema of checked rows from the types of their columns."""
    if isinstance(frame, pl.DataFrame):
        return schema_from_dtypes(frame)
    width = frame.shape[1] if isinstance(frame, np.ndarray) else 0  # a schema does not list sparse columns
    return Schema(columns=tuple(Column(name=f"x{i}", kind="number") for i in range(width)))


def unify_frames(frame: Any, validation_frame: Any) -> tuple[Any, Any]:
    """Bring training and validation rows to the same form: frames, if one of them is a frame.

    Raises TableError if only one of them is sparse, or if a column stores images differently.
    """
    if validation_frame is None:
        return frame, validation_frame
    if isinstance(frame, pl.DataFrame) and isinstance(validation_frame, pl.DataFrame):
        for name in set(frame.columns) & set(validation_frame.columns):
            storage, validation_storage = _image_storage(frame, name), _image_storage(validation_frame, name)
            if storage != validation_storage:
                raise TableError(
                    f"Column {name!r} holds {storage} in the training rows, but {validation_storage} in the "
                    "validation rows. Use the same for both."
                )
    if type(frame) is type(validation_frame):
        return frame, validation_frame
    if issparse(frame) or issparse(validation_frame):
        raise TableError(
            "The training and validation rows must both be sparse, or neither of them. Convert one of them."
        )
    return as_frame(frame), as_frame(validation_frame)


def _image_storage(frame: pl.DataFrame, name: str) -> str:
    dtype = frame.schema[name]
    if medium_kind(dtype) != "image":
        return "no images"
    return "paths of images" if dtype == pl.Struct({"image": pl.String}) else "images"


def make_dataset(frame: Frame, schema: Schema, y: np.ndarray, weight: np.ndarray | None) -> Dataset:
    """Type the columns by the schema and remove rows of weight 0; arrays stay as they are."""
    rows = schema.read(frame) if isinstance(frame, pl.DataFrame) else frame
    if weight is None:
        return Dataset(rows, y)
    has_weight = weight > 0
    selected = rows.filter(has_weight) if isinstance(rows, pl.DataFrame) else rows[has_weight]
    return Dataset(selected, y[has_weight], weight[has_weight])
