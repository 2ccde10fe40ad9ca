"""In: what users hand to estimators. Out: a schema, typed rows, and those of them that weigh anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_array, issparse

from rosenblatt.data.dataset import Data
from rosenblatt.data.media.columns import medium_of
from rosenblatt.data.readers.frames import as_frame
from rosenblatt.data.schema.columns import Column, Schema, of_types
from rosenblatt.errors import TableError


def of_numpy(y: Any) -> Any:
    """The same with a NumPy type, where it has one of pandas that can be missing (Int64, boolean) but is not."""
    plain = getattr(getattr(y, "dtype", None), "numpy_dtype", None)
    return y.to_numpy(plain) if plain is not None and not y.isna().any() else y


def schema_of(frame: pl.DataFrame | np.ndarray | csr_array) -> Schema:
    """What the columns hold, by their types."""
    if isinstance(frame, pl.DataFrame):
        return of_types(frame)
    width = frame.shape[1] if isinstance(frame, np.ndarray) else 0  # a sparse matrix may have any number of columns
    return Schema(columns=tuple(Column(name=f"x{i}", kind="number") for i in range(width)))


def alike(frame: Any, other: Any) -> tuple[Any, Any]:
    """Rows to learn from and to validate on in one form, a frame where one of them is. Raises TableError."""
    if other is None:
        return frame, other
    if isinstance(frame, pl.DataFrame) and isinstance(other, pl.DataFrame):
        for name in set(frame.columns) & set(other.columns):
            ours, theirs = _cells(frame, name), _cells(other, name)
            if ours != theirs:
                raise TableError(
                    f"Column {name!r} holds {ours} to learn from, but {theirs} to validate on. Give one kind."
                )
    if type(frame) is type(other):
        return frame, other
    if issparse(frame) or issparse(other):
        raise TableError("Rows to learn from and to validate on must both be sparse, or neither. Convert one of them.")
    return as_frame(frame), as_frame(other)


def _cells(frame: pl.DataFrame, name: str) -> str:
    """How a column holds images, where it does."""
    dtype = frame.schema[name]
    if medium_of(dtype) != "image":
        return "no images"
    return "paths of images" if dtype == pl.Struct({"image": pl.String}) else "images"


def typed(frame: pl.DataFrame | np.ndarray | csr_array, schema: Schema) -> pl.DataFrame | np.ndarray | csr_array:
    """The rows as the schema reads them; arrays stay as they are."""
    return schema.read(frame) if isinstance(frame, pl.DataFrame) else frame


def with_weight(frame: pl.DataFrame | np.ndarray | csr_array, y: np.ndarray, weight: np.ndarray | None) -> Data:
    """The rows that weigh anything."""
    if weight is None:
        return Data(frame, y)
    heavy = weight > 0
    kept = frame.filter(heavy) if isinstance(frame, pl.DataFrame) else frame[heavy]
    return Data(kept, y[heavy], weight[heavy])
