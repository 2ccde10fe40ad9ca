"""In: images, sequences or texts, with scikit-learn's conventions. Out: convolutional and recurrent estimators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.media.columns import as_medium, medium_of
from rosenblatt.data.readers.frames import as_frame, is_frame
from rosenblatt.data.schema.inference import medium_in
from rosenblatt.errors import TableError
from rosenblatt.estimators.base import Network


class _OfMedia(Network, ABC):
    """Rows that are images, sequences or texts, or frames with columns of such."""

    def _frame(self, X: Any, *, reset: bool) -> pl.DataFrame:
        frame = _with_media(as_frame(X)) if is_frame(X) else pl.DataFrame([self._medium(X)])
        if not frame.height:
            raise TableError("X holds no rows. Give at least one.")
        if reset:
            self.n_features_in_ = frame.width
            if is_frame(X):
                self.feature_names_in_ = np.asarray(frame.columns, object)
        return frame

    @abstractmethod
    def _medium(self, X: Any) -> pl.Series:
        """The rows as a typed column."""


def _with_media(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame with its images and texts marked as such: strings that are no paths of images are texts."""

    def typed(series: pl.Series) -> pl.Series:
        if medium_of(series.dtype):
            return series
        if medium_in(series) == "image":
            return as_medium(series, "image")
        return as_medium(series, "text") if series.dtype == pl.String else series

    return pl.DataFrame([typed(series) for series in frame])
