"""Base class of the scikit-learn estimators for images, sequences and texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import issparse
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from rosenblatt.data.media.columns import medium_kind, to_media_column
from rosenblatt.data.polars_threads import require_polars
from rosenblatt.data.readers.frames import as_frame, is_frame
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.schema.inference import detect_medium
from rosenblatt.errors import TableError
from rosenblatt.estimators.base import BaseNetworkEstimator
from rosenblatt.models.model import Model


class _MediaMixin(BaseNetworkEstimator):
    """Accepts images, sequences or texts as X, or frames with such columns."""

    def _frame(self, X: Any, *, reset: bool, schema: Schema | None = None) -> pl.DataFrame:
        require_polars()
        if is_frame(X):
            validate_data(self, X, skip_check_array=True, reset=reset)
            frame = _mark_media_columns(as_frame(X))
        else:
            frame = pl.DataFrame([self._to_media_column(as_rows(X))])
            if reset:
                self._forget_columns()
        if not frame.height:
            raise TableError("X holds no rows, but a minimum of 1 is required.")
        return frame

    def _load_model(self, model: Model, path: str | Path) -> None:
        super()._load_model(model, path)
        if all(column.name == column.kind for column in model.schema.columns):  # as named by `_to_media_column`
            self._forget_columns()

    def _forget_columns(self) -> None:
        """Remove what is known of the columns of frames: rows of an array are images, sequences or texts."""
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = tags.input_tags.string = True
        tags.input_tags.sparse = False
        return tags

    @abstractmethod
    def _to_media_column(self, X: Any) -> pl.Series:
        """Convert rows to a typed column."""


def as_rows(X: Any) -> Any:
    """Check that X can be iterated over; what only has `__array__` becomes an array."""
    if issparse(X):
        raise TableError("X is a sparse matrix, but sparse input is not supported. Convert it to a dense array.")
    rows: Any = X if isinstance(X, Iterable) else np.asarray(X)
    if isinstance(rows, np.ndarray) and rows.ndim == 0:
        raise TableError(f"X must hold rows, but it is {str(X)[:60]}.")
    if getattr(rows, "dtype", np.dtype(float)).kind == "c":
        raise TableError("Complex data not supported: X holds complex numbers. Give their parts as channels.")
    return rows


def _mark_media_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Mark columns of images and texts; strings that are not paths of images are texts."""

    def mark(series: pl.Series) -> pl.Series:
        if medium_kind(series.dtype):
            return series
        if detect_medium(series) == "image":
            return to_media_column(series, "image")
        return to_media_column(series, "text") if series.dtype == pl.String else series

    return pl.DataFrame([mark(series) for series in frame])
