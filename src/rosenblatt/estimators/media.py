"""Base class of the scikit-learn estimators for images, sequences and texts."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.media.columns import medium_kind, to_media_column
from rosenblatt.data.polars_threads import require_polars
from rosenblatt.data.readers.frames import as_frame, is_frame
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.schema.inference import detect_medium
from rosenblatt.errors import TableError
from rosenblatt.estimators.base import BaseNetworkEstimator


class _MediaMixin(BaseNetworkEstimator):
    """Accepts images, sequences or texts as X, or frames with such columns."""

    def _frame(self, X: Any, *, reset: bool, schema: Schema | None = None) -> pl.DataFrame:
        require_polars()
        frame = _mark_media_columns(as_frame(X)) if is_frame(X) else pl.DataFrame([self._to_media_column(X)])
        if not frame.height:
            raise TableError("X holds no rows. Give at least one.")
        if reset:
            self.n_features_in_ = frame.width
            if is_frame(X):
                self.feature_names_in_ = np.asarray(frame.columns, object)
        return frame

    @abstractmethod
    def _to_media_column(self, X: Any) -> pl.Series:
        """Convert rows to a typed column."""


def _mark_media_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Mark columns of images and texts; strings that are not paths of images are texts."""

    def mark(series: pl.Series) -> pl.Series:
        if medium_kind(series.dtype):
            return series
        if detect_medium(series) == "image":
            return to_media_column(series, "image")
        return to_media_column(series, "text") if series.dtype == pl.String else series

    return pl.DataFrame([mark(series) for series in frame])
