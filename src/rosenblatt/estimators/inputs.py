"""Convert the arguments of `fit` to a schema and typed rows, without the rows of zero weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_array, issparse

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.media.columns import medium_type
from rosenblatt.data.readers.frames import as_frame
from rosenblatt.data.schema.columns import Column, Schema, schema_from_dtypes
from rosenblatt.errors import TableError


def to_numpy_dtype(y: Any) -> Any:
    """The same with a NumPy type, where it has one of pandas that can be missing (Int64, boolean) but is not."""
    numpy_dtype = getattr(getattr(y, "dtype", None), "numpy_dtype", None)
    return y.to_numpy(numpy_dtype) if numpy_dtype is not None and not y.isna().any() else y


def schema_from_frame(frame: pl.DataFrame | np.ndarray | csr_array) -> Schema:
    """What the columns hold, by their types."""
    if isinstance(frame, pl.DataFrame):
        return schema_from_dtypes(frame)
    width = frame.shape[1] if isinstance(frame, np.ndarray) else 0  # a sparse matrix may have any number of columns
    return Schema(columns=tuple(Column(name=f"x{i}", kind="number") for i in range(width)))


def unify_frames(frame: Any, validation_frame: Any) -> tuple[Any, Any]:
    """Rows to learn from and to validate on in one form, a frame where one of them is. Raises TableError."""
    if validation_frame is None:
        return frame, validation_frame
    if isinstance(frame, pl.DataFrame) and isinstance(validation_frame, pl.DataFrame):
        for name in set(frame.columns) & set(validation_frame.columns):
            storage, validation_storage = _image_storage(frame, name), _image_storage(validation_frame, name)
            if storage != validation_storage:
                raise TableError(
                    f"Column {name!r} holds {storage} to learn from, but {validation_storage} to validate on. "
                    "Give one kind."
                )
    if type(frame) is type(validation_frame):
        return frame, validation_frame
    if issparse(frame) or issparse(validation_frame):
        raise TableError("Rows to learn from and to validate on must both be sparse, or neither. Convert one of them.")
    return as_frame(frame), as_frame(validation_frame)


def _image_storage(frame: pl.DataFrame, name: str) -> str:
    """How a column holds images, where it does."""
    dtype = frame.schema[name]
    if medium_type(dtype) != "image":
        return "no images"
    return "paths of images" if dtype == pl.Struct({"image": pl.String}) else "images"


def apply_schema(frame: pl.DataFrame | np.ndarray | csr_array, schema: Schema) -> pl.DataFrame | np.ndarray | csr_array:
    """The rows as the schema reads them; arrays stay as they are."""
    return schema.read(frame) if isinstance(frame, pl.DataFrame) else frame


def drop_zero_weight_rows(
    frame: pl.DataFrame | np.ndarray | csr_array, y: np.ndarray, weight: np.ndarray | None
) -> Dataset:
    """The rows that weigh anything."""
    if weight is None:
        return Dataset(frame, y)
    has_weight = weight > 0
    rows = frame.filter(has_weight) if isinstance(frame, pl.DataFrame) else frame[has_weight]
    return Dataset(rows, y[has_weight], weight[has_weight])
